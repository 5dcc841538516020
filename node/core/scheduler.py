"""The scheduler: filter, score, reserve. One pass over the due queue gives placements that fit together.

Order of tasks: rank (priority and age, see queue). Order of nodes for a task: free slots before prefetching, then
score, then node id. Each placement counts at once against its node, so that a burst spreads.

Within a pass a node's place only gets worse. So nodes wait in heaps whose keys are renewed when they surface; all
shapes that differ in amounts only share one, and a shape that few of its nodes suit gets its own. A pass costs
shapes × nodes filters at most, plus tasks × log nodes.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cortex.v1.types_pb2 import Placement, Resources, ScoreTerms
from node.core.exclusion import NOWHERE, Exclusions
from node.core.filters import Ask, NodeInfo, StateFilter, selectors
from node.core.queue import AGEING_US, Common, Entry, Group, Queue, Shape
from node.core.room import RankItem, Room, Rooms
from node.core.state import ClusterState

__all__ = ["AGEING_US", "Limits", "Plan", "Planned", "Queue", "node_score", "plan", "score"]

_STATE = StateFilter()
# Nodes that a search looks past before its shape gets a heap of its own.
_PATIENCE = 64
# A task that has waited longer than that, with enough on a node in all but not at once, has a node kept for it.
KEEP_AFTER_US = AGEING_US


@dataclass(frozen=True, slots=True)
class Limits:
    """What the leader adds to the state: assignments beyond its slots per node, and who can be reached."""

    prefetch: Mapping[str, int] = field(default_factory=dict)
    default_prefetch: int = 0
    reachable: Collection[str] | None = None  # None = all that are online
    kept: Mapping[str, str] = field(default_factory=dict)  # by the last pass: node -> task that it is kept for
    coming: Mapping[str, Mapping[int, int]] = field(
        default_factory=dict
    )  # node -> type -> tasks on their way there

    def prefetch_of(self, node_id: str) -> int:
        return self.prefetch.get(node_id, self.default_prefetch)


class Planned(NamedTuple):
    task_id: str
    placement: Placement


class Plan(NamedTuple):
    """What a pass found."""

    placements: list[Planned]
    kept: Mapping[str, str]  # node -> task that it is kept for: the next pass's Limits.kept


def plan(
    queue: Queue,
    state: ClusterState,
    samples: Mapping[str, Resources],
    limits: Limits,
    now_us: int,
    max_placements: int,
) -> Plan:
    """Places for the first due tasks that have one, at most `max_placements`, all fitting together.

    `queue` must have observed what led to `state`.
    """
    queue.wake(now_us)
    one = _Pass(queue, state, samples, limits, now_us)
    return Plan(one.run(max_placements), one.kept)


class _NodeHeap:
    """Nodes with room, best first by the place that they have for `ask`."""

    __slots__ = ("_most_cpu", "_most_disk", "_most_gpus", "_most_memory", "_most_reserved", "ask", "items")

    def __init__(self, rooms: Iterable[Room], ask: Ask) -> None:
        self.ask = ask
        self.items: list[RankItem] = [item for room in rooms if (item := room.item(ask)) is not None]
        heapq.heapify(self.items)
        rooms = [item[4] for item in self.items]
        infos = [room.info for room in rooms]
        self._most_memory = max((info.memory_available_bytes for info in infos), default=0)
        self._most_disk = max((info.disk_free_bytes for info in infos), default=0)
        self._most_cpu = max(0, max((room.cpu_millis for room in rooms), default=0))
        self._most_reserved = max(0, max((room.memory_bytes for room in rooms), default=0))
        self._most_gpus = max(0, max((room.gpus for room in rooms), default=0))

    def too_small(self, ask: Ask) -> bool:
        """Whether no node in it has one of the amounts that are asked for, nor will have in this pass."""
        return (
            not ask.target  # goes there whatever was sampled
            and (ask.min_memory_bytes > self._most_memory or ask.min_disk_bytes > self._most_disk)
        ) or (
            not ask.prefetchable
            and (
                ask.cpu_millis > self._most_cpu
                or ask.memory_bytes > self._most_reserved
                or ask.gpus > self._most_gpus
            )
        )

    def first(self) -> Room | None:
        """The best node now; it stays on top. A place only gets worse, so the top is best once it is current."""
        items = self.items
        while items:
            item = items[0]
            room = item[4]
            if item[3] == room.version:
                return room
            current = room.item(self.ask)
            if current is None:
                heapq.heappop(items)
            else:
                heapq.heapreplace(items, current)
        return None


class _Candidates:
    """The nodes for one shape: a heap shared by all shapes that rank nodes alike, until too few of them will do."""

    __slots__ = ("_ask", "_checked", "_disk_bytes", "_heap", "_memory_bytes", "_own", "closed")

    def __init__(self, shape: Shape, shared: _NodeHeap) -> None:
        self._ask = shape.ask
        self._memory_bytes = shape.ask.min_memory_bytes if shape.thresholds else 0
        self._disk_bytes = shape.ask.min_disk_bytes if shape.thresholds else 0
        self._checked = bool(shape.thresholds) or not shape.ask.prefetchable
        self._heap = shared
        self._own = False
        self.closed = not shared.items  # no node can take one more; true until the pass ends

    def best_for(self, entry: Entry, excluded: frozenset[str]) -> Room | None:
        """The best node but for those `excluded`; rather one where it has not failed, or not the last time."""
        if not entry.avoid and not excluded:
            room = self._heap.first()
            if room is not None and (not self._checked or self._will_do(room)):
                return room
        return self._search(entry, excluded)

    def _will_do(self, room: Room) -> bool:
        if self._own:
            return True
        # What the threshold filters say, without a call of each: this is the hottest line of a pass.
        info = room.info
        if info.memory_available_bytes < self._memory_bytes or info.disk_free_bytes < self._disk_bytes:
            return False
        return self._ask.prefetchable or room.fits(self._ask)

    def _search(self, entry: Entry, excluded: frozenset[str]) -> Room | None:
        """Look past the nodes that will not do; they are put back afterwards."""
        heap, aside, failed = self._heap, list[RankItem](), 0
        second: Room | None = None  # where it failed, but not the last time
        last: Room | None = None
        passing = False
        while (room := heap.first()) is not None and failed < _PATIENCE:
            if not self._will_do(room):
                failed += 1
            else:
                passing = True
                if room.info.id not in excluded:
                    if room.info.id not in entry.avoid:
                        break
                    if room.info.id == entry.avoid[-1]:
                        last = room
                    elif second is None:
                        second = room
            aside.append(heapq.heappop(heap.items))
        for item in aside:
            heapq.heappush(heap.items, item)
        if failed >= _PATIENCE:
            self._heap = _NodeHeap([item[4] for item in heap.items if self._will_do(item[4])], self._ask)
            self._own = True
            return self._search(entry, excluded)
        self.closed = room is None and not passing
        return room or second or last


class _Pass:
    """One pass: the working copy of what nodes, locks and limits still allow."""

    def __init__(
        self, queue: Queue, state: ClusterState, samples: Mapping[str, Resources], limits: Limits, now_us: int
    ) -> None:
        self._queue = queue
        self._now_us = now_us
        self._keep_limit = max(1, len(state.nodes) // 2)
        self.kept: dict[str, str] = {}
        self._locks = state.locks
        self._limit_use = state.limit_use
        kinds = queue.kinds()
        self._rooms: list[Room] = []
        self._open = dict.fromkeys(kinds, 0)  # nodes that can take one more task of a type
        rooms, infos = Rooms(state), list[NodeInfo]()
        for node_id in state.nodes if kinds else ():
            info = queue.info(state, samples, node_id)
            infos.append(info)
            if _STATE.passes(info) and (limits.reachable is None or node_id in limits.reachable):
                room = rooms.make(info, limits.prefetch_of(node_id))
                if node_id in limits.coming:
                    room.expect(limits.coming[node_id])
                takes = [kind for kind in kinds if room.open(kind)]
                for kind in takes:
                    self._open[kind] += 1
                if takes:
                    self._rooms.append(room)
        self._takers = sum(self._open.values())
        self._exclusions = Exclusions(infos)
        self._names: dict[str, list[Room]] = {}
        self._taken: set[str] = set()
        self._more_use: dict[str, int] = {}
        self._heaps: dict[Common, _NodeHeap] = {}
        self._candidates: dict[Shape, _Candidates] = {}

    def run(self, max_placements: int) -> list[Planned]:
        planned: list[Planned] = []
        for entry, candidates in self._turns():
            room = candidates.best_for(entry, self._excluded(entry))
            if room is not None:
                group = entry.group
                planned.append(Planned(entry.id, _placement(room, group.shape.ask, entry)))
                self._reserve(room, group)
                if len(planned) >= max_placements or not self._takers:
                    break
            elif candidates.closed:
                self._keep_for(entry)
        return planned

    def _excluded(self, entry: Entry) -> frozenset[str]:
        failed_on = entry.failed_on
        return self._exclusions.of(entry.group.shape.ask, failed_on) if failed_on else NOWHERE

    def _turns(self) -> Iterator[tuple[Entry, _Candidates]]:
        """Due tasks in order; of a group none after the first that has no node, lock or limit left."""
        queue, known = self._queue, self._candidates
        heads = queue.heads()
        behind: list[Entry] = []  # heap of the next ones of groups whose head had its turn
        at, end = 0, len(heads)
        while True:
            if at < end and (not behind or heads[at] < behind[0]):
                entry = heads[at]
                at += 1
                candidates = self._candidates_of(entry.group.shape)
                if candidates is None or candidates.closed:
                    self._keep_for(entry)
                elif self._goes_on(entry.group, candidates):
                    yield entry, candidates
                    following = queue.following(entry)
                    if following is not None:
                        heapq.heappush(behind, following)
            elif behind:
                entry = behind[0]
                group = entry.group
                candidates = known[group.shape]
                if self._goes_on(group, candidates):
                    yield entry, candidates
                    following = queue.following(entry)
                    if following is not None:
                        heapq.heapreplace(behind, following)
                        continue
                heapq.heappop(behind)
            else:
                return

    def _goes_on(self, group: Group, candidates: _Candidates) -> bool:
        """Whether a task of a group may still find a place in this pass."""
        if candidates.closed or not self._open[group.shape.kind]:
            return False
        return not (group.shared and self._blocked(group))

    def _keep_for(self, entry: Entry) -> None:
        """Lets one node run empty for a task that has waited so long because others reserve what it needs."""
        group = entry.group
        ask = group.shape.ask
        if not ask.reserves() or self._queue.waited_us(entry, self._now_us) <= KEEP_AFTER_US:
            return
        if len(self.kept) >= self._keep_limit or self._blocked(group):
            return
        checks = [*selectors(ask), *group.shape.thresholds]
        excluded = self._excluded(entry)
        able = [
            (short, room.info.id, room)
            for room in self._rooms
            if not room.kept
            and room.info.id not in excluded
            and room.info.slots.get(ask.type, 0)
            and (short := room.shortfall(ask)) is not None
            and all(check.passes(room.info) for check in checks)
        ]
        if able:
            _, node_id, room = min(able)
            room.keep()
            self.kept[node_id] = entry.id

    def _candidates_of(self, shape: Shape) -> _Candidates | None:
        """None when no node will do."""
        candidates = self._candidates.get(shape)
        if candidates is None and self._open[shape.kind]:
            heap = self._heaps.get(shape.common) or self._new_heap(shape.common)
            if heap.items and not heap.too_small(shape.ask):
                candidates = self._candidates[shape] = _Candidates(shape, heap)
        return candidates

    def _blocked(self, group: Group) -> bool:
        """Whether a lock or limit keeps all of a group waiting; it does so until the pass ends."""
        key = group.key
        if key.limit_count:
            held = self._limit_use.get(key.limit_key, 0) + self._more_use.get(key.limit_key, 0)
            if held >= key.limit_count:
                return True
        return bool(key.locks) and any(lock in self._locks or lock in self._taken for lock in key.locks)

    def _reserve(self, room: Room, group: Group) -> None:
        ask = group.shape.ask
        if room.reserve(ask):
            self._open[ask.type] -= 1
            self._takers -= 1
        if group.shared:
            key = group.key
            self._taken.update(key.locks)
            if key.limit_count:
                self._more_use[key.limit_key] = self._more_use.get(key.limit_key, 0) + 1

    def _new_heap(self, common: Common) -> _NodeHeap:
        ask = common.ask
        rooms = self._named(ask.target) if ask.target else self._rooms
        checks = selectors(ask)
        passing = [room for room in rooms if all(check.passes(room.info) for check in checks)] if checks else rooms
        heap = self._heaps[common] = _NodeHeap(passing, ask)
        return heap

    def _named(self, name: str) -> list[Room]:
        if not self._names:
            for room in self._rooms:
                for known in {room.info.id, room.info.hostname}:
                    self._names.setdefault(known, []).append(room)
        return self._names.get(name, [])


def _placement(room: Room, ask: Ask, entry: Entry) -> Placement:
    if ask.target:
        return Placement(node=room.info.id, terms=ScoreTerms(), reason=f"target_node names {room.info.id}.")
    made = room.placement(ask, entry.priority)
    free = room.counts.get(ask.type, 0) < room.info.slots.get(ask.type, 0)
    where = "with a free slot" if free else "to wait for a slot"
    if room.info.id in entry.failed_on:
        last = "it failed there before, and no other node could be asked"
        made.reason = f"Best score {where}: {made.score:.1f} points; {last}."
    elif not entry.avoid:
        made.reason = f"Best score {where}: {made.score:.1f} points."
    else:
        last = "no other node than" if room.info.id in entry.avoid else "rather than"
        nodes = ", ".join(entry.avoid)
        made.reason = f"Best score {where}: {made.score:.1f} points; {last} {nodes}, where it failed before."
    return made


def score(room: Room, ask: Ask, priority: int = 0) -> tuple[float, ScoreTerms]:
    """Score of a node for a task, as it stands in `room`; the terms sum to it."""
    made = room.placement(ask, priority)
    return made.score, made.terms


def node_score(state: ClusterState, info: NodeInfo) -> tuple[float, ScoreTerms]:
    """Score of a node in views: for a plain shell task of priority 0."""
    return score(Rooms(state).make(info, 0), Ask())
