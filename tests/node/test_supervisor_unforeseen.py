"""An error that nobody foresaw costs the one order in which it happens, not its batch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cortex.v1.types_pb2 import Cause
from node.supervisor.attempt import Order
from node.supervisor.confiner import Confiner
from node.supervisor.spawn import Spawner
from tests.node.supervisor_kit import Watched, alive, end, family, until

# A supervisor with a defect: what argv[2] names.
SICK = """
import os, select, stat, sys
from node.supervisor import family, main, server

class Full:
    # Has no room for the first pipe of a command; the first pipe of all is the supervisor's own.
    def __init__(self):
        self._epoll, self._pipes = select.epoll(), 0

    def register(self, fd, mask):
        self._pipes += stat.S_ISFIFO(os.fstat(fd).st_mode)
        if self._pipes == 2:
            self._pipes += 1
            raise OSError(28, "No space left on device")
        self._epoll.register(fd, mask)

    def __getattr__(self, name):
        return getattr(self._epoll, name)

class Select:
    epoll, EPOLLIN = Full, select.EPOLLIN

class Family(family.Family):
    def marked(self, env):
        if b"SICK" in env:
            raise KeyError("sick")
        return super().marked(env)

if sys.argv[2] == "full":
    server.select = Select
else:
    main.Family = Family
sys.exit(main.main(["--data", sys.argv[1]]))
"""


@asynccontextmanager
async def sick(data: Path, defect: str) -> AsyncIterator[Watched]:
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", SICK, str(data), defect],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    watched = Watched(data)
    try:
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"ready\n"
        await watched.start(slots=2)
        assert watched.port.pid == process.pid
        yield watched
    finally:
        await watched.port.close()
        end(data)
        process.wait()


async def test_an_order_that_does_not_start_fails_alone(tmp_path: Path) -> None:
    async with sick(tmp_path, "order") as watched:
        broken = [watched.order("true", env={b"SICK": b"1"}, priority=9, cwd="") for _ in range(2)]
        orders = [watched.order("echo", "on") for _ in range(3)]
        watched.port.spawn([*broken, *orders])
        for order in broken:
            result = await watched.result(order.key)
            assert (result.cause, result.started_us) == (Cause.CAUSE_CANNOT_START, 0)
            assert "KeyError('sick')" in result.error
        for order in orders:
            assert (await watched.result(order.key)).cause == 0


def test_a_folder_that_cannot_be_taken_back_is_no_reason_to_fail(tmp_path: Path) -> None:
    values = ("task.1", 1, 5, 0, [], {}, "", "00/task.1", 0, 0, -1, (), -1, 0, 0, {"owner": (65534, 65534)})
    confiner = Confiner(Spawner(), "test")
    for own in (tmp_path / "gone", Path("/proc/self/stat")):
        confiner.take_back(str(own), Order(values))


async def test_one_that_started_is_ended_and_fails_alone(tmp_path: Path) -> None:
    async with sick(tmp_path, "full") as watched:
        first, second = watched.order("sleep", "1000", priority=9), watched.order("echo", "on")
        watched.port.spawn([first, second])
        assert (await watched.result(second.key)).cause == 0
        result = await watched.result(first.key)
        # It began: whoever runs it again has to know.
        assert result.cause == Cause.CAUSE_SUPERVISOR
        assert "No space left on device" in result.error
        assert result.started_us > 0
        await until(lambda: not [pid for pid in family(watched.port.pid) if alive(pid)])
        assert (await watched.run("echo", "on")).cause == 0
