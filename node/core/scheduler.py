"""The scheduler: filter, score, reserve. One pass over the due queue gives placements that fit together.

Order of tasks: rank (priority and age, see queue). Order of nodes for a task: free slots before prefetching, then
score, then node id. Each placement counts at once against its node, so that a burst spreads.

Within a pass a node's place only gets worse. So nodes wait in heaps whose keys are renewed when they surface; all
shapes that differ in amounts only share one, and a shape that few of its nodes suit gets its own. A pass costs
shapes × nodes filters at most, plus tasks × log nodes.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cortex.v1.types_pb2 import Placement, Resources, ScoreTerms
from node.core.filters import Ask, NodeInfo, StateFilter, selectors
from node.core.queue import AGEING_US, Entry, Group, Queue, Shape
from node.core.room import RankItem, Room, Rooms
from node.core.state import ClusterState

__all__ = ["AGEING_US", "Limits", "Planned", "Queue", "node_score", "plan", "score"]

_STATE = StateFilter()
# Nodes that a search looks past before its shape gets a heap of its own.
_PATIENCE = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What the leader adds to the state: assignments beyond its slots per node, and who can be reached."""

    prefetch: Mapping[str, int] = field(default_factory=dict)
    default_prefetch: int = 0
    reachable: Collection[str] | None = None  # None = all that are online

    def prefetch_of(self, node_id: str) -> int:
        return self.prefetch.get(node_id, self.default_prefetch)


class Planned(NamedTuple):
    task_id: str
    placement: Placement


def plan(
    queue: Queue,
    state: ClusterState,
    samples: Mapping[str, Resources],
    limits: Limits,
    now_us: int,
    max_placements: int,
) -> list[Planned]:
    """Places for the first due tasks that have one, at most `max_placements`, all fitting together.

    `queue` must have observed what led to `state`.
    """
    queue.wake(now_us)
    return _Pass(queue, state, samples, limits).run(max_placements)


class _NodeHeap:
    """Nodes with room, best first by the place that they have for `ask`."""

    __slots__ = ("ask", "items")

    def __init__(self, rooms: Iterable[Room], ask: Ask) -> None:
        self.ask = ask
        self.items: list[RankItem] = [item for room in rooms if (item := room.item(ask)) is not None]
        heapq.heapify(self.items)

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

    __slots__ = ("_ask", "_checked", "_heap", "_own", "_thresholds", "closed")

    def __init__(self, shape: Shape, shared: _NodeHeap) -> None:
        self._ask = shape.ask
        self._thresholds = shape.thresholds
        self._checked = bool(shape.thresholds) or not shape.ask.prefetchable
        self._heap = shared
        self._own = False
        self.closed = not shared.items  # no node can take one more; true until the pass ends

    def best_for(self, entry: Entry) -> Room | None:
        """The best node for a task that cannot start on some, and rather not runs again where it failed."""
        if not entry.avoid and not entry.unstartable:
            room = self._heap.first()
            if room is not None and (not self._checked or self._will_do(room)):
                return room
        return self._search(entry)

    def _will_do(self, room: Room) -> bool:
        if self._own:
            return True
        for check in self._thresholds:
            if not check.passes(room.info):
                return False
        return self._ask.prefetchable or room.fits(self._ask)

    def _search(self, entry: Entry) -> Room | None:
        """Look past the nodes that will not do; they are put back afterwards."""
        heap, aside, failed = self._heap, list[RankItem](), 0
        second: Room | None = None
        passing = False
        while (room := heap.first()) is not None and failed < _PATIENCE:
            if not self._will_do(room):
                failed += 1
            else:
                passing = True
                if room.info.id not in entry.unstartable:
                    if room.info.id != entry.avoid:
                        break
                    second = room
            aside.append(heapq.heappop(heap.items))
        for item in aside:
            heapq.heappush(heap.items, item)
        if failed >= _PATIENCE:
            self._heap = _NodeHeap([item[4] for item in heap.items if self._will_do(item[4])], self._ask)
            self._own = True
            return self._search(entry)
        self.closed = room is None and not passing
        return second if room is None else room


