"""WorkerNode: the part of a daemon that executes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog

from cortex.v1.types_pb2 import Node, Resources
from node.env import Env
from node.link import Link
from node.worker.attempts import State
from node.worker.executors.port import Executor, Fronting
from node.worker.output import OutputStore
from node.worker.port import AttemptKey, SupervisorPort
from node.worker.resources.port import Gauge
from node.worker.runner import Runner
from node.worker.session import LeaderFinder
from node.worker.workspace import Workspace

_TRIM_S = 3600.0
_LOOK_S = 0.2
_FRONTS_S = 30.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    output_limit_bytes: int = 64 * 1024 * 1024  # per stream
    output_max_age_us: int = 7 * 86_400_000_000  # of files of ended attempts, and what they left in their folders
    output_max_bytes: int = 10 * 10**9  # of either
    output_max_task_bytes: int = 10**9  # of files of one task


class WorkerNode:
    """Executes what the leader assigns to `node`. `on_fatal` is told what ends it, such as a failed fsync."""

    def __init__(
        self,
        env: Env,
        node: Node,
        link: Link,
        supervisor: SupervisorPort,
        executors: Sequence[Executor],
        sample: Callable[[], Resources],
        candidates: Callable[[], list[str]],
        settings: WorkerSettings | None = None,
        on_fatal: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        settings = settings or WorkerSettings()
        self._env = env
        self._on_fatal = on_fatal
        self._log = structlog.get_logger(node=node.id)
        self._offload = env.make_offload("output")
        self._tasks: list[asyncio.Task[None]] = []
        self.output = OutputStore(
            env.data / "output",
            max_age_us=settings.output_max_age_us,
            max_bytes=settings.output_max_bytes,
            max_task_bytes=settings.output_max_task_bytes,
        )
        self._workspace = Workspace(
            env.data / "work",
            max_age_us=settings.output_max_age_us,
            max_bytes=settings.output_max_bytes,
        )
        self.runner = Runner(
            env,
            supervisor,
            self.output,
            executors,
            slots={int(each.type): each.count for each in node.slots},
            output_limit_bytes=settings.output_limit_bytes,
            on_failure=self._fail,
        )
        self._node_id = node.id
        self._fronts = [each for each in executors if isinstance(each, Fronting)]
        self._finder = LeaderFinder(env, node, link, self.runner, sample, candidates)

    @property
    def voters(self) -> Sequence[str]:
        """Addresses of the voters, as the last leader told them."""
        return self._finder.voters

    @property
    def recovery_epoch(self) -> int:
        """Of the cluster, as the last leader told it."""
        return self.runner.ledger.contents.recovery_epoch

    def measure(self, gauge: Gauge) -> None:
        """Have what each running attempt uses measured, and its peaks written into its result."""
        attempts = self.runner.attempts

        def running() -> list[AttemptKey]:
            if not attempts.running:
                return []
            return [attempt.key for attempt in attempts if attempt.state == State.RUNNING]

        gauge.follow(running)
        attempts.use_of = gauge.use_of

    async def start(self) -> None:
        """Read the ledger, find or launch the supervisor, begin to look for the leader. Raises Fault or OSError."""
        await self.runner.start()
        fronts = (self._measure_fronts(front) for front in self._fronts)
        for part in (self._finder.run(), self._trim(), self._look(), *fronts):
            task = asyncio.create_task(part)
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Leave the session; commands run on under their supervisor. May be called when start() failed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self.runner.stop()

    async def _trim(self) -> None:
        """At once, every hour, and when much was written: what runs is known by now."""
        while True:
            self.output.grown.clear()
            now_us = self._env.clock.wall_us()
            for what, trim in (("output", self.output.trim), ("folders", self._workspace.trim)):
                try:
                    await self._offload(partial(trim, now_us))
                except OSError as error:
                    self._log.warning("what is old was not removed", what=what, error=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(_TRIM_S):
                    await self.output.grown.wait()

    async def _look(self) -> None:
        """Tell what drivers tell."""
        drivers, outbox = self.runner.drivers, self.runner.outbox
        while True:
            await drivers.running.wait()
            for report in drivers.look():
                outbox.add(report)
            await asyncio.sleep(_LOOK_S)

    async def _measure_fronts(self, front: Fronting) -> None:
        """Keep what is reached through this node; returns at once where there is nothing."""
        offload = self._env.make_offload("fronts")
        while True:
            try:
                found = await offload(front.measure)
            except Exception as error:
                self._log.warning("what is behind this node was not measured", error=str(error) or repr(error))
            else:
                if not found:
                    return
                now_us = self._env.clock.wall_us()
                for each in found:
                    each.node.id = f"{self._node_id}/{each.node.id}"
                    if each.HasField("resources"):
                        each.resources.sampled_at_us = now_us
                self.runner.attached = found
            await asyncio.sleep(_FRONTS_S)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._log.error("worker stopped", error=repr(error))
        self._on_fatal(error if isinstance(error, Exception) else RuntimeError(repr(error)))
