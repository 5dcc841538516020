"""Spawning: commands per second through a supervisor, and through the whole executor, beside plain posix_spawn.

The whole executor: assignments made durable in the ledger, the shell executor, the supervisor, results made durable
and acknowledged. Everything in one run, interleaved; the median of the rounds and their range. Rates of a machine
that does other work, too, say little; the CPU time that all processes took for one command says what share of plain
spawning is left where the cores are the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cortex.v1 import worker_pb2 as w
from cortex.v1.types_pb2 import TaskSpec, TaskType
from node.env import Env
from node.worker.executors.port import Setup
from node.worker.executors.shell import ShellExecutor
from node.worker.output import OutputStore
from node.worker.port import (
    NO_LEASE,
    AttemptKey,
    Finished,
    SpawnOrder,
    SupervisorEvent,
)
from node.worker.runner import Runner
from node.worker.supervision import ProcessSupervisor

_AHEAD = 512
_ENV = {b"PATH": b"/usr/bin:/bin"}


def bare(count: int, slots: int) -> float:
    """Commands per second with nothing but posix_spawn and wait."""
    begun = time.perf_counter()
    running = 0
    for _ in range(count):
        if running == slots:
            os.wait()
            running -= 1
        os.posix_spawn("/bin/true", ["true"], {}, setsid=True)
        running += 1
    while running:
        os.wait()
        running -= 1
    return count / (time.perf_counter() - begun)


def supervisor_cpu_s(pid: int, *, own: bool) -> float:
    """CPU seconds of the supervisor so far; unless `own`, with those of the commands that it reaped."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(each) for each in fields[11 : 13 if own else 15]) / os.sysconf("SC_CLK_TCK")


class Meter:
    """CPU microseconds for one of `count` commands: of this process, its children and the supervisor `pid`."""

    def __init__(self, count: int, pid: int = 0) -> None:
        self._count = count
        self._pid = pid
        self._begun_s = self._taken_s()

    def each_us(self) -> float:
        return (self._taken_s() - self._begun_s) / self._count * 1e6

    def _taken_s(self) -> float:
        # A supervisor counts as a child of this process only once it is reaped.
        here = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in here) + (
            supervisor_cpu_s(self._pid, own=False) if self._pid else 0
        )


