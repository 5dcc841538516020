"""Queue: the queued tasks in the order in which they deserve a place, kept current change by change.

Tasks that ask for the same thing wait in one sorted list (a group), so that a pass that finds no node for the first
of them leaves all others alone. What leaves the queue is struck out, and dropped when it comes to the front.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cortex.v1.types_pb2 import Resources, SandboxLevel, Setting, Task, TaskSpec
from node.core import settings
from node.core.exclusion import NOWHERE
from node.core.filters import Ask, Filter, NodeInfo, ask_of, node_info, thresholds, without_amounts
from node.core.model import QUEUED, Change, Table
from node.core.state import ClusterState
from node.core.weights import DEFAULT

# A task that waits this much longer than another outranks it at one priority less.
AGEING_US = 30 * 60 * 1_000_000

# Struck-out entries that a list may hold, beside as many as wait, before it is rebuilt.
_SLACK = 1_024
# Fewer new entries than this are put in their places one by one, more of them are sorted in.
_FEW = 64


class Entry(NamedTuple):
    """A waiting task. Entries sort by rank, then by what came first, then by id."""

    rank: int
    created_index: int
    id: str
    serial: int
    group: Group
    priority: int
    avoid: tuple[str, ...]  # nodes where this run failed, the last one last
    failed_on: frozenset[str]  # nodes that it is kept away from while another could be asked


class Shape:
    """One distinct ask. `common` is one object for all that differ in amounts only."""

    __slots__ = ("ask", "common", "groups", "kind", "thresholds")

    def __init__(self, ask: Ask, common: Common) -> None:
        self.ask = ask
        self.kind = ask.type
        self.common = common
        self.thresholds: list[Filter] = thresholds(ask)
        self.groups = 0


class Common:
    """What shapes have in common that differ in amounts only."""

    __slots__ = ("ask", "shapes")

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.shapes = 0


class GroupKey(NamedTuple):
    type: int
    constraints: bytes | None  # serialised
    requests: bytes | None
    locks: tuple[str, ...]
    limit_key: str
    limit_count: int
    sandbox: int  # 0 = none


class Group:
    """Waiting tasks that ask for the same node, locks and limit."""

    __slots__ = ("_fresh", "cursor", "entries", "front", "head", "key", "shape", "shared", "size")

    def __init__(self, key: GroupKey, shape: Shape) -> None:
        self.key = key
        self.shape = shape
        self.shared = bool(key.locks) or key.limit_count > 0  # holds what there is one of in the cluster
        self.entries: list[Entry] = []  # in order from `head` on; due ones, and struck-out ones
        self.head = 0
        self.cursor = 0  # where a pass is
        self.front: Entry | None = None  # the first due task, when the queue last looked
        self.size = 0  # due or not
        self._fresh: list[Entry] = []

    def put(self, entry: Entry) -> None:
        """Let it compete."""
        if self._fresh or (self.entries and entry < self.entries[-1]):
            self._fresh.append(entry)
        else:
            self.entries.append(entry)

    def settle(self) -> None:
        """Bring what was put into order."""
        fresh = self._fresh
        if not fresh:
            return
        self._fresh = []
        if len(fresh) < _FEW:
            for entry in fresh:
                insort(self.entries, entry, self.head)
        else:
            del self.entries[: self.head]
            self.head = 0
            self.entries += fresh
            self.entries.sort()

    def held(self) -> int:
        """Entries in memory, struck-out ones too."""
        return len(self.entries) - self.head + len(self._fresh)

    def keep(self, live: Mapping[str, Entry]) -> None:
        """Forget what was struck out."""
        self.settle()
        self.entries = [entry for entry in self.entries[self.head :] if live.get(entry.id) is entry]
        self.head = 0


class Queue:
    """All queued tasks. A plan leaves it as it is: what was placed leaves by the changes of its entry."""

    def __init__(self, ageing_us: int = AGEING_US) -> None:
        self._ageing_us = ageing_us
        self._clear()

    def _clear(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._groups: dict[GroupKey, Group] = {}
        self._shapes: dict[Ask, Shape] = {}
        self._commons: dict[Ask, Common] = {}
        self._kinds: Counter[int] = Counter()
        self._heads: list[Entry] = []  # first due task of each group, in order
        self._changed: set[Group] = set()  # groups that may have another one
        self._later: list[tuple[int, Entry]] = []
        self._infos: dict[str, NodeInfo] = {}
        self._weights_row: Setting | None = None
        self._weights = DEFAULT
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

    def postpone(self, task: Task, due_us: int) -> None:
        """Let a task compete again from that leader time on, or once its row has changed."""
        if task.id in self._entries:
            self._strike(task.id)
            self._add(task, due_us)

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
            entry.group.put(entry)
            self._changed.add(entry.group)

    def all_groups(self) -> Iterable[Group]:
        """Groups that have a task, due or not."""
        return self._groups.values()

    def groups(self) -> Iterator[Group]:
        """Groups that have a due task."""
        return (entry.group for entry in self.heads())

    def kinds(self) -> list[int]:
        """Types of which tasks are queued, due or not."""
        return [kind for kind, count in self._kinds.items() if count]

    def waited_us(self, entry: Entry, now_us: int) -> int:
        """Since the time that its rank counts from."""
        return now_us - entry.rank - entry.priority * self._ageing_us

    def heads(self) -> list[Entry]:
        """The first due task of each group, in order; not to be changed."""
        changed = self._changed
        if changed:
            self._changed = set()
            kept = [entry for entry in self._heads if entry.group not in changed]
            for group in changed:
                group.front = self._first(group)
                if group.front is not None:
                    kept.append(group.front)
            kept.sort()
            self._heads = kept
        return self._heads

    def group_of(self, task_id: str) -> Group | None:
        """Group of a queued task, due or not."""
        entry = self._entries.get(task_id)
        return entry.group if entry is not None else None

    def _first(self, group: Group) -> Entry | None:
        """First due task of a group; struck-out ones before it are dropped."""
        group.settle()
        entries, live = group.entries, self._entries
        at, end = group.head, len(entries)
        while at < end:
            entry = entries[at]
            if live.get(entry.id) is entry:
                break
            at += 1
        group.head = at
        if at > _SLACK and at * 2 > end:
            del entries[:at]
            group.head = 0
        return entries[group.head] if at < end else None

    def following(self, entry: Entry) -> Entry | None:
        """The due task after `entry` in its group; asked for one after the other, from heads() on."""
        group = entry.group
        entries, live = group.entries, self._entries
        at, end = (group.head if entry is group.front else group.cursor) + 1, len(entries)
        while at < end:
            entry = entries[at]
            if live.get(entry.id) is entry:
                group.cursor = at
                return entry
            at += 1
        group.cursor = at
        return None

    def waiting(self, limit: int) -> list[str]:
        """Ids of the first due tasks, in order."""
        heads = list(self.heads())  # sorted is a heap, too
        found: list[str] = []
        while heads and len(found) < limit:
            entry = heads[0]
            found.append(entry.id)
            following = self.following(entry)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, following)
        return found

    def info(self, state: ClusterState, samples: Mapping[str, Resources], node_id: str) -> NodeInfo:
        """A node as filters see it, parsed anew only when its row, its sample or the weights are others."""
        weights = state.settings.get(settings.WEIGHTS)
        if weights is not self._weights_row:
            self._weights_row, self._weights = weights, settings.weights_of(weights)
            self._infos.clear()
        row, sample = state.nodes[node_id], samples.get(node_id)
        known = self._infos.get(node_id)
        if known is None or known.row is not row or known.sample is not sample:
            known = self._infos[node_id] = node_info(row, sample, self._weights)
        return known

    def _add(self, task: Task, not_before_us: int = 0) -> None:
        group = self._group(group_key(task.spec), task)
        # Work that never ended keeps its age; a retry's counts from its return to the queue.
        again = task.attempt > 0 or task.losses > 0 or task.run > 1
        since_us = task.queued_at_us if again else task.created_at_us
        self._serial += 1
        due_us = max(task.scheduled_after_us, not_before_us)
        entry = Entry(
            since_us - task.priority * self._ageing_us,
            task.created_index,
            task.id,
            self._serial,
            group,
            task.priority,
            _failed_nodes(task) if task.attempt > 0 or task.losses > 0 else (),
            frozenset(task.unstartable_nodes) if task.unstartable_nodes else NOWHERE,
        )
        self._entries[entry.id] = entry
        group.size += 1
        if due_us > 0:
            heapq.heappush(self._later, (due_us, entry))
        else:
            group.put(entry)
            self._changed.add(group)

    def _strike(self, task_id: str) -> None:
        entry = self._entries.pop(task_id)
        group = entry.group
        group.size -= 1
        if group.size == 0:
            self._drop(group)
        elif group.held() > 2 * group.size + _SLACK:
            group.keep(self._entries)
            self._changed.add(group)
        elif entry is group.front:
            self._changed.add(group)
        if len(self._later) > 2 * len(self._entries) + _SLACK:
            self._later = [item for item in self._later if self._entries.get(item[1].id) is item[1]]
            heapq.heapify(self._later)

    def _drop(self, group: Group) -> None:
        self._changed.add(group)
        del self._groups[group.key]
        shape = group.shape
        self._kinds[shape.kind] -= 1
        shape.groups -= 1
        if shape.groups == 0:
            del self._shapes[shape.ask]
            shape.common.shapes -= 1
            if shape.common.shapes == 0:
                del self._commons[shape.common.ask]

    def _group(self, key: GroupKey, task: Task) -> Group:
        group = self._groups.get(key)
        if group is None:
            ask = ask_of(task.spec)
            shape = self._shapes.get(ask)
            if shape is None:
                alike = without_amounts(ask)
                common = self._commons.get(alike)
                if common is None:
                    common = self._commons[alike] = Common(alike)
                common.shapes += 1
                shape = self._shapes[ask] = Shape(ask, common)
            shape.groups += 1
            self._kinds[shape.kind] += 1
            group = self._groups[key] = Group(key, shape)
        return group


def _failed_nodes(task: Task) -> tuple[str, ...]:
    """Nodes where this run failed, each once, the last one last."""
    nodes = dict.fromkeys(failure.node for failure in task.failures if failure.node and failure.node != task.node)
    return (*nodes, task.node) if task.node else tuple(nodes)


def group_key(spec: TaskSpec) -> GroupKey:
    limited = spec.limit_count > 0
    locks = spec.locks
    # Neither message has a map, so its bytes are the same each time.
    return GroupKey(
        spec.type,
        spec.constraints.SerializeToString() if spec.HasField("constraints") else None,
        spec.requests.SerializeToString() if spec.HasField("requests") else None,
        tuple(sorted(set(locks))) if locks else (),
        spec.limit_key if limited else "",
        spec.limit_count if limited else 0,
        level if (level := spec.sandbox) > SandboxLevel.SANDBOX_LEVEL_NONE else 0,
    )
