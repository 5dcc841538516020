"""A Cluster service in memory, on a real socket: what the command line and the console are tested against.

Tasks change only by the methods of FakeCluster (assign, start, write, finish ...), so a test decides when; with
`execute=True` submitted commands run for real, at once, on a made-up node.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as types

ENDED = frozenset({5, 6, 7, 8, 9})


class Refusal(Exception):
    def __init__(self, code: str, message: str, remedy: str = "Do something else.") -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy


@dataclass
class Output:
    """The bytes of one attempt; `ended` says that no more come."""

    stdout: bytes = b""
    stderr: bytes = b""
    ended: bool = False


@dataclass
class FakeCluster:
    """State, and the hands that change it. Every change wakes all watchers."""

    secret: str = ""
    execute: bool = False
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    index: int = 100
    leader: str = "n1"
    tasks: dict[str, types.Task] = field(default_factory=dict)
    nodes: dict[str, pb.NodeView] = field(default_factory=dict)
    voters: set[str] = field(default_factory=set)
    learners: dict[str, bool] = field(default_factory=dict)
    inspected: dict[str, pb.InspectNodeReply] = field(default_factory=dict)
    benchmarks: dict[str, types.Benchmark] = field(default_factory=dict)
    workflows: dict[str, types.Workflow] = field(default_factory=dict)
    operations: dict[str, types.Operation] = field(default_factory=dict)
    events: list[types.Event] = field(default_factory=list)
    outputs: dict[str, Output] = field(default_factory=dict)
    progress: dict[str, types.TaskProgress] = field(default_factory=dict)
    kept: list[pb.KeptOutput] = field(default_factory=list)
    found: list[pb.SearchOutputReply] = field(default_factory=list)
    log: list[pb.WatchReply] = field(default_factory=list)
    replies: dict[tuple[str, str], Any] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    refuse: dict[str, Refusal] = field(default_factory=dict)
    lost_replies: dict[str, int] = field(default_factory=dict)
    first_index: int = 0
    heartbeats: bool = True
    _waiters: set[asyncio.Event] = field(default_factory=set)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    # Hands

    def add_node(self, node_id: str = "n1", **fields: Any) -> pb.NodeView:
        node = types.Node(
            id=node_id,
            hostname=fields.pop("hostname", f"{node_id}.local"),
            address=fields.pop("address", f"127.0.0.1:{7000 + len(self.nodes)}"),
            state=fields.pop("state", types.NODE_STATE_ACTIVE),
            role=types.NODE_ROLE_VOTER,
            online=fields.pop("online", True),
            slots=[types.Slots(type=types.TASK_TYPE_SHELL, count=4)],
            labels=fields.pop("labels", []),
        )
        resources = types.Resources(
            sampled_at_us=self.now_us(),
            cpu_percent=12.5,
            cores=4,
            load_1m=0.5,
            memory_total_bytes=16 * 10**9,
            memory_available_bytes=12 * 10**9,
            disk_total_bytes=500 * 10**9,
            disk_free_bytes=200 * 10**9,
        )
        terms = types.ScoreTerms(cpu=26.25, memory=22.5, disk=6.0, network=10.0)
        view = pb.NodeView(
            node=node, resources=resources, score=64.75, terms=terms, leader=node_id == self.leader, scored=True
        )
        self.nodes[node_id] = view
        self.voters.add(node_id)
        self.publish(types.Change(node=node))
        return view

    def add_task(self, task_id: str, command: str = "true", **fields: Any) -> types.Task:
        """Puts a queued task, or one in the `state` given, without an event."""
        self.index += 1
        task = types.Task(
            id=task_id,
            name=fields.pop("name", command.split()[0]),
            state=fields.pop("state", types.TASK_STATE_QUEUED),
            priority=fields.pop("priority", 0),
            spec=types.TaskSpec(type=types.TASK_TYPE_SHELL, argv=[part.encode() for part in command.split()]),
            run=1,
            created_at_us=self.now_us(),
            queued_at_us=self.now_us(),
            created_index=self.index,
            **fields,
        )
        self.put(task, types.EVENT_TYPE_SUBMITTED, bump=False)
        return task

    def put(
        self, task: types.Task, event: types.EventType.ValueType | None = None, detail: str = "", bump: bool = True
    ) -> None:
        """Commits a new version of the task, with the event that led to it."""
        if bump:
            self.index += 1
        task.modified_index = self.index
        self.tasks[task.id] = task
        changes = [types.Change(task=task)]
        if event is not None:
            made = types.Event(
                id=f"{self.index}-0",
                index=self.index,
                task=task.id,
                type=event,
                node=task.node,
                detail=detail,
                at_us=self.now_us(),
                state=task.state,
                attempt=task.attempt,
                run=task.run,
            )
            self.events.append(made)
            changes.append(types.Change(event=made))
        self.publish(*changes, bump=False)

    def start(self, task_id: str, node: str = "n1") -> None:
        """Assigned and started, in two entries."""
        task = self.copy_of(task_id)
        task.state, task.node, task.fence = types.TASK_STATE_ASSIGNED, node, self.index + 1
        task.assigned_at_us = self.now_us()
        task.placement.CopyFrom(
            types.Placement(node=node, score=64.75, terms=types.ScoreTerms(cpu=30.0, memory=34.75), reason="best")
        )
        if task_id not in self.outputs or self.outputs[task_id].ended:
            self.outputs[task_id] = Output()
        self.put(task, types.EVENT_TYPE_ASSIGNED)
        task = self.copy_of(task_id)
        task.state, task.started_at_us = types.TASK_STATE_RUNNING, self.now_us()
        self.put(task, types.EVENT_TYPE_STARTED)

    def write(self, task_id: str, stdout: bytes = b"", stderr: bytes = b"") -> None:
        output = self.outputs.setdefault(task_id, Output())
        output.stdout += stdout
        output.stderr += stderr
        self._wake()

    def finish(
        self,
        task_id: str,
        exit_code: int | None = 0,
        *,
        signal: int = 0,
        state: types.TaskState.ValueType | None = None,
        error: str = "",
    ) -> None:
        """Ends the attempt with what was written; the state follows from the exit unless given."""
        output = self.outputs.setdefault(task_id, Output())
        output.ended = True
        task = self.copy_of(task_id)
        ok = exit_code == 0 and not signal
        task.state = state or (types.TASK_STATE_COMPLETED if ok else types.TASK_STATE_DEAD_LETTER)
        task.completed_at_us, task.error = self.now_us(), error
        task.result.CopyFrom(
            types.TaskResult(signal=signal, stdout=summary(output.stdout), stderr=summary(output.stderr))
        )
        if exit_code is not None:
            task.result.exit_code = exit_code
        if task.state == types.TASK_STATE_DEAD_LETTER:
            task.dead_lettered_at_us = task.completed_at_us
            task.fingerprint = hashlib.sha256(output.stderr[-200:]).hexdigest()[:16]
        self.put(task, types.EVENT_TYPE_COMPLETED if ok else types.EVENT_TYPE_DEAD_LETTERED)

    def forget(self) -> None:
        """Watch positions up to now become Gone."""
        self.log.clear()
        self.first_index = self.index + 1
        self._wake()

    def copy_of(self, task_id: str) -> types.Task:
        task = types.Task()
        task.CopyFrom(self.tasks[task_id])
        return task

    def publish(self, *changes: types.Change, bump: bool = True) -> None:
        if bump:
            self.index += 1
        self.log.append(
            pb.WatchReply(index=self.index, at_us=self.now_us(), changes=changes, leader=self.leader, term=1)
        )
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            waiter.set()

    async def changed(self, timeout_s: float) -> None:
        waiter = asyncio.Event()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter.wait()
        except TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)

    async def called(self, method: str, times: int = 1, timeout_s: float = 30) -> None:
        """Waits until that many calls of `method` have come in."""
        async with asyncio.timeout(timeout_s):
            while sum(name == method for name, _ in self.calls) < times:
                await self.changed(timeout_s)

    # What the service needs

    def call(self, method: str, request: Any) -> None:
        self.calls.append((method, request))
        self._wake()

    def find(self, prefix: str) -> types.Task:
        found = [task for task_id, task in self.tasks.items() if task_id.startswith(prefix)]
        if prefix in self.tasks:
            return self.tasks[prefix]
        if not found:
            raise Refusal("not_found", f"There is no task {prefix!r}.", "List the tasks with `cortex tasks`.")
        if len(found) > 1:
            raise Refusal(
                "ambiguous", f"{prefix!r} could be {found[0].id} or {found[1].id}.", "Write more of the id."
            )
        return found[0]

    def accept(self, request: pb.TaskRequest) -> types.Task:
        for task in self.tasks.values():
            if request.submit_key and task.submit_key == request.submit_key:
                return task
        self.index += 1
        task = types.Task(
            id=f"t{self.index:05d}",
            name=request.name or "task",
            state=types.TASK_STATE_QUEUED,
            priority=request.priority,
            spec=request.spec,
            submit_key=request.submit_key,
            run=1,
            created_at_us=self.now_us(),
            queued_at_us=self.now_us(),
            created_index=self.index,
        )
        self.put(task, types.EVENT_TYPE_SUBMITTED, bump=False)
        if self.execute:
            job = asyncio.get_running_loop().create_task(self._run(task))
            self._running.add(job)
            job.add_done_callback(self._running.discard)
        return task

    async def _run(self, task: types.Task) -> None:
        spec = task.spec
        argv = list(spec.argv) or [b"sh", b"-c", spec.shell_command]
        self.start(task.id)
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        stdout, stderr = await process.communicate()
        self.write(task.id, stdout, stderr)
        status = process.returncode or 0
        self.finish(task.id, status if status >= 0 else None, signal=max(0, -status))


def summary(data: bytes) -> types.StreamSummary:
    """Head 4 KiB and tail 12 KiB of a stream, as the log keeps them."""
    head, rest = data[:4096], data[4096:]
    return types.StreamSummary(
        total_bytes=len(data), sha256=hashlib.sha256(data).digest(), head=head, tail=rest[-12288:]
    )