class Client:
    """Orders commands and counts their ends."""

    def __init__(self, data: Path) -> None:
        self.port = ProcessSupervisor(Env.real(data))
        self._left = 0
        self._more = asyncio.Event()
        self._done = asyncio.Event()
        self._fence = 0

    async def start(self, slots: int) -> None:
        await self.port.start(self._take)
        self.port.configure({TaskType.TASK_TYPE_SHELL: slots}, 1 << 26)

    async def run(self, count: int, argv: list[bytes], cwd: str) -> float:
        """Commands per second until the last end has arrived here."""
        begun = time.perf_counter()
        for part in range(0, count, _AHEAD):
            ordered = min(_AHEAD, count - part)
            self._left += ordered
            self._more.clear()
            self.port.spawn([self._order(argv, cwd) for _ in range(ordered)])
            # The next part follows while half of this one still waits, as the leader's prefetch does.
            await self._more.wait()
        self._done.clear()
        if self._left:
            await self._done.wait()
        return count / (time.perf_counter() - begun)

    async def latency_ms(self, count: int) -> list[float]:
        """From the order of one command to its end, one at a time, sorted."""
        return sorted([1000 / await self.run(1, [b"/bin/true"], "/") for _ in range(count)])

    def cpu_s(self) -> float:
        """CPU seconds of the supervisor itself so far."""
        return supervisor_cpu_s(self.port.pid, own=True)

    def memory_kb(self) -> int:
        """The supervisor's largest resident size."""
        return int(Path(f"/proc/{self.port.pid}/status").read_text().partition("VmHWM:")[2].split()[0])

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.port.pid}/fd"))

    def zombies(self) -> int:
        """Children of the supervisor that wait to be reaped."""
        children = Path(f"/proc/{self.port.pid}/task/{self.port.pid}/children").read_text().split()
        return sum(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z" for pid in children)

    def _order(self, argv: list[bytes], cwd: str) -> SpawnOrder:
        self._fence += 1
        return SpawnOrder(
            key=AttemptKey("bench", self._fence),
            kind=TaskType.TASK_TYPE_SHELL,
            priority=5,
            created_us=self._fence,
            argv=argv,
            env={**_ENV, b"CORTEX_TASK": b"bench", b"CORTEX_FENCE": b"%d" % self._fence},
            cwd=cwd,
            output=f"00/bench.{self._fence}",
            timeout_us=0,
            kill_timeout_us=5_000_000,
            lease_end_us=NO_LEASE,
            success_codes=(),
        )

    def _take(self, events: Sequence[SupervisorEvent]) -> None:
        ended = [event.key for event in events if isinstance(event, Finished)]
        self.port.forget(ended)
        self._left -= len(ended)
        if self._left <= _AHEAD // 2:
            self._more.set()
        if self._left == 0:
            self._done.set()


class Executor:
    """A worker's runner whose leader acknowledges at once."""

    def __init__(self, data: Path, slots: int) -> None:
        env = Env.real(data)
        self._clock = env.clock
        self._port = ProcessSupervisor(env)
        self._left = 0
        self._fence = 0
        self._more = asyncio.Event()
        self._runner = Runner(
            env,
            self._port,
            OutputStore(data / "output"),
            [ShellExecutor(Setup(data, {"PATH": "/usr/bin:/bin"}))],
            {TaskType.TASK_TYPE_SHELL: slots},
            1 << 26,
            _fail,
        )
        self._runner.on_batch = self._take

    @property
    def pid(self) -> int:
        return self._port.pid

    async def start(self) -> None:
        await self._runner.start()

    async def stop(self) -> None:
        await self._port.quit()
        await self._runner.stop()

    async def run(self, count: int) -> float:
        """Commands per second, each assigned, run, durable and acknowledged."""
        begun = time.perf_counter()
        for part in range(0, count, _AHEAD):
            assigned = min(_AHEAD, count - part)
            self._left += assigned
            self._runner.accept([self._assignment() for _ in range(assigned)], self._clock.boot_us())
            await self._until(_AHEAD // 2 if part + _AHEAD < count else 0)
        return count / (time.perf_counter() - begun)

    async def _until(self, left: int) -> None:
        while self._left > left:
            self._more.clear()
            await self._more.wait()

    def _assignment(self) -> w.Assignment:
        self._fence += 1
        spec = TaskSpec(type=TaskType.TASK_TYPE_SHELL, argv=[b"/bin/true"], kill_timeout_ms=5_000)
        task = f"bench{self._fence}"
        return w.Assignment(
            task=task, fence=self._fence, run=1, priority=5, spec=spec, created_at_us=1, lease_ms=300_000
        )

    def _take(self, batch: w.Reports) -> None:
        self._left -= sum(report.HasField("ended") for report in batch.reports)
        asyncio.get_running_loop().call_soon(self._runner.acknowledged, batch.number, ())
        self._more.set()


def _fail(error: BaseException) -> None:
    raise error


class Line:
    """Rates of one kind of spawning, and what each command took of the CPU."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rates: list[float] = []
        self._cpu_us: list[float] = []

    def note(self, rate: float, meter: Meter) -> None:
        self._rates.append(rate)
        self._cpu_us.append(meter.each_us())

    def tell(self, plain: Line, more: str = "") -> None:
        rate = f"{statistics.median(self._rates):7.0f}"
        by_rate = _shares(self._rates, plain._rates)
        by_cpu = _shares(plain._cpu_us, self._cpu_us)
        print(f"  {self._name:34} {rate}  {by_rate}  {statistics.median(self._cpu_us):5.0f} us  {by_cpu}{more}")


def _shares(part: list[float], whole: list[float]) -> str:
    shares = sorted(each / beside for each, beside in zip(part, whole, strict=True))
    return f"{statistics.median(shares):4.0%} ({shares[0]:4.0%} to {shares[-1]:4.0%})"


async def concurrent(client: Client, count: int) -> None:
    """As many commands at once, each of which writes a little and waits for its end."""
    client.port.configure({TaskType.TASK_TYPE_SHELL: count}, 1 << 26)
    await client.run(count, [b"sh", b"-c", b"head -c 20000 /dev/zero; sleep 1"], "/")


async def main(count: int, slots: int, rounds: int, many: int) -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        client, executor = Client(Path(folder)), Executor(Path(other), slots)
        await client.start(slots)
        await executor.start()
        kinds = {
            "supervisor, /bin/true": ([b"/bin/true"], "/"),
            "supervisor, /bin/true, own folder": ([b"/bin/true"], ""),
            "supervisor, sh -c 'echo hi'": ([b"sh", b"-c", b"echo hi"], "/"),
        }
        plain, whole = Line("posix_spawn and wait, /bin/true"), Line("whole executor, /bin/true")
        lines = {name: Line(name) for name in kinds}
        own_us: dict[str, list[float]] = {name: [] for name in kinds}
        open_files = client.open_files()
        for _ in range(rounds):
            meter = Meter(count)
            plain.note(bare(count, slots), meter)
            for name, (argv, cwd) in kinds.items():
                before_s, meter = client.cpu_s(), Meter(count, client.port.pid)
                lines[name].note(await client.run(count, argv, cwd), meter)
                own_us[name].append((client.cpu_s() - before_s) / count * 1e6)
            meter = Meter(count, executor.pid)
            whole.note(await executor.run(count), meter)
        print(f"{count} commands, {slots} slots, {rounds} rounds, load {os.getloadavg()[0]:.1f}; median (range)")
        print(f"  {'':34}    /s    share of plain         CPU of all  share of plain by that")
        plain.tell(plain)
        for name, line in lines.items():
            line.tell(plain, f"  supervisor's own {statistics.median(own_us[name]):.0f} us")
        whole.tell(plain)
        taken = await client.latency_ms(100)
        print(f"one command, order -> end: p50 {taken[50]:.2f} ms, p95 {taken[95]:.2f} ms")
        if many:
            await client.run(many, [b"/bin/true"], "/")
            print(
                f"after {many} more: {client.zombies()} zombies, {client.open_files()} descriptors "
                f"({open_files} before), peak memory {client.memory_kb() / 1000:.1f} MB"
            )
            await concurrent(client, 200)
            print(f"after 200 at once: peak memory {client.memory_kb() / 1000:.1f} MB")
        await client.port.quit()
        await executor.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--many", type=int, default=10_000)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.count, arguments.slots, arguments.rounds, arguments.many))
