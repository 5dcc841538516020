"""The daemon's keeper of its supervisor does not give up, whatever keeps one from being started."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

from node.core.faults import Code, Fault
from node.worker.port import Disconnected, SupervisorEvent
from node.worker.supervision import ProcessSupervisor, _Connection
from tests.node.leader_kit import virtual
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
