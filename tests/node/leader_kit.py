"""A leader on virtual time: its replica applies through the real state machine, the test plays the workers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cortex.v1 import cluster_pb2, log_pb2, types_pb2, worker_pb2
from cortex.v1.log_pb2 import Command
from cortex.v1.types_pb2 import Task
from cortex.v1.worker_pb2 import LeaderMessage, WorkerMessage
from node.conditions.direct import DirectJudge
from node.conditions.port import Judge
from node.core import validate
from node.core.faults import Code, Fault
from node.env import Env
from node.leader.leadership import Leadership
from node.leader.port import Settings
from node.link import LinkClosed
from tests.node.fake_replica import FakeReplica, VirtualClock
from tests.sim.loop import run

T = TypeVar("T")
PATIENCE_S = 120.0


def virtual(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a test's coroutine to its end in virtual time."""
    return run(main, limit_s=1e8)


class End:
    """One end of a stream in memory."""

    def __init__(self, inbox: asyncio.Queue[Any], outbox: asyncio.Queue[Any], broken: asyncio.Event) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._broken = broken
        self.peer = "memory"

    async def send(self, message: Any) -> None:
        if self._broken.is_set():
            raise LinkClosed("broken")
        self._outbox.put_nowait(type(message).FromString(message.SerializeToString()))

    async def receive(self) -> Any:
        taking = asyncio.ensure_future(self._inbox.get())
        breaking = asyncio.ensure_future(self._broken.wait())
        try:
            await asyncio.wait({taking, breaking}, return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                return taking.result()
            raise LinkClosed("broken")
        finally:
            taking.cancel()
            breaking.cancel()

    async def close(self) -> None:
        self._broken.set()


class WorkerEnd:
    """The worker's side of one session, played by the test."""

    def __init__(self, leadership: Leadership) -> None:
        up: asyncio.Queue[WorkerMessage] = asyncio.Queue()
        down: asyncio.Queue[LeaderMessage] = asyncio.Queue()
        broken = asyncio.Event()
        self.welcome = worker_pb2.Welcome()
        self.stream = End(down, up, broken)
        self.serving = asyncio.ensure_future(leadership.session(End(up, down, broken)))

    async def send(self, **kind: Any) -> None:
        await self.stream.send(WorkerMessage(**kind))

    async def next(self, *kinds: str) -> LeaderMessage:
        """The next message of one of `kinds`; others before it are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message: LeaderMessage = await self.stream.receive()
                if message.WhichOneof("kind") in kinds:
                    return message

    async def quiet(self, seconds: float, *but: str) -> list[LeaderMessage]:
        """What comes within `seconds` beside heartbeats and `but`."""
        got: list[LeaderMessage] = []
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await self.stream.receive()
                    if message.WhichOneof("kind") not in ("heartbeat", *but):
                        got.append(message)
        except TimeoutError:
            return got

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.serving

    async def report(self, number: int, *reports: worker_pb2.Report) -> None:
        await self.send(reports=worker_pb2.Reports(number=number, reports=reports))

    async def renew(self, number: int, fences: Iterable[int] = (), version: int = 1) -> None:
        clock = VirtualClock()
        renewal = worker_pb2.Renewal(
            number=number,
            sent_boot_us=clock.boot_us(),
            set_version=version,
            fences=fences,
            wall_us=clock.wall_us(),
        )
        await self.send(renewal=renewal)

    async def keep_renewing(self, fences: Iterable[int], version: int = 1) -> None:
        """Renew a fixed set until cancelled."""
        number = 100
        while True:
            number += 1
            await self.renew(number, fences, version)
            await asyncio.sleep(10)

    async def break_off(self) -> None:
        await self.stream.close()
        await self.ended()


class Cluster:
    """A leadership and its replica."""

    def __init__(self, replica: FakeReplica | None = None, judge: Judge | None = None, **settings: Any) -> None:
        self.replica = replica or FakeReplica()
        self.judge = judge or DirectJudge()
        self.env = Env(
            clock=VirtualClock(),
            random=random.Random(7),
            data=Path("/nonexistent"),
            open_disk=_none,
            make_offload=_none,
        )
        self.settings = Settings(node_id="leader", cluster_id="c1", **settings)
        self.leadership = Leadership(self.env, self.replica, self.settings, self.judge)
        self.replica.observers.append(self.leadership.observe)

    def begin(self) -> Cluster:
        self.leadership.begin(self.replica.term)
        return self

    def depose(self) -> None:
        self.replica.serving = False
        self.replica.leader = "other"
        self.replica.fault = Fault(Code.NO_LEADER, "Not the leader.", "Ask another.")
        self.leadership.end()

    def successor(self, **settings: Any) -> Cluster:
        """The next leader, on the same state."""
        self.depose()
        self.replica.observers.clear()
        replica = self.replica
        return Cluster(FakeReplica(replica.state, replica.term + 1, replica.all_rows), **settings).begin()

    async def connect(self, node: types_pb2.Node, inventory: Sequence[worker_pb2.InventoryItem] = ()) -> WorkerEnd:
        """Open a session and take the Welcome."""
        worker = WorkerEnd(self.leadership)
        await worker.send(hello=hello(node, inventory))
        worker.welcome = (await worker.next("welcome")).welcome
        return worker

    async def submit(self, *tasks: log_pb2.TaskSubmit) -> None:
        reply = await self.replica.execute([Command(task_submit=task) for task in tasks])
        assert all(one.accepted for one in reply.commands), reply

    async def cancel(self, task_id: str) -> None:
        command = Command(task_cancel=log_pb2.TaskCancel(id=task_id, reason="test"))
        reply = await self.replica.execute([command])
        assert reply.commands[0].accepted, reply

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the state meets a condition."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.replica.applied.clear()
                await self.replica.applied.wait()

    def task(self, task_id: str) -> Task:
        return self.replica.state.tasks[task_id]

    async def stop(self) -> None:
        await self.leadership.stop()


def _none(_name: str) -> Any:
    raise AssertionError("the leader needs neither disk nor thread")


def shell(task_id: str, **fields: Any) -> log_pb2.TaskSubmit:
    """A submission of `true` with its defaults filled in; fields of the spec by name, and priority."""
    priority = fields.pop("priority", 5)
    spec = types_pb2.TaskSpec(type=types_pb2.TASK_TYPE_SHELL, shell_command=b"true", **fields)
    request = cluster_pb2.TaskRequest(name=task_id, spec=spec, priority=priority)
    return validate.complete(request, task_id)


def hello(node: types_pb2.Node, inventory: Sequence[worker_pb2.InventoryItem] = ()) -> worker_pb2.Hello:
    clock = VirtualClock()
    return worker_pb2.Hello(
        node=node, inventory=inventory, boot_us=clock.boot_us(), wall_us=clock.wall_us(), cluster_id="c1"
    )


def machine_node(node_id: str = "n1", slots: int = 2, incarnation: str = "i1") -> types_pb2.Node:
    return types_pb2.Node(
        id=node_id,
        hostname=node_id,
        address="127.0.0.1:7001",
        role=types_pb2.NODE_ROLE_WORKER,
        incarnation=incarnation,
        slots=[types_pb2.Slots(type=types_pb2.TASK_TYPE_SHELL, count=slots)],
        capacity=types_pb2.Requests(cpu_millis=slots * 1000, memory_bytes=8 << 30),
        version="0.1.0",
        level=1,
    )


def resources() -> types_pb2.Resources:
    return types_pb2.Resources(
        cpu_percent=10.0,
        cores=2,
        memory_total_bytes=8 << 30,
        memory_available_bytes=6 << 30,
        disk_total_bytes=100 << 30,
        disk_free_bytes=50 << 30,
        link_bits_per_s=10**9,
    )


def sample() -> worker_pb2.Sample:
    return worker_pb2.Sample(resources=resources())


async def assignments(worker: WorkerEnd, count: int) -> list[worker_pb2.Assignment]:
    """The next `count` assignments, in however many messages."""
    got: list[worker_pb2.Assignment] = []
    while len(got) < count:
        got.extend((await worker.next("assignments")).assignments.assignments)
    return got


def started(assignment: worker_pb2.Assignment) -> worker_pb2.Report:
    return worker_pb2.Report(started=worker_pb2.Started(task=assignment.task, fence=assignment.fence))


def ended(
    assignment: worker_pb2.Assignment,
    exit_code: int | None = 0,
    cause: types_pb2.Cause.ValueType = 0,  # type: ignore[assignment]
) -> worker_pb2.Report:
    if cause == 0 and exit_code not in (0, None):
        cause = types_pb2.CAUSE_EXIT
    result = types_pb2.TaskResult(exit_code=exit_code)
    return worker_pb2.Report(
        ended=worker_pb2.Ended(task=assignment.task, fence=assignment.fence, cause=cause, result=result)
    )


def recalled(assignment: worker_pb2.Assignment) -> worker_pb2.Report:
    return worker_pb2.Report(recalled=worker_pb2.Recalled(task=assignment.task, fence=assignment.fence))


def held(assignment: worker_pb2.Assignment, state: worker_pb2.AttemptState.ValueType) -> worker_pb2.InventoryItem:
    return worker_pb2.InventoryItem(task=assignment.task, fence=assignment.fence, state=state)
