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
from node.core.room import RankKey, Room, room_of
from node.core.score import MICROS, points, total
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
    """Nodes with room, best first by the key that they have for `ask`."""

    __slots__ = ("ask", "items")

    def __init__(self, rooms: Iterable[Room], ask: Ask) -> None:
        self.ask = ask
        self.items: list[tuple[RankKey, Room]] = [
            (key, room) for room in rooms if (key := room.key(ask)) is not None
        ]
        heapq.heapify(self.items)

    def first(self) -> Room | None:
        """The best node now; it stays on top. A key only gets worse, so the top is best once its key is current."""
        items, ask = self.items, self.ask
        while items:
            key, room = items[0]
            current = room.key(ask)
            if current == key:
                return room
            if current is None:
                heapq.heappop(items)
            else:
                heapq.heapreplace(items, (current, room))
        return None


class _Candidates:
    """The nodes for one shape: a heap shared by all shapes that rank nodes alike, until too few of them will do."""

    __slots__ = ("_ask", "_heap", "_own", "_thresholds", "closed")

    def __init__(self, shape: Shape, shared: _NodeHeap) -> None:
        self._ask = shape.ask
        self._thresholds = shape.thresholds
        self._heap = shared
        self._own = False
        self.closed = False  # no node can take one more; true until the pass ends

    def best_for(self, entry: Entry) -> Room | None:
        """The best node for a task that cannot start on some, and rather not runs again where it failed."""
        if not entry.avoid and not entry.unstartable:
            room = self._heap.first()
            if room is not None and self._will_do(room):
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
        heap, aside, failed = self._heap, list[tuple[RankKey, Room]](), 0
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
            self._heap = _NodeHeap([room for _, room in heap.items if self._will_do(room)], self._ask)
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
        infos = (queue.info(state, samples, node_id) for node_id in state.nodes)
        rooms = (
            room_of(state, info, limits.prefetch_of(info.id))
            for info in infos
            if _STATE.passes(info) and (limits.reachable is None or info.id in limits.reachable)
        )
        self._rooms = [room for room in rooms if room.open()]
        self._open = len(self._rooms)
        self._names: dict[str, list[Room]] = {}
        self._taken: set[str] = set()
        self._more_use: dict[str, int] = {}
        self._heaps: dict[Ask, _NodeHeap] = {}
        self._candidates: dict[Shape, _Candidates] = {}

    def run(self, max_placements: int) -> list[Planned]:
        queue = self._queue
        heads = [group.heap[0] for group in queue.groups()] if self._open else []
        heapq.heapify(heads)
        planned: list[Planned] = []
        passed: list[Entry] = []
        while heads and self._open and len(planned) < max_placements:
            entry = heads[0]
            group = entry.group
            candidates = self._nodes(group.shape)
            if candidates.closed or self._blocked(group):
                heapq.heappop(heads)
                continue
            room = candidates.best_for(entry)
            if room is not None:
                planned.append(Planned(entry.id, _placement(room, group.shape.ask, entry)))
                self._reserve(room, group)
            elif candidates.closed:
                heapq.heappop(heads)
                continue
            passed.append(heapq.heappop(group.heap))
            following = queue.first(group)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, following)
        for entry in passed:
            heapq.heappush(entry.group.heap, entry)
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
        room.reserve(group.shape.ask)
        if not room.free_slot(group.shape.ask) and not room.open():
            self._open -= 1
        key = group.key
        if key.locks:
            self._taken.update(key.locks)
        if key.limit_count:
            self._more_use[key.limit_key] = self._more_use.get(key.limit_key, 0) + 1

    def _nodes(self, shape: Shape) -> _Candidates:
        candidates = self._candidates.get(shape)
        if candidates is None:
            candidates = self._candidates[shape] = self._new_candidates(shape)
        return candidates

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
        return _Candidates(shape, heap)

    def _named(self, name: str) -> list[Room]:
        if not self._names:
            for room in self._rooms:
                for known in {room.info.id, room.info.hostname}:
                    self._names.setdefault(known, []).append(room)
        return self._names.get(name, [])


def _placement(room: Room, ask: Ask, entry: Entry) -> Placement:
    if ask.target:
        return Placement(node=room.info.id, terms=ScoreTerms(), reason=f"target_node names {room.info.id}.")
    terms = room.info.points.terms(room.assigned, gpu=ask.wants_gpu, preferred=room.preferred(ask))
    score = room.micros(ask) / MICROS
    where = "with a free slot" if room.free_slot(ask) else "to wait for a slot"
    reason = f"Best score {where}: {score:.1f} points."
    if entry.avoid:
        last = "No other node than" if entry.avoid == room.info.id else "Rather than"
        reason = f"{reason[:-1]}; {last.lower()} {entry.avoid}, where it failed before."
    return Placement(node=room.info.id, score=score, terms=terms, reason=reason)


def score(node: NodeInfo, assigned: int, ask: Ask) -> tuple[float, ScoreTerms]:
    """Score of a node for a task, with `assigned` tasks assigned to or running on it; the terms sum to it."""
    preferred = len(ask.preferred & node.capabilities)
    return (
        total(node.points, assigned, gpu=ask.wants_gpu, preferred=preferred),
        node.points.terms(assigned, gpu=ask.wants_gpu, preferred=preferred),
    )


def node_score(sample: Resources | None, assigned: int) -> tuple[float, ScoreTerms]:
    """Score of a node in views: for a plain shell task."""
    worth = points(sample)
    return total(worth, assigned), worth.terms(assigned)
