"""The scheduler: filter, score, reserve. One pass over the due queue gives placements that fit together.

Order of tasks: rank (priority and age, see queue). Order of nodes for a task: free slots before prefetching, then
score, then node id. Each placement counts at once against its node, so that a burst spreads.

Within a pass a node's place only gets worse. So each shape walks the nodes once, in the order that they had at the
beginning, and keeps those that it looked at in a heap whose keys are renewed when they surface: a pass costs
shapes × nodes filters at most, plus tasks × log nodes.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cortex.v1.types_pb2 import Placement, Resources, ScoreTerms, Task
from node.core.filters import Ask, NodeInfo, StateFilter, ask_of, filters_of, node_info
from node.core.model import ClusterState
from node.core.queue import AGEING_US, Entry, Group, Queue, Shape
from node.core.room import SLOT, RankKey, Room, room_of
from node.core.score import MICROS, points, total

__all__ = ["AGEING_US", "Limits", "Planned", "Queue", "could_take", "node_score", "plan", "score"]

_STATE = StateFilter()


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


class _Candidates:
    """The nodes for one shape, best first."""

    __slots__ = ("_ask", "_cursor", "_filters", "_heap", "_order")

    def __init__(self, shape: Shape, order: list[tuple[RankKey, Room]]) -> None:
        self._ask = shape.ask
        self._filters = shape.filters
        self._order = order
        self._cursor = 0
        self._heap: list[tuple[RankKey, Room]] = []

    def first(self) -> Room | None:
        """The best node now; it stays on top of the heap."""
        heap, order, ask = self._heap, self._order, self._ask
        while True:
            cursor = self._cursor
            if heap and (cursor >= len(order) or heap[0][0] < order[cursor][0]):
                key, room = heap[0]
                current = room.key(ask)
                if current == key:
                    return room
                if current is None:
                    heapq.heappop(heap)
                else:
                    heapq.heapreplace(heap, (current, room))
            elif cursor < len(order):
                self._cursor += 1
                room = order[cursor][1]
                current = room.key(ask)
                if current is not None and all(check.passes(room.info) for check in self._filters):
                    heapq.heappush(heap, (current, room))
            else:
                return None

    def best_for(self, entry: Entry) -> Room | None:
        """The best node for a task that cannot start on some, and rather not runs again where it failed."""
        if not entry.avoid and not entry.unstartable:
            return self.first()
        aside: list[tuple[RankKey, Room]] = []
        second: Room | None = None
        while (room := self.first()) is not None:
            if room.info.id not in entry.unstartable:
                if room.info.id != entry.avoid:
                    break
                second = room
            aside.append(heapq.heappop(self._heap))
        for item in aside:
            heapq.heappush(self._heap, item)
        return second if room is None else room


class _Pass:
    """One pass: the working copy of what nodes, locks and limits still allow."""

    def __init__(self, queue: Queue, state: ClusterState, samples: Mapping[str, Resources], limits: Limits) -> None:
        self._queue = queue
        self._locks = state.locks
        self._limit_use = state.limit_use
        self._rooms = [
            room_of(state, info, limits.prefetch_of(info.id))
            for info in (queue.info(state, samples, node_id) for node_id in state.nodes)
            if _STATE.passes(info) and (limits.reachable is None or info.id in limits.reachable)
        ]
        self._names: dict[str, list[Room]] = {}
        self._taken: set[str] = set()
        self._more_use: dict[str, int] = {}
        self._orders: dict[Ask, list[tuple[RankKey, Room]]] = {}
        self._candidates: dict[Shape, _Candidates] = {}

    def run(self, max_placements: int) -> list[Planned]:
        queue = self._queue
        heads = [group.heap[0] for group in queue.groups()] if self._rooms else []
        heapq.heapify(heads)
        planned: list[Planned] = []
        passed: list[Entry] = []
        while heads and len(planned) < max_placements:
            entry = heads[0]
            group = entry.group
            if self._blocked(group):
                heapq.heappop(heads)
                continue
            candidates = self._nodes(group.shape)
            room = candidates.best_for(entry)
            if room is not None:
                planned.append(Planned(entry.id, _placement(room, group.shape.ask, entry)))
                self._reserve(room, group)
            elif candidates.first() is None:
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
        return any(lock in self._locks or lock in self._taken for lock in key.locks)

    def _reserve(self, room: Room, group: Group) -> None:
        room.reserve(group.shape.ask)
        key = group.key
        if key.locks:
            self._taken.update(key.locks)
        if key.limit_count:
            self._more_use[key.limit_key] = self._more_use.get(key.limit_key, 0) + 1

    def _nodes(self, shape: Shape) -> _Candidates:
        candidates = self._candidates.get(shape)
        if candidates is None:
            candidates = self._candidates[shape] = _Candidates(shape, self._order(shape.ask))
        return candidates

    def _order(self, ask: Ask) -> list[tuple[RankKey, Room]]:
        """Nodes with room, best first; one list for all shapes that see the same order."""
        alike = Ask(
            type=ask.type,
            requires_gpu=ask.wants_gpu,
            preferred=ask.preferred,
            target=ask.target,
            prefetchable=ask.prefetchable,
        )
        order = self._orders.get(alike)
        if order is None:
            rooms = self._named(ask.target) if ask.target else self._rooms
            order = [(key, room) for room in rooms if (key := room.key(alike)) is not None]
            order.sort(key=lambda item: item[0])
            self._orders[alike] = order
        return order

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
    where = "with a free slot" if room.tier(ask) == SLOT else "to wait for a slot"
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


def could_take(state: ClusterState, samples: Mapping[str, Resources], node_id: str, task: Task) -> bool:
    """Whether a node meets all that a task asks for, slots, locks and limits aside."""
    row = state.nodes.get(node_id)
    if row is None or node_id in task.unstartable_nodes:
        return False
    info = node_info(row, samples.get(node_id))
    ask = ask_of(task.spec)
    return room_of(state, info, 0).fits(ask) and all(check.passes(info) for check in filters_of(ask))
