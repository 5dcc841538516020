"""The daemon's keeper of its supervisor does not give up, whatever keeps one from being started."""

from __future__ import annotations

import asyncio
import errno
import fcntl
from collections.abc import Sequence
from pathlib import Path

from node.core.faults import Code, Fault
from node.env import Env
from node.worker.port import Disconnected, SupervisorEvent
from node.worker.supervision import ProcessSupervisor, _Connection
from tests.node.leader_kit import virtual
from tests.node.supervisor_kit import Watched
from tests.node.worker_kit import make_env

REFUSALS = (
    OSError(errno.EAGAIN, "Resource temporarily unavailable"),
    TimeoutError(),
    Fault(Code.INTERNAL, "It does not answer.", "Read its log."),
)


class Flaky(ProcessSupervisor):
    """Comes up, is lost, and cannot be started again for a while."""

    def __init__(self, folder: Path) -> None:
        super().__init__(make_env(folder))
        self.refusals = list(REFUSALS)
        self.connections: list[_Connection] = []

    async def _connect_or_launch(self) -> _Connection:
        if self.connections and self.refusals:
            raise self.refusals.pop(0)
        self.connections.append(_Connection(lambda messages, greeting: None))
        return self.connections[-1]


def test_a_lost_supervisor_is_looked_for_until_one_answers(tmp_path: Path) -> None:
    async def main() -> None:
        events: list[SupervisorEvent] = []

        def listen(more: Sequence[SupervisorEvent]) -> None:
            events.extend(more)

        supervisor = Flaky(tmp_path)
        await supervisor.start(listen)
        supervisor.connections[0].lost.set()
        await asyncio.sleep(10)
        assert events == [Disconnected()]
        assert len(supervisor.connections) == 2
        await supervisor.close()

    virtual(main)


class Patient(ProcessSupervisor):
    """Tells that one runs which does not answer."""

    refused: asyncio.Event

    async def _connect_or_launch(self) -> _Connection:
        try:
            return await super()._connect_or_launch()
        except TimeoutError:
            self.refused.set()
            raise


async def test_one_that_runs_and_does_not_answer_yet_is_waited_for(tmp_path: Path) -> None:
    """A daemon may be killed right after it launched one; the next daemon finds its lock, and no socket."""
    watched = Watched(tmp_path)
    watched.port = port = Patient(Env.real(tmp_path))
    port.refused = asyncio.Event()
    folder = tmp_path / "supervisor"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        starting = asyncio.create_task(watched.start())
        await asyncio.wait([starting, asyncio.create_task(port.refused.wait())], return_when="FIRST_COMPLETED")
        assert not starting.done()
    try:
        await starting
        assert (await watched.run("true")).cause == 0
    finally:
        await port.quit()
