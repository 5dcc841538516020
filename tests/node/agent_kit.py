"""Agents of tests: the stand-in, run by real drivers under a real supervisor."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cortex.v1 import worker_pb2 as w
from cortex.v1.types_pb2 import TaskProgress, TaskSpec
from node.worker import results
from node.worker.drivers import Drivers
from node.worker.executors.port import ProcessExecutor, Setup
from node.worker.executors.relay import RelayExecutor
from node.worker.executors.subagent import SubagentExecutor
from node.worker.port import AttemptKey, SpawnOrder
from tests.node.fake_replica import VirtualClock
from tests.node.supervisor_kit import PATH, Watched, supervised

STAND_IN = Path(__file__).resolve().parents[1] / "agents" / "stand_in.py"


def steps(*lines: str) -> str:
    """A prompt that says what the stand-in does."""
    return "\n".join(f"stand-in: {line}" for line in lines)


def setup(folder: Path, **options: object) -> Setup:
    return Setup(folder / "daemon", {"PATH": os.fsdecode(PATH)}, {"command": str(STAND_IN), **options})


def assignment(payload: Mapping[str, Any], fence: int = 1, **spec: Any) -> w.Assignment:
    return w.Assignment(task="task", fence=fence, spec=TaskSpec(payload=json.dumps(payload).encode(), **spec))


@dataclass
class Run:
    """How one attempt went."""

    ended: w.Ended
    out: str
    err: str
    progress: list[TaskProgress]

    @property
    def document(self) -> dict[str, Any]:
        found = json.loads(self.ended.result.document or b"{}")
        assert isinstance(found, dict)
        return found

    @property
    def cause(self) -> str:
        return w.Ended.DESCRIPTOR.fields_by_name["cause"].enum_type.values_by_number[self.ended.cause].name


class Machine:
    """One with executors of agents."""

    def __init__(self, folder: Path, watched: Watched, options: dict[str, Any]) -> None:
        self.folder = folder
        self.watched = watched
        self.drivers = Drivers(folder / "exchange", VirtualClock())
        self.subagent = SubagentExecutor(setup(folder, **options.get("subagent", {})))
        self.relay = RelayExecutor(setup(folder, **options.get("claude_relay", {})))

    def order(self, executor: ProcessExecutor, payload: Mapping[str, Any], **spec: Any) -> SpawnOrder:
        """What the supervisor is told to run."""
        order = self.watched.order("true", kill_timeout_us=1_000_000)
        work = assignment(payload, order.key.fence, **spec)
        command = executor.prepare(work)
        assert command.order is not None
        env = {**command.env, **self.drivers.prepare(order.key, command.order)}
        self.drivers.follow(order.key, w.Assignment(spec=TaskSpec(type=executor.type)))
        return replace(order, argv=command.argv, env=env, cwd=command.cwd or str(self.folder))

    async def run(self, payload: Mapping[str, Any], executor: ProcessExecutor | None = None) -> Run:
        """To its end."""
        order = self.order(executor or self.subagent, payload)
        self.watched.port.spawn([order])
        return await self.end(order.key)

    async def end(self, key: AttemptKey) -> Run:
        result = await self.watched.result(key)
        ended = results.ended(w.Assignment(task=key.task, fence=key.fence), result)
        self.drivers.judge(key, ended)
        self.drivers.look()
        out, err = (
            self.watched.output.read(key.task, key.fence, stream, 0, 1 << 20).decode() for stream in ("out", "err")
        )
        return Run(ended, out, err, [one for one in self.drivers.take_progress() if one.fence == key.fence])


@asynccontextmanager
async def machine(folder: Path, **options: Any) -> AsyncIterator[Machine]:
    """`options` are sections of the configuration by the executors' names."""
    async with supervised(folder / "supervised", slots=8) as watched:
        yield Machine(folder, watched, options)
