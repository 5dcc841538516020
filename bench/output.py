"""Output: lines per second of a command through the supervisor into its file, and what that does to the daemon.

Beside each figure stands the latency of one task and of one call, taken at the same time; the first rows are
without any output. Run: python -m bench.output [--rate 50000] [--seconds 4] [--followers 1 200]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench import _meter
from bench._table import NO_GOAL, Goal, Running, head, line, percentile, running
from bench.tasks import latency
from cortex.v1 import cluster_pb2, types_pb2

_LINE = "x" * 71 + "\n"  # with its number 79 bytes
_ROUNDS = 25
_SLOW_RATE = 100
# Paced: every 10 ms what is due by then, in one write or line by line.
_WRITER = """
import os, sys, time
rate, seconds, lines = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "lines"
text = {text!r}
begun, done = time.monotonic(), 0
while (now := time.monotonic() - begun) < seconds:
    due = int(now * rate)
    many = [b"%07d " % number + text for number in range(done, due)]
    for data in many if lines else [b"".join(many)]:
        while data:
            data = data[os.write(1, data):]
    done = due
    time.sleep(0.01)  # the pace: what is due is reckoned from the clock
"""


def writer(rate: float, seconds: float, how: str) -> cluster_pb2.TaskRequest:
    code = _WRITER.format(text=_LINE.encode())
    argv = [word.encode() for word in (sys.executable, "-c", code, str(rate), str(seconds), how)]
    return cluster_pb2.TaskRequest(
        name="output", spec=types_pb2.TaskSpec(type=types_pb2.TASK_TYPE_SHELL, argv=argv)
    )


async def calls(found: Running, until: asyncio.Event) -> list[float]:
    """Milliseconds of calls that only read memory, one each 10 ms: what the daemon's loop keeps them waiting."""
    spent: list[float] = []
    while not until.is_set():
        begun = time.perf_counter()
        await found.client.status()
        spent.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(0.01)
    return spent


@asynccontextmanager
async def followed(found: Running, task_id: str, count: int) -> AsyncIterator[asyncio.subprocess.Process | None]:
    if not count:
        yield None
        return
    address, secret = found.cluster.nodes[found.leader].address, str(found.cluster.secret)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench._followers", address, secret, task_id, str(count),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    yield process
    await process.wait()


async def measure(found: Running, name: str, request: cluster_pb2.TaskRequest | None, followers: int) -> None:
    """One row group: what is written is read back from the result once the task has ended."""
    task_id = (await found.client.submit(request)).id if request is not None else ""
    async with followed(found, task_id, followers) as process:
        await asyncio.sleep(1)
        before, begun, stop = _meter.costs(found.pids), time.perf_counter(), asyncio.Event()
        calling = asyncio.create_task(calls(found, stop))
        tasks_ms = await latency(found.client, _ROUNDS)
        stop.set()
        calls_ms = await calling
        seconds = time.perf_counter() - begun
        after = _meter.costs(found.pids)
        if task_id:
            await _rate(found, name, task_id)
        if process is not None:
            got, _ = await process.communicate()
            print(f"{name}: {int(got) / 1e6:,.0f} MB got in all")
    line(f"{name}: one task, p50", [percentile(tasks_ms, 50)], "ms")
    line(f"{name}: one task, p95", [percentile(tasks_ms, 95)], "ms")
    line(f"{name}: one call, p50", [percentile(calls_ms, 50)], "ms")
    line(f"{name}: one call, p99", [percentile(calls_ms, 99)], "ms")
    for kind in ("daemon", "supervisor"):
        spent = sum((after[each] - before[each]).cpu_s for each in found.pids if each.endswith(kind))
        line(f"{name}: {kind}", [spent / seconds * 100], "% of a core")


async def _rate(found: Running, name: str, task_id: str) -> None:
    """Lines per second of the command's own running time, once it has ended."""
    async for _ in found.client.output(task_id, follow=True, offset=1 << 40, stderr_offset=1 << 40):
        pass
    result = await _ended(found, task_id)
    lines = result.stdout.total_bytes / len(_LINE + "1234567 ")
    goal = Goal(50_000 * 0.95, least=True) if "50,000" in name else NO_GOAL
    line(f"{name}: taken", [lines / (result.usage.wall_us / 1e6)], "lines/s", goal)


async def _ended(found: Running, task_id: str) -> types_pb2.TaskResult:
    while True:
        task = (await found.client.get_task(task_id)).task
        if task.completed_at_us:
            return task.result
        await asyncio.sleep(0.1)


async def run(rate: float, seconds: float, followers: list[int]) -> None:
    async with running(1) as found:
        await latency(found.client, 5)
        await measure(found, "no output", None, 0)
        for how in ("blocks", "lines"):
            await measure(found, f"{rate:,.0f} lines/s in {how}", writer(rate, seconds, how), 0)
        for count in followers:
            slow = count > 1
            name = f"{_SLOW_RATE if slow else rate:,.0f} lines/s, {count} follower{'s' * slow}"
            await measure(found, name, writer(_SLOW_RATE if slow else rate, seconds, "blocks"), count)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50_000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--followers", type=int, nargs="*", default=[1, 200])
    options = parser.parse_args(arguments)
    head("Output of one command, one daemon; latencies and CPU while it writes, but for its first second")
    asyncio.run(run(options.rate, options.seconds, options.followers))


if __name__ == "__main__":
    main()
