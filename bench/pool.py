"""Python tasks: how late the daemon's event loop is while all workers burn CPU, and tasks per second.

Beside it the same of shell commands, in the same run. Run: python -m bench.pool [--seconds 3] [--tasks 200]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench._table import Goal, head, line, percentile
from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster, eventually, wait_all_ended
from tui.link.client import ClusterClient

_HANDLERS = """
import time
from node.pool import handler

@handler("burn")
def burn(context, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))
        context.progress(1, 2, "burning")

@handler("nothing")
def nothing(context): ...
"""
_BURN = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end: sum(range(1000))"
_ROUNDS = 3


def python(handler: str, **data: object) -> cluster_pb2.TaskRequest:
    payload = json.dumps({"handler": handler, "data": data}).encode()
    return cluster_pb2.TaskRequest(spec=types_pb2.TaskSpec(type=types_pb2.TASK_TYPE_PYTHON, payload=payload))


def shell(*argv: str) -> cluster_pb2.TaskRequest:
    words = [word.encode() for word in argv]
    return cluster_pb2.TaskRequest(spec=types_pb2.TaskSpec(type=types_pb2.TASK_TYPE_SHELL, argv=words))


class Bench:
    def __init__(self, cluster: Cluster, client: ClusterClient) -> None:
        self._client = client
        node = cluster.nodes["n1"]
        assert node.process is not None
        self._pid = node.process.pid
        self._file = node.data / "lag.json"

    async def run(self, requests: Sequence[cluster_pb2.TaskRequest]) -> float:
        """Seconds until all have ended."""
        begun = time.perf_counter()
        ids = set((await self._client.submit_batch(list(requests))).ids)
        await wait_all_ended(self._client, ids, 120.0)
        return time.perf_counter() - begun

    async def lag_ms(self) -> list[float]:
        """Of the daemon's loop since the last call."""
        self._file.unlink(missing_ok=True)
        os.kill(self._pid, signal.SIGUSR2)

        async def written() -> str:
            return "yes" if self._file.exists() else ""

        await eventually(written)
        found: list[float] = json.loads(self._file.read_text())
        return found


async def measure(bench: Bench, seconds: float, tasks: int) -> None:
    workers = len(os.sched_getaffinity(0))
    lags: dict[str, list[float]] = {"nothing": [], "shell": [], "python": []}
    rates: dict[str, list[float]] = {"shell": [], "shell (python -c pass)": [], "python": []}
    nothing = {
        "shell": shell("/bin/true"),
        "shell (python -c pass)": shell(sys.executable, "-c", "pass"),
        "python": python("nothing"),
    }
    for _ in range(_ROUNDS):
        await bench.lag_ms()
        await asyncio.sleep(seconds)
        lags["nothing"] += await bench.lag_ms()
        await bench.run([shell(sys.executable, "-c", _BURN.format(seconds))] * workers)
        lags["shell"] += await bench.lag_ms()
        await bench.run([python("burn", seconds=seconds)] * workers)
        lags["python"] += await bench.lag_ms()
        for name, request in nothing.items():
            rates[name].append(tasks / await bench.run([request] * tasks))
    head(f"{workers} workers, {seconds:g} s, {tasks} tasks")
    for name, late in lags.items():
        goal = Goal(floor=50) if name == "python" else Goal()
        line(f"loop late at {name}, p99", [percentile(late, 99)], "ms", goal)
        line(f"loop late at {name}, most", [max(late)], "ms")
    for name, rate in rates.items():
        line(f"{name} tasks", rate, "/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--tasks", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "burning.py").write_text(_HANDLERS)
        settings = json.dumps({"python": {"modules": ["burning"], "path": [folder]}})
        cluster = Cluster(Path(folder), 1, module="bench._lagging", environment={"CORTEX_EXECUTOR": settings})
        cluster.start()
        try:
            asyncio.run(run(cluster, options.seconds, options.tasks))
        finally:
            cluster.close()
            with suppress(OSError, ValueError):
                os.kill(int((cluster.nodes["n1"].data / "pool" / "pid").read_text()), signal.SIGTERM)


async def run(cluster: Cluster, seconds: float, tasks: int) -> None:
    async with cluster.client() as client:
        await cluster.leader(client)
        await measure(Bench(cluster, client), seconds, tasks)


if __name__ == "__main__":
    main()
