"""ClusterState: live rows, the indexes derived from them, and the digest over all rows.

A row is never changed in place: apply makes a new one, commit() swaps it in. Rows that have ended leave memory once
the store has them; what is read after that is a cold row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Batch, Node, Operation, Setting, Task, Workflow
from node.core import settings
from node.core.dag import Dag
from node.core.model import (
    DIGEST_BYTES,
    DIGEST_MASK,
    ENDED,
    LIVE,
    LIVE_OPERATION,
    LIVE_WORKFLOW,
    ON_NODE,
    Key,
    Outcome,
    Row,
    Table,
    hash_data,
    hash_row,
    member_id,
    row_digest,
    row_key,
)


@dataclass(slots=True)
class NodeUse:
    """What the assigned and running tasks of one node hold together."""

    counts: dict[int, int] = field(default_factory=dict)  # by task type
    cpu_millis: int = 0
    memory_bytes: int = 0
    gpus: int = 0

    def copy(self) -> NodeUse:
        return NodeUse(dict(self.counts), self.cpu_millis, self.memory_bytes, self.gpus)

    def add(self, spec: types_pb2.TaskSpec, sign: int) -> None:
        _add(self.counts, spec.type, sign)
        if spec.HasField("requests"):
            requests = spec.requests
            self.cpu_millis += sign * requests.cpu_millis
            self.memory_bytes += sign * requests.memory_bytes
            self.gpus += sign * requests.gpus


@dataclass(slots=True)
class ClusterState:
    """All live rows at `index`, and what is derived from them. Only load(), commit() and evict() change it."""

    index: int = 0
    term: int = 0
    at_us: int = 0
    digest: int = 0
    tasks: dict[str, Task] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    workflows: dict[str, Workflow] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    # Derived from tasks: all but `counts` over the assigned and running ones, none keeps an empty item.
    by_node: dict[str, set[str]] = field(default_factory=dict)
    use: dict[str, NodeUse] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    limit_use: dict[str, int] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    # Derived from the workflows in memory and their members.
    dags: dict[str, Dag] = field(default_factory=dict)
    _task_digests: dict[str, int] = field(default_factory=dict)

    @property
    def level(self) -> int:
        """The cluster's feature level."""
        return settings.feature_level(self.settings.get(settings.FEATURE_LEVEL))

    def get(self, table: Table, key: str) -> Row | None:
        """A row that is in memory."""
        if table is Table.TASKS:
            return self.tasks.get(key)
        if table is Table.NODES:
            return self.nodes.get(key)
        if table is Table.SETTINGS:
            return self.settings.get(key)
        if table is Table.BATCHES:
            return self.batches.get(key)
        if table is Table.WORKFLOWS:
            return self.workflows.get(key)
        if table is Table.OPERATIONS:
            return self.operations.get(key)
        return None

    def digest_bytes(self) -> bytes:
        return self.digest.to_bytes(DIGEST_BYTES, "big")

    def load(self, rows: Iterable[Row], index: int, term: int, at_us: int, digest: int) -> None:
        """Take over what the store saved: live rows as of `index`, and the digest over all rows, cold ones too."""
        for row in rows:
            if isinstance(row, Task):
                self._put_task(row.id, None, row)
            elif isinstance(row, Node):
                self.nodes[row.id] = row
            elif isinstance(row, Setting):
                self.settings[row.name] = row
            elif isinstance(row, Batch):
                self.batches[row_key(row).id] = row
            elif isinstance(row, Workflow):
                self.workflows[row.id] = row
            elif isinstance(row, Operation):
                self.operations[row.id] = row
        for workflow in self.workflows.values():
            self._add_dag(workflow)
        self.index, self.term, self.at_us, self.digest = index, term, at_us, digest

    def commit(self, outcome: Outcome, index: int, term: int, at_us: int) -> int:
        """Step to `index`; what the changes weigh together. What has ended stays until evict()."""
        digest = self.digest
        weight = len(outcome.changes)
        grown: list[Workflow] = []
        tasks, events = Table.TASKS, Table.EVENTS
        for change in outcome.changes:
            table, key, old, new = change
            if table is events and old is None and new is not None:
                digest += hash_row(b"events", key, new)
                continue
            if table is tasks:
                difference, size = self._commit_task(key, old, new)
                digest += difference
                weight += size >> 10
                continue
            if old is not None:
                digest -= row_digest(table, key, old)
            if new is not None:
                data = new.SerializeToString()
                digest += hash_data(table.encode(), key, data)
                weight += len(data) >> 10 if table is not events else 0
            if table is Table.NODES:
                _swap(self.nodes, key, new if isinstance(new, Node) else None)
            elif table is Table.SETTINGS:
                _swap(self.settings, key, new if isinstance(new, Setting) else None)
            elif table is Table.BATCHES:
                _swap(self.batches, key, new if isinstance(new, Batch) else None)
            elif table is Table.WORKFLOWS:
                _swap(self.workflows, key, new if isinstance(new, Workflow) else None)
                if old is None or new is None:
                    self.dags.pop(key, None)
                if isinstance(new, Workflow) and key not in self.dags:
                    grown.append(new)
            elif table is Table.OPERATIONS:
                _swap(self.operations, key, new if isinstance(new, Operation) else None)
        for workflow in grown:
            self._add_dag(workflow)
        self.digest = digest & DIGEST_MASK
        self.index, self.term, self.at_us = index, term, max(self.at_us, at_us)
        return weight

    def adopt(self, tasks: Iterable[Task]) -> None:
        """Take ended members of a workflow that lives again back into memory, as the store has them."""
        lives = set()
        for task in tasks:
            lives.add(task.workflow_id)
            if task.id not in self.tasks:
                self._put_task(task.id, None, task)
        for workflow_id in lives - self.dags.keys():
            self._add_dag(self.workflows[workflow_id])

    def _add_dag(self, workflow: Workflow) -> None:
        """Once all its members are in memory."""
        ids = [member_id(workflow.id, member) for member in range(workflow.count)]
        if all(map(self.tasks.__contains__, ids)):
            self.dags[workflow.id] = Dag.of(workflow.count, lambda member: self.tasks[ids[member]])

    def evict(self, keys: Iterable[Key]) -> None:
        """Forget ended rows that the store has; a member only when its workflow has ended.

        What was revived is kept.
        """
        for table, key in keys:
            if table is Table.TASKS:
                self._evict_task(key)
            elif table is Table.WORKFLOWS:
                workflow = self.workflows.get(key)
                if workflow is not None and workflow.state not in LIVE_WORKFLOW:
                    del self.workflows[key]
                    self.dags.pop(key, None)
                    for member in range(workflow.count):
                        task = self.tasks.get(member_id(key, member))
                        # One that was changed since, as by a note, leaves when that is saved.
                        if task is not None and task.modified_index <= workflow.modified_index:
                            self._evict_task(task.id)
            elif table is Table.OPERATIONS:
                operation = self.operations.get(key)
                if operation is not None and operation.state not in LIVE_OPERATION:
                    del self.operations[key]

    def _evict_task(self, task_id: str) -> None:
        task = self.tasks.get(task_id)
        if task is None or task.state not in ENDED or (task.workflow_id and task.workflow_id in self.workflows):
            return
        self._put_task(task_id, task, None)
        self._task_digests.pop(task_id, None)

    def _commit_task(self, key: str, old: Row | None, new: Row | None) -> tuple[int, int]:
        """Swap a task in, or out; the difference that this makes to the digest, and the new one's size in bytes."""
        difference = 0
        known = self._task_digests.pop(key, None)
        if known is not None:
            difference -= known
        elif old is not None:
            difference -= hash_row(b"tasks", key, old)
        if isinstance(new, Task):
            data = new.SerializeToString()
            self._task_digests[key] = digest = hash_data(b"tasks", key, data)
            self._put_task(key, self.tasks.get(key), new)
            if new.workflow_id:
                dag = self.dags.get(new.workflow_id)
                if dag is not None:
                    dag.step(new.member, new.state in ENDED)
            return difference + digest, len(data)
        self._put_task(key, self.tasks.get(key), None)
        return difference, 0

    def _put_task(self, key: str, old: Task | None, new: Task | None) -> None:
        was = old.state if old is not None else None
        now = new.state if new is not None else None
        if was != now:
            if was is not None:
                _add(self.counts, was, -1)
            if now is not None:
                _add(self.counts, now, 1)
        # What a task holds does not change under one fence.
        left = old is not None and was in ON_NODE
        entered = new is not None and now in ON_NODE
        if old is not None and new is not None and left and entered and old.fence == new.fence:
            self.tasks[key] = new
            return
        if old is not None and left:
            self._leave_node(old)
        if new is None:
            self.tasks.pop(key, None)
            return
        self.tasks[key] = new
        if entered:
            self._enter_node(new)

    def _enter_node(self, task: Task) -> None:
        node, spec = task.node, task.spec
        ids = self.by_node.get(node)
        if ids is None:
            ids, self.use[node] = self.by_node.setdefault(node, set()), NodeUse()
        ids.add(task.id)
        self.use[node].add(spec, 1)
        if locks := spec.locks:
            for lock in locks:
                self.locks[lock] = task.id
        if spec.limit_count:
            _add(self.limit_use, spec.limit_key, 1)

    def _leave_node(self, task: Task) -> None:
        node, spec = task.node, task.spec
        ids = self.by_node[node]
        ids.discard(task.id)
        self.use[node].add(spec, -1)
        if not ids:
            del self.by_node[node]
            del self.use[node]
        if locks := spec.locks:
            for lock in locks:
                if self.locks.get(lock) == task.id:
                    del self.locks[lock]
        if spec.limit_count:
            _add(self.limit_use, spec.limit_key, -1)

    def live_count(self) -> int:
        """Tasks that have not ended: what max_queue_depth is compared with."""
        return sum(self.counts.get(state, 0) for state in LIVE)

    def held(self, node_id: str) -> tuple[int, int]:
        """Tasks of a node: how many run, and how many it has yet to begin."""
        ids = self.by_node.get(node_id, ())
        running = sum(self.tasks[task_id].state == types_pb2.TASK_STATE_RUNNING for task_id in ids)
        return running, len(ids) - running

    def reserved(self, node_id: str) -> types_pb2.Requests:
        """Sum of what the tasks on a node reserve."""
        use = self.use.get(node_id)
        if use is None:
            return types_pb2.Requests()
        return types_pb2.Requests(cpu_millis=use.cpu_millis, memory_bytes=use.memory_bytes, gpus=use.gpus)


K = TypeVar("K")
V = TypeVar("V")


def _add(counts: dict[K, int], key: K, amount: int) -> None:
    count = counts.get(key, 0) + amount
    if count:
        counts[key] = count
    else:
        counts.pop(key, None)


def _swap(rows: dict[K, V], key: K, new: V | None) -> None:
    if new is None:
        rows.pop(key, None)
    else:
        rows[key] = new
