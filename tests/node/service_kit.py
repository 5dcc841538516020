"""Services under a real supervisor, and what they tell."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.worker import results
from node.worker.drivers import Drivers
from node.worker.executors.port import Setup
from node.worker.executors.service import ServiceExecutor
from node.worker.port import AttemptKey, SpawnOrder
from tests.node.fake_replica import VirtualClock
from tests.node.supervisor_kit import PATH, Watched, supervised, until

SAY = "import os, sys, time\ndef say(*words): print(*words, flush=True)\n"


class Services:
    """Starts services as a worker does, and reads what their drivers tell."""

    def __init__(self, watched: Watched, sandbox: Mapping[str, object] | None = None) -> None:
        self.watched = watched
        self.drivers = Drivers(watched.data / "exchange", VirtualClock())
        self._executor = ServiceExecutor(Setup(watched.data, {"PATH": PATH.decode()}, sandbox=sandbox or {}))
        self.assignments: dict[AttemptKey, w.Assignment] = {}
        self._told: list[w.Report] = []
        self._messages: list[str] = []
        self.starting = False
        """By the last progress: whether it is between two lives."""

    def start(
        self,
        *argv: str,
        kill_timeout_ms: int = 10_000,
        sandbox: int = 0,
        env: Mapping[bytes, bytes] | None = None,
        **payload: object,
    ) -> SpawnOrder:
        order = self.watched.order()
        spec = t.TaskSpec(
            type=t.TASK_TYPE_SERVICE,
            argv=[word.encode() for word in argv],
            payload=json.dumps(payload).encode(),
            kill_timeout_ms=kill_timeout_ms,
            sandbox=sandbox,  # type: ignore[arg-type]
        )
        assignment = w.Assignment(task=order.key.task, fence=order.key.fence, spec=spec)
        command = self._executor.prepare(assignment)
        assert command.order is not None
        given = dict(command.env) | self.drivers.prepare(order.key, command.order) | dict(env or {})
        changes = {"key": order.key, "output": order.output, "env": given, "cwd": "", "limits": command.limits}
        order = self.watched.order(*command.argv, kill_timeout_us=kill_timeout_ms * 1000, **changes)
        self.assignments[order.key] = assignment
        self.drivers.follow(order.key, assignment)
        self.watched.port.spawn([order])
        return order

    def python(self, code: str, **settings: object) -> SpawnOrder:
        """A service of that code, which can `say` things."""
        return self.start("python3", "-c", SAY + code, **settings)  # type: ignore[arg-type]

    async def ready(self, order: SpawnOrder, times: int = 1) -> dict[str, str]:
        """The endpoints once it was told `times` times that it is ready."""
        await until(lambda: len(self._of(order)) >= times)
        return {endpoint.name: endpoint.value for endpoint in self._of(order)[times - 1].endpoints}

    def told(self, order: SpawnOrder) -> int:
        """How many times it was told that it is ready."""
        return len(self._of(order))

    def messages(self) -> list[str]:
        """All progress seen so far."""
        self._look()
        return self._messages

    async def end(self, order: SpawnOrder) -> w.Ended:
        """Its end as the leader is told."""
        ended = results.ended(self.assignments[order.key], await self.watched.result(order.key))
        self.drivers.judge(order.key, ended)
        return ended

    def _of(self, order: SpawnOrder) -> list[w.Ready]:
        self._look()
        return [each.ready for each in self._told if each.ready.fence == order.key.fence]

    def _look(self) -> None:
        self._told += self.drivers.look()
        for step in self.drivers.take_progress():
            self._messages.append(step.message)
            self.starting = step.starting


@asynccontextmanager
async def services(data: Path, **sandbox: object) -> AsyncIterator[Services]:
    """`sandbox` is that section of the configuration."""
    async with supervised(data) as watched:
        yield Services(watched, sandbox)
