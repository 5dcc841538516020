"""A state machine by itself: what a replica does around it, and short ways to say what entries say."""

from __future__ import annotations

from collections.abc import Iterable

from cortex.v1 import types_pb2
from cortex.v1.cluster_pb2 import TaskRequest
from cortex.v1.log_pb2 import (
    BatchPart,
    Command,
    CommandReply,
    Entry,
    NodeJoin,
    Reply,
    TaskAssign,
    TaskCancel,
    TaskComplete,
    TaskDeadLetter,
    TaskFailed,
    TaskMigrate,
    TaskRetry,
    TaskSubmit,
)
from cortex.v1.types_pb2 import Cause, Event, Node, NodeRole, Placement, Slots, Task, TaskResult, TaskSpec, TaskType
from node.core import machine, reads, validate
from node.core.model import Key, Outcome, Row, Table, has_ended
from node.core.state import ClusterState

HOUR_US = 3600 * 1_000_000


class Machine:
    """Applies entries to a state, and keeps every row as a store would; `spill` forgets ended tasks at once."""

    def __init__(self, *, spill: bool = True) -> None:
        self.state = ClusterState()
        self.rows: dict[Key, Row] = {}
        self.log: list[bytes] = []
        self.events: list[Event] = []
        self.now_us = 1_700_000_000_000_000
        self.outcome = Outcome((), Reply())
        self.twice = False  # apply each entry twice before its commit: a pure function does not notice
        self._spill = spill
        self._count = 0

    def apply(
        self,
        *commands: Command,
        client: str = "",
        request_id: str = "",
        actor: str = "",
        after_us: int = 1000,
        batch: BatchPart | None = None,
    ) -> Reply:
        """Apply one entry of `commands`, `after_us` later than the one before."""
        self.now_us += after_us
        entry = Entry(
            level=1, at_us=self.now_us, client=client, request_id=request_id, actor=actor, commands=commands
        )
        if batch is not None:
            entry.batch.CopyFrom(batch)
        return self.apply_entry(entry)

    def one(self, command: Command, **more: int) -> CommandReply:
        """Apply an entry of one command."""
        return self.apply(command, **more).commands[0]  # type: ignore[arg-type]

    def apply_entry(self, entry: Entry) -> Reply:
        data = entry.SerializeToString()
        self.log.append(data)
        entry = Entry.FromString(data)
        index = self.state.index + 1
        cold = reads.gather([entry], self.state, self._load)
        outcome = machine.apply(self.state, cold, entry, index, 1)
        if self.twice:
            assert machine.apply(self.state, cold, entry, index, 1) == outcome
        self.state.commit(outcome, index, 1, entry.at_us)
        for change in outcome.changes:
            key = Key(change.table, change.id)
            if key in cold:
                cold[key] = change.new
            assert change.old == self.rows.get(key), key
            if change.new is None:
                del self.rows[key]
            else:
                self.rows[key] = change.new
                if isinstance(change.new, Event):
                    self.events.append(change.new)
        self.state.adopt(reads.adopted(outcome.changes, cold))
        if self._spill:
            self.state.evict(
                [Key(c.table, c.id) for c in outcome.changes if c.new is not None and has_ended(c.new)]
            )
        self.outcome = outcome
        return outcome.reply

    def _load(self, keys: Iterable[Key]) -> dict[Key, Row | None]:
        return {key: self.rows.get(key) for key in keys if self.state.get(*key) is None}

    def task(self, task_id: str) -> Task:
        row = self.rows[Key(Table.TASKS, task_id)]
        assert isinstance(row, Task)
        return row

    def node(self, node_id: str) -> Node:
        return self.state.nodes[node_id]

    def last_events(self) -> list[Event]:
        """Events of the last entry."""
        return [change.new for change in self.outcome.changes if isinstance(change.new, Event)]

    def new_id(self) -> str:
        self._count += 1
        return f"t{self._count:06d}"

    def join(self, node_id: str, slots: int = 2, **fields: object) -> CommandReply:
        node = Node(
            id=node_id,
            hostname=f"{node_id}.lan",
            role=NodeRole.NODE_ROLE_VOTER,
            incarnation="i1",
            slots=[Slots(type=TaskType.TASK_TYPE_SHELL, count=slots)],
            **fields,  # type: ignore[arg-type]
        )
        return self.one(Command(node_join=NodeJoin(node=node)))

    def submit(
        self, argv: Iterable[bytes] = (b"true",), *, key: str = "", priority: int = 0, **spec: object
    ) -> str:
        """Submit one task, which must be accepted; its id."""
        command = Command(task_submit=self.submission(argv, key=key, priority=priority, **spec))
        reply = self.one(command)
        assert reply.accepted, reply
        return reply.id

    def submission(
        self, argv: Iterable[bytes] = (b"true",), *, key: str = "", priority: int = 0, **spec: object
    ) -> TaskSubmit:
        full = TaskSpec(argv=argv, **spec)  # type: ignore[arg-type]
        return validate.complete(TaskRequest(priority=priority, submit_key=key, spec=full), self.new_id())

    def assign(self, task_id: str, node_id: str = "n1") -> int:
        """Assign a task, which must be accepted; its fence."""
        reply = self.one(Command(task_assign=TaskAssign(id=task_id, placement=Placement(node=node_id))))
        assert reply.accepted, reply
        return self.state.index

    def running(self, node_id: str = "n1", **spec: object) -> tuple[str, int]:
        """A new task that runs on a node; its id and fence."""
        task_id = self.submit(**spec)  # type: ignore[arg-type]
        fence = self.assign(task_id, node_id)
        assert self.one(fenced("task_started", task_id, fence)).accepted
        return task_id, fence


def fenced(kind: str, task_id: str, fence: int, **fields: object) -> Command:
    """A worker's report: task_started, task_recalled, task_lost or task_stopped."""
    command = Command()
    inner = getattr(command, kind)
    inner.id, inner.fence = task_id, fence
    for name, value in fields.items():
        setattr(inner, name, value)
    return command


def complete(task_id: str, fence: int, exit_code: int = 0) -> Command:
    return Command(task_complete=TaskComplete(id=task_id, fence=fence, result=TaskResult(exit_code=exit_code)))


def failed(
    task_id: str,
    fence: int,
    exit_code: int = 1,
    cause: Cause.ValueType = Cause.CAUSE_EXIT,
    delay_us: int = 0,
) -> Command:
    result = TaskResult(exit_code=exit_code) if cause == Cause.CAUSE_EXIT else TaskResult()
    report = TaskFailed(id=task_id, fence=fence, result=result, cause=cause, retry_delay_us=delay_us, error="broke")
    return Command(task_failed=report)


def cluster(nodes: int = 2) -> Machine:
    m = Machine()
    for number in range(1, nodes + 1):
        m.join(f"n{number}")
    return m


def cancel(task_id: str, reason: str = "") -> Command:
    return Command(task_cancel=TaskCancel(id=task_id, reason=reason))


def retry(task_id: str) -> Command:
    return Command(task_retry=TaskRetry(id=task_id))


def migrate(task_id: str, reason: str = "") -> Command:
    return Command(task_migrate=TaskMigrate(id=task_id, reason=reason))


def assign(task_id: str, node: str = "n1") -> Command:
    return Command(task_assign=TaskAssign(id=task_id, placement=Placement(node=node, score=1.0)))


def queue_timeout(task_id: str) -> Command:
    return Command(task_dead_letter=TaskDeadLetter(id=task_id, cause=types_pb2.CAUSE_QUEUE_TIMEOUT))
