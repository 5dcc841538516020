"""A real supervisor process and a client that notes what it says."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cortex.v1.types_pb2 import TaskType
from node.env import Env
from node.worker.output import OutputStore
from node.worker.port import (
    NO_LEASE,
    AttemptKey,
    AttemptResult,
    Connected,
    Finished,
    SpawnOrder,
    Started,
    SupervisorEvent,
)
from node.worker.supervision import ProcessSupervisor

T = TypeVar("T")
PATIENCE_S = 60.0
SHELL = TaskType.TASK_TYPE_SHELL
PATH = b"/usr/local/bin:/usr/bin:/bin"


class Watched:
    """A client with all events it got."""

    def __init__(self, data: Path, first: int = 1) -> None:
        """Its orders have fences from `first`."""
        self.data = data
        self.port = ProcessSupervisor(Env.real(data))
        self.output = OutputStore(data / "output")
        self.events: list[SupervisorEvent] = []
        self._changed = asyncio.Event()
        self._numbers = itertools.count(first)

    async def start(self, slots: int = 4, cap_bytes: int = 1 << 20) -> Connected:
        await self.port.start(self._take)
        self.port.configure({SHELL: slots}, cap_bytes)
        return await self.wait(lambda: self.last(Connected))

    def order(self, *argv: str | bytes, **changes: object) -> SpawnOrder:
        """An order to run `argv`; `changes` are fields of SpawnOrder, `env` beside what every command gets."""
        number = next(self._numbers)
        key = AttemptKey("task", number)
        env = {b"PATH": PATH, b"CORTEX_TASK": b"task", b"CORTEX_FENCE": b"%d" % number}
        env.update(changes.pop("env", {}))  # type: ignore[call-overload]
        order = SpawnOrder(
            key=key,
            kind=SHELL,
            priority=5,
            created_us=number,
            argv=[word.encode() if isinstance(word, str) else word for word in argv],
            env=env,
            cwd="/",
            output=OutputStore.name(key),
            timeout_us=0,
            kill_timeout_us=5_000_000,
            lease_end_us=NO_LEASE,
            success_codes=(),
        )
        return replace(order, **changes)  # type: ignore[arg-type]

    async def run(self, *argv: str | bytes, **changes: object) -> AttemptResult:
        """Run one command to its end."""
        order = self.order(*argv, **changes)
        self.port.spawn([order])
        return await self.result(order.key)

    async def result(self, key: AttemptKey) -> AttemptResult:
        return (await self.wait(lambda: self.of(Finished, key))).result

    async def started(self, key: AttemptKey) -> Started:
        return await self.wait(lambda: self.of(Started, key))

    async def says(self, order: SpawnOrder, text: bytes) -> None:
        """Wait until the command has written `text`."""
        await until(lambda: text in self.output.read(order.key.task, order.key.fence, "out", 0, 1 << 20))

    def of(self, kind: type[T], key: AttemptKey) -> T | None:
        return next((each for each in self.events if isinstance(each, kind) and each.key == key), None)  # type: ignore[attr-defined]

    def last(self, kind: type[T]) -> T | None:
        return next((each for each in reversed(self.events) if isinstance(each, kind)), None)

    async def wait(self, look: Callable[[], T | None]) -> T:
        """The first answer of `look` that is not None, asked after every event."""
        async with asyncio.timeout(PATIENCE_S):
            while (found := look()) is None:
                self._changed.clear()
                await self._changed.wait()
        return found

    def _take(self, events: Sequence[SupervisorEvent]) -> None:
        self.events += events
        self._changed.set()


@asynccontextmanager
async def supervised(data: Path, **settings: int) -> AsyncIterator[Watched]:
    """A supervisor that is gone afterwards, with all its commands."""
    watched = Watched(data)
    await watched.start(**settings)
    try:
        yield watched
    finally:
        await watched.port.close()
        end(data)


def end(data: Path) -> None:
    """Kill the supervisor of `data` and what it runs."""
    try:
        pid = int((data / "supervisor.pid").read_text())
    except (FileNotFoundError, ValueError):
        return
    for child in family(pid):
        kill(child)
    kill(pid)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


async def until(look: Callable[[], object]) -> None:
    """Wait for something that no event tells of."""
    async with asyncio.timeout(PATIENCE_S):
        while not look():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def boot_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie does not."""
    return state_of(pid) not in ("", "Z", "X")


def peak_kb(pid: int) -> int:
    """Largest resident size so far."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def family(pid: int) -> list[int]:
    """Descendants of `pid`."""
    found: list[int] = []
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return found
    for child in children:
        found += [*family(child), child]
    return found


def zombies(pid: int) -> list[int]:
    """Children of `pid` that wait to be reaped."""
    return [child for child in family(pid) if state_of(child) == "Z"]
