"""A worker on virtual time: the test plays the leader and the supervisor."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.env import Env, RealDisk
from node.link import Caller, LinkClosed
from node.worker.executors.noop import NoopExecutor
from node.worker.executors.port import Executor, Setup
from node.worker.executors.shell import ShellExecutor
from node.worker.port import (
    AttemptKey,
    AttemptResult,
    Connected,
    Finished,
    HeldAttempt,
    HeldState,
    Lease,
    Listener,
    Returned,
    SpawnOrder,
    Started,
    StopOrder,
    StreamEnd,
    SupervisorEvent,
)
from node.worker.worker import WorkerNode
from tests.node.fake_replica import VirtualClock
from tests.node.leader_kit import End, machine_node, resources

T = TypeVar("T")
PATIENCE_S = 300.0
HERE = "10.0.0.1:7000"
NOTHING = StreamEnd(0, 0, b"", b"", b"")
SUCCESS = AttemptResult(0, "", 0, 0, 5, 6, 1, 1, 1, 1024, NOTHING, NOTHING)
BOOT = "boot-1"


class Disk:
    """What is done off the loop is done at once, but while it is `stalled`, and not at all while it is `broken`."""

    def __init__(self) -> None:
        self.stalled = False
        self.broken = False

    async def __call__(self, function: Callable[[], T], /) -> T:
        await asyncio.sleep(0.0003)
        while self.stalled:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        if self.broken:
            raise OSError(5, "Input/output error")
        return function()


def make_env(folder: Path, disk: Disk | None = None) -> Env:
    offload = disk or Disk()
    return Env(
        clock=VirtualClock(),
        random=random.Random(str(folder)),
        data=folder,
        open_disk=lambda name: RealDisk(folder / name),
        make_offload=lambda name: offload,
    )


class FakeSupervisor:
    """Notes what is asked of it; the test says what happens."""

    def __init__(self, attempts: Sequence[HeldAttempt] = (), boot_id: str = BOOT) -> None:
        self.pid = 42
        self.boot_id = boot_id
        self.attempts = list(attempts)
        self.orders: dict[AttemptKey, SpawnOrder] = {}
        self.recalled: list[AttemptKey] = []
        self.stops: list[StopOrder] = []
        self.ends: dict[AttemptKey, int] = {}
        self.leases: dict[AttemptKey, Lease] = {}
        self.forgotten: list[AttemptKey] = []
        self.slots: dict[int, int] = {}
        self._listener: Listener | None = None

    async def start(self, listener: Listener) -> None:
        self._listener = listener
        self.connect()

    def connect(self) -> None:
        self.emit(Connected(self.boot_id, self.pid, self.attempts))

    def emit(self, *events: SupervisorEvent) -> None:
        assert self._listener is not None
        self._listener(events)

    def start_and_finish(self, key: AttemptKey, result: AttemptResult = SUCCESS) -> None:
        self.emit(Started(key, 7, 5), Finished(key, result))

    def configure(self, slots: Mapping[int, int], cap_bytes: int) -> None:
        self.slots = dict(slots)

    def spawn(self, orders: Sequence[SpawnOrder]) -> None:
        for order in orders:
            assert order.key not in self.orders
            self.orders[order.key] = order
            self.ends[order.key] = order.lease_end_us

    def recall(self, keys: Sequence[AttemptKey]) -> None:
        self.recalled += keys

    def stop(self, orders: Sequence[StopOrder]) -> None:
        self.stops += orders

    def renew(self, leases: Mapping[AttemptKey, Lease]) -> None:
        self.leases.update(leases)
        self.ends.update((key, lease.end_us) for key, lease in leases.items())

    def forget(self, keys: Sequence[AttemptKey]) -> None:
        self.forgotten += keys
        for key in keys:
            self.orders.pop(key, None)

    def returned(self, key: AttemptKey, never_started: bool = True) -> None:
        if never_started:
            self.orders.pop(key, None)
        self.emit(Returned(key, never_started))

    async def close(self) -> None:
        self._listener = None

    async def quit(self) -> None: ...


class LeaderSide:
    """The leader's end of one session."""

    def __init__(self, stream: End, address: str) -> None:
        self.stream = stream
        self.address = address
        self.hello = w.Hello()

    async def send(self, **kind: Any) -> None:
        await self.stream.send(w.LeaderMessage(**kind))

    async def welcome(self, verdicts: Sequence[w.Verdict] = (), **fields: Any) -> LeaderSide:
        message = w.Welcome(term=1, lease_ms=30_000, renew_ms=10_000, heartbeat_ms=5_000, verdicts=verdicts)
        message.MergeFrom(w.Welcome(**fields))
        await self.send(welcome=message)
        return self

    async def beat(self) -> None:
        """Send heartbeats until the session breaks."""
        try:
            while True:
                await asyncio.sleep(5)
                await self.send(heartbeat=w.Heartbeat())
        except LinkClosed:
            return

    async def ack(self, number: int, lease_ms: int = 30_000) -> None:
        await self.send(renewal_ack=w.RenewalAck(number=number, lease_ms=lease_ms))

    async def assign(self, *assignments: w.Assignment) -> None:
        await self.send(assignments=w.Assignments(assignments=assignments))

    async def next(self, kind: str) -> Any:
        """The next message of one kind; others before it are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message: w.WorkerMessage = await self.stream.receive()
                if message.WhichOneof("kind") == kind:
                    return getattr(message, kind)

    async def reports(self, count: int = 1) -> list[tuple[str, AttemptKey]]:
        """Kinds and attempts of the next `count` reports; each batch is acknowledged."""
        found: list[tuple[str, AttemptKey]] = []
        while len(found) < count:
            batch = await self.next("reports")
            found += kinds(batch)
            await self.send(reports_ack=w.ReportsAck(number=batch.number))
        return found

    async def within(self, seconds: float) -> list[w.WorkerMessage]:
        """All that comes within `seconds`."""
        got: list[w.WorkerMessage] = []
        try:
            async with asyncio.timeout(seconds):
                while True:
                    got.append(await self.stream.receive())
        except TimeoutError:
            return got


class FakeLink:
    """Sessions to addresses in `up`; the others refuse. Tries are noted with their time."""

    def __init__(self) -> None:
        self.up = {HERE}
        self.tries: list[tuple[float, str]] = []
        self._sessions: asyncio.Queue[LeaderSide] = asyncio.Queue()

    async def open_session(self, address: str) -> End:
        self.tries.append((asyncio.get_running_loop().time(), address))
        if address not in self.up:
            raise LinkClosed("refused")
        one: asyncio.Queue[Any] = asyncio.Queue()
        other: asyncio.Queue[Any] = asyncio.Queue()
        broken = asyncio.Event()
        self._sessions.put_nowait(LeaderSide(End(one, other, broken), address))
        return End(other, one, broken)

    async def accept(self) -> LeaderSide:
        """The next session with its Hello."""
        async with asyncio.timeout(PATIENCE_S):
            side = await self._sessions.get()
            side.hello = await side.next("hello")
        return side

    def send_raft(self, address: str, message: Message) -> None:
        raise NotImplementedError

    async def call(self, *_: Any) -> Message:
        raise NotImplementedError

    def stream(
        self, address: str, method: str, request: Message, caller: Caller | None = None
    ) -> AsyncIterator[Message]:
        raise NotImplementedError


SETUP = Setup(Path("/nonexistent"), {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})


class Kit:
    """A WorkerNode and what is around it."""

    def __init__(
        self,
        folder: Path,
        supervisor: FakeSupervisor | None = None,
        node: t.Node | None = None,
        executors: Sequence[Executor] = (),
    ) -> None:
        self.disk = Disk()
        self.link = FakeLink()
        self.supervisor = supervisor or FakeSupervisor()
        self.candidates = [HERE]
        self.failures: list[Exception] = []
        self._beating: set[asyncio.Task[None]] = set()
        self.worker = WorkerNode(
            make_env(folder, self.disk),
            node or machine_node(),
            self.link,  # type: ignore[arg-type]
            self.supervisor,
            [ShellExecutor(SETUP), NoopExecutor(SETUP), *executors],
            resources,
            lambda: self.candidates,
            on_fatal=self.failures.append,
        )

    async def session(self, acknowledged: bool = True, beats: bool = True, **welcome: Any) -> LeaderSide:
        """Take the next session and welcome it; its Hello is acknowledged as the first renewal."""
        side = await self.link.accept()
        await side.welcome(**welcome)
        if beats:
            self._beating.add(asyncio.create_task(side.beat()))
        if acknowledged:
            await side.ack(0)
        return side

    async def ordered(self, *keys: AttemptKey) -> SpawnOrder:
        """Wait until the supervisor has orders for all `keys`; the last one's."""
        await self.until(lambda: all(key in self.supervisor.orders for key in keys))
        return self.supervisor.orders[keys[-1]]

    async def until(self, look: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not look():  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@asynccontextmanager
async def working(folder: Path, **parts: Any) -> AsyncIterator[Kit]:
    """A started worker."""
    kit = Kit(folder, **parts)
    await kit.worker.start()
    try:
        yield kit
    finally:
        await kit.worker.stop()


def assignment(task: str = "t1", fence: int = 10, lease_ms: int = 30_000, **spec: Any) -> w.Assignment:
    fields: dict[str, Any] = {"type": t.TASK_TYPE_SHELL, "argv": [b"true"], "kill_timeout_ms": 5_000, **spec}
    return w.Assignment(
        task=task,
        name=task,
        fence=fence,
        run=1,
        priority=5,
        spec=t.TaskSpec(**fields),
        created_at_us=1,
        lease_ms=lease_ms,
    )


def key(task: str = "t1", fence: int = 10) -> AttemptKey:
    return AttemptKey(task, fence)


def kinds(batch: w.Reports) -> list[tuple[str, AttemptKey]]:
    found = []
    for report in batch.reports:
        kind = report.WhichOneof("kind") or ""
        inner = getattr(report, kind)
        found.append((kind, AttemptKey(inner.task, inner.fence)))
    return found


def verdict(kind: w.VerdictKind.ValueType, task: str = "t1", fence: int = 10) -> w.Verdict:
    return w.Verdict(task=task, fence=fence, kind=kind)


def held(state: HeldState, task: str = "t1", fence: int = 10) -> HeldAttempt:
    result = replace(SUCCESS) if state == HeldState.ENDED else None
    running = state == HeldState.RUNNING
    return HeldAttempt(AttemptKey(task, fence), state, 7 if running else 0, 5 if running else 0, result)
