"""Sandboxes: what a level costs above a plain spawn, beside plain `bwrap`, one command at a time.

Everything in one run, interleaved: a busy machine slows all of it down alike. Medians and ranges, in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cortex.v1.types_pb2 import SandboxLevel, TaskSpec, TaskType
from node.env import Env
from node.worker.output import OutputStore
from node.worker.port import NO_LEASE, AttemptKey, Finished, SpawnOrder, SupervisorEvent
from node.worker.sandbox import options
from node.worker.sandbox.levels import Levels
from node.worker.supervision import ProcessSupervisor

_COMMAND = ["/bin/true"]
_ENV = {b"PATH": b"/usr/bin:/bin"}
_BWRAP = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
_GOALS_MS = {"default": 8.0, "strict": 10.0}


def bare(argv: list[str]) -> None:
    """posix_spawn and wait."""
    pid = os.posix_spawnp(argv[0], argv, {"PATH": "/usr/bin:/bin"})
    _, status = os.waitpid(pid, 0)
    assert status == 0


@dataclass
class Bench:
    """One supervisor, and a command at a time through it."""

    data: Path
    port: ProcessSupervisor = field(init=False)
    levels: Levels = field(init=False)
    _ended: asyncio.Queue[Finished] = field(default_factory=asyncio.Queue)
    _count: int = 0

    async def start(self) -> None:
        self.port = ProcessSupervisor(Env.real(self.data))
        self.levels = Levels(self.data, (), (), options.read({}))
        await self.port.start(self._take)
        self.port.configure({TaskType.TASK_TYPE_SHELL: 1}, 1 << 20)

    def _take(self, events: Sequence[SupervisorEvent]) -> None:
        for event in events:
            if isinstance(event, Finished):
                self._ended.put_nowait(event)

    async def run(self, level: SandboxLevel.ValueType) -> None:
        self._count += 1
        key = AttemptKey("bench", self._count)
        spec = TaskSpec(sandbox=level)
        order = SpawnOrder(
            key=key,
            kind=TaskType.TASK_TYPE_SHELL,
            priority=5,
            created_us=self._count,
            argv=[word.encode() for word in _COMMAND],
            env=self.levels.environment(spec, _ENV),
            cwd="",
            output=OutputStore.name(key),
            timeout_us=0,
            kill_timeout_us=5_000_000,
            lease_end_us=NO_LEASE,
            success_codes=(),
            limits=self.levels.limits(spec, ""),
        )
        self.port.spawn([order])
        finished = await self._ended.get()
        assert not finished.result.cause, finished.result
        self.port.forget([key])


async def measure(rounds: int) -> dict[str, list[float]]:
    """Milliseconds by what was run."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        await bench.start()
        offers = {offer.level: offer for offer in bench.levels.probe()}
        runs: dict[str, Callable[[], Awaitable[None]]] = {
            "posix_spawn": lambda: asyncio.to_thread(bare, _COMMAND),
            "bwrap, all namespaces": lambda: asyncio.to_thread(bare, [*_BWRAP, *_COMMAND]),
        }
        for name in ("none", "default", "strict"):
            level = SandboxLevel.Value(f"SANDBOX_LEVEL_{name.upper()}")
            if offers[level].available:
                runs[name] = lambda level=level: bench.run(level)  # type: ignore[misc]
            else:
                print(f"{name}: {offers[level].reason}")
        took: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                begun = time.perf_counter()
                await run()
                took[name].append((time.perf_counter() - begun) * 1000)
        await bench.port.quit()
    return took


def report(took: dict[str, list[float]]) -> None:
    plain = took["none"]
    print(
        f"{len(plain)} runs each, milliseconds; above none by the medians, and by the least, which load moves less"
    )
    print(f"{'':<24}{'median':>9}{'least':>9}{'most':>9}{'above none':>18}")
    for name, times in took.items():
        median = statistics.median(times)
        line = f"{name:<24}{median:>9.2f}{min(times):>9.2f}{max(times):>9.2f}"
        if name in _GOALS_MS:
            goal, above = _GOALS_MS[name], median - statistics.median(plain)
            line += f"{above:>9.2f}{min(times) - min(plain):>9.2f}  goal {goal:g}: "
            line += "reached" if above <= goal else "below"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    report(asyncio.run(measure(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
