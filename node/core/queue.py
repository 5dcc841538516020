"""Queue: the queued tasks in the order in which they deserve a place, kept current change by change.

Tasks that ask for the same thing wait in one heap (a group), so that a pass that finds no node for the first of
them leaves all others alone. What leaves the queue is struck out and dropped when it surfaces.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cortex.v1.types_pb2 import Resources, Task
from node.core.filters import Ask, Filter, NodeInfo, ask_of, node_info, thresholds, without_amounts
from node.core.model import QUEUED, Change, Table
from node.core.state import ClusterState

# A task that waits this much longer than another outranks it at one priority less.
AGEING_US = 30 * 60 * 1_000_000

# Struck-out entries that a heap may hold, beside as many as wait, before it is rebuilt.
_SLACK = 1_024


class Entry(NamedTuple):
    """A waiting task. Entries sort by rank, then by what came first, then by id."""

    rank: int
    created_index: int
    id: str
    serial: int
    group: Group
    due_us: int
    avoid: str  # node where it failed last; empty = none
    unstartable: frozenset[str]


class Shape:
    """One distinct ask, and what it has in common with those that differ in amounts only."""

    __slots__ = ("ask", "common", "groups", "thresholds")

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.common = without_amounts(ask)
        self.thresholds: list[Filter] = thresholds(ask)
        self.groups = 0


class GroupKey(NamedTuple):
    type: int
    constraints: bytes
    requests: bytes
    locks: tuple[str, ...]
    limit_key: str
    limit_count: int


class Group:
    """Waiting tasks that ask for the same node, locks and limit."""

    __slots__ = ("heap", "key", "shape", "size")

    def __init__(self, key: GroupKey, shape: Shape) -> None:
        self.key = key
        self.shape = shape
        self.heap: list[Entry] = []
        self.size = 0


class Queue:
    """All queued tasks. A plan leaves it as it is: what was placed leaves by the changes of its entry."""

    def __init__(self, ageing_us: int = AGEING_US) -> None:
        self._ageing_us = ageing_us
        self._clear()

    def _clear(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._groups: dict[GroupKey, Group] = {}
        self._shapes: dict[Ask, Shape] = {}
        self._later: list[tuple[int, Entry]] = []
        self._infos: dict[str, NodeInfo] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, state: ClusterState) -> None:
        """Begin anew with what is queued in `state`."""
        self._clear()
        for task in state.tasks.values():
            if task.state == QUEUED:
                self._add(task)

    def observe(self, changes: Iterable[Change]) -> None:
        """Follow the changes of an applied entry."""
        for change in changes:
            if change.table is Table.TASKS:
                if change.id in self._entries:
                    self._strike(change.id)
                new = change.new
                if isinstance(new, Task) and new.state == QUEUED:
                    self._add(new)
            elif change.table is Table.NODES and change.new is None:
                self._infos.pop(change.id, None)

    def next_due_us(self) -> int | None:
        """Leader time at which the next task becomes due of those that the last wake() left; None without any."""
        while self._later:
            due_us, entry = self._later[0]
            if self._entries.get(entry.id) is entry:
                return due_us
            heapq.heappop(self._later)
        return None

    def wake(self, now_us: int) -> None:
        """Let those tasks compete whose time has come."""
        while (due_us := self.next_due_us()) is not None and due_us <= now_us:
            entry = heapq.heappop(self._later)[1]
            heapq.heappush(entry.group.heap, entry)

    def groups(self) -> Iterator[Group]:
        """Groups that have a due task."""
        return (group for group in self._groups.values() if self.first(group) is not None)

    def first(self, group: Group) -> Entry | None:
        """First due task of a group: top of its heap, once struck-out ones are dropped."""
        heap, entries = group.heap, self._entries
        while heap:
            entry = heap[0]
            if entries.get(entry.id) is entry:
                return entry
            heapq.heappop(heap)
        return None

    def waiting(self, limit: int) -> list[str]:
        """Ids of the first due tasks, in order."""
        frontier = [(group.heap[0], 0) for group in self.groups()]
        heapq.heapify(frontier)
        found: list[str] = []
        while frontier and len(found) < limit:
            entry, place = heapq.heappop(frontier)
            if self._entries.get(entry.id) is entry:
                found.append(entry.id)
            heap = entry.group.heap
            for child in range(2 * place + 1, min(2 * place + 3, len(heap))):
                heapq.heappush(frontier, (heap[child], child))
        return found

    def info(self, state: ClusterState, samples: Mapping[str, Resources], node_id: str) -> NodeInfo:
        """A node as filters see it, parsed anew only when its row or sample is another."""
        row, sample = state.nodes[node_id], samples.get(node_id)
        known = self._infos.get(node_id)
        if known is None or known.row is not row or known.sample is not sample:
            known = self._infos[node_id] = node_info(row, sample)
        return known

    def _add(self, task: Task) -> None:
        group = self._group(_group_key(task), task)
        # Work that never ended keeps its age; a retry's counts from its return to the queue.
        again = task.attempt > 0 or task.losses > 0 or task.run > 1
        since_us = task.queued_at_us if again else task.created_at_us
        self._serial += 1
        entry = Entry(
            rank=since_us - task.priority * self._ageing_us,
            created_index=task.created_index,
            id=task.id,
            serial=self._serial,
            group=group,
            due_us=task.scheduled_after_us,
            avoid=task.node if task.attempt > 0 or task.losses > 0 else "",
            unstartable=frozenset(task.unstartable_nodes),
        )
        self._entries[task.id] = entry
        group.size += 1
        if entry.due_us > 0:
            heapq.heappush(self._later, (entry.due_us, entry))
        else:
            heapq.heappush(group.heap, entry)

    def _strike(self, task_id: str) -> None:
        group = self._entries.pop(task_id).group
        group.size -= 1
        if group.size == 0:
            del self._groups[group.key]
            group.shape.groups -= 1
            if group.shape.groups == 0:
                del self._shapes[group.shape.ask]
        elif len(group.heap) > 2 * group.size + _SLACK:
            group.heap = self._current(group.heap)
            heapq.heapify(group.heap)
        if len(self._later) > 2 * len(self._entries) + _SLACK:
            self._later = [item for item in self._later if self._entries.get(item[1].id) is item[1]]
            heapq.heapify(self._later)

    def _current(self, heap: list[Entry]) -> list[Entry]:
        return [entry for entry in heap if self._entries.get(entry.id) is entry]

    def _group(self, key: GroupKey, task: Task) -> Group:
        group = self._groups.get(key)
        if group is None:
            ask = ask_of(task.spec)
            shape = self._shapes.get(ask)
            if shape is None:
                shape = self._shapes[ask] = Shape(ask)
            shape.groups += 1
            group = self._groups[key] = Group(key, shape)
        return group


def _group_key(task: Task) -> GroupKey:
    spec = task.spec
    limited = spec.limit_count > 0
    return GroupKey(
        type=spec.type,
        constraints=spec.constraints.SerializeToString(deterministic=True) if spec.HasField("constraints") else b"",
        requests=spec.requests.SerializeToString(deterministic=True) if spec.HasField("requests") else b"",
        locks=tuple(sorted(set(spec.locks))),
        limit_key=spec.limit_key if limited else "",
        limit_count=spec.limit_count if limited else 0,
    )