class _Pass:
    """One pass: the working copy of what nodes, locks and limits still allow."""

    def __init__(self, queue: Queue, state: ClusterState, samples: Mapping[str, Resources], limits: Limits) -> None:
        self._queue = queue
        self._locks = state.locks
        self._limit_use = state.limit_use
        self._heads = [entry for group in queue.groups() if (entry := group.entries[group.head])]
        kinds = {entry.group.key.type for entry in self._heads}
        self._rooms: list[Room] = []
        self._open = dict.fromkeys(kinds, 0)  # nodes that can take one more task of a type
        rooms = Rooms(state)
        for node_id in state.nodes if kinds else ():
            info = queue.info(state, samples, node_id)
            if _STATE.passes(info) and (limits.reachable is None or node_id in limits.reachable):
                room = rooms.make(info, limits.prefetch_of(node_id))
                takes = [kind for kind in kinds if room.open(kind)]
                for kind in takes:
                    self._open[kind] += 1
                if takes:
                    self._rooms.append(room)
        self._names: dict[str, list[Room]] = {}
        self._taken: set[str] = set()
        self._more_use: dict[str, int] = {}
        self._heaps: dict[Ask, _NodeHeap] = {}
        self._candidates: dict[Shape, _Candidates] = {}

    def run(self, max_placements: int) -> list[Planned]:
        queue, opened = self._queue, self._open
        heads = [entry for entry in self._heads if opened[entry.group.key.type]]
        heapq.heapify(heads)
        planned: list[Planned] = []
        while heads and len(planned) < max_placements:
            entry = heads[0]
            group = entry.group
            shape = group.shape
            candidates = self._candidates.get(shape) or self._new_candidates(shape)
            if candidates.closed or not opened[shape.ask.type] or (group.shared and self._blocked(group)):
                heapq.heappop(heads)
                continue
            room = candidates.best_for(entry)
            if room is not None:
                planned.append(Planned(entry.id, _placement(room, shape.ask, entry)))
                self._reserve(room, group)
            elif candidates.closed:
                heapq.heappop(heads)
                continue
            following = queue.following(group)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, following)
        return planned

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
        room.reserve(ask)
        if not room.open(ask.type):
            self._open[ask.type] -= 1
        key = group.key
        if key.locks:
            self._taken.update(key.locks)
        if key.limit_count:
            self._more_use[key.limit_key] = self._more_use.get(key.limit_key, 0) + 1

    def _new_candidates(self, shape: Shape) -> _Candidates:
        common = shape.common
        heap = self._heaps.get(common)
        if heap is None:
            rooms = self._named(common.target) if common.target else self._rooms
            checks = selectors(common)
            passing = (
                [room for room in rooms if all(check.passes(room.info) for check in checks)] if checks else rooms
            )
            heap = self._heaps[common] = _NodeHeap(passing, common)
        candidates = self._candidates[shape] = _Candidates(shape, heap)
        return candidates

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
    where = "with a free slot" if room.free_slot(ask) else "to wait for a slot"
    if not entry.avoid:
        made.reason = f"Best score {where}: {made.score:.1f} points."
    else:
        last = "no other node than" if entry.avoid == room.info.id else "rather than"
        made.reason = f"Best score {where}: {made.score:.1f} points; {last} {entry.avoid}, where it failed before."
    return made


def score(room: Room, ask: Ask, priority: int = 0) -> tuple[float, ScoreTerms]:
    """Score of a node for a task, as it stands in `room`; the terms sum to it."""
    made = room.placement(ask, priority)
    return made.score, made.terms


def node_score(state: ClusterState, info: NodeInfo) -> tuple[float, ScoreTerms]:
    """Score of a node in views: for a plain shell task of priority 0."""
    return score(Rooms(state).make(info, 0), Ask())
