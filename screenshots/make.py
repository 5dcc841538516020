"""Draw the console's pictures for the README: a real cluster, real work, the real console without a terminal."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from cortex.v1 import types_pb2
from tui.app import Console
from tui.client import ClusterClient
from tui.cluster_source import ClusterSource
from tui.target import resolve
from tui.terminal import Terminal

HERE = Path(__file__).resolve().parent
CORTEX = Path(sys.executable).parent / "cortex"
NODES = 5
SIZE = (112, 28)
PATIENCE_S = 60.0

WORK = [
    {
        "name": "nightly-backup",
        "priority": 8,
        "command": "for i in $(seq 90); do echo part $i of 90; sleep 1; done",
    },
    {"name": "render", "priority": 6, "command": "for i in $(seq 200); do echo frame $i; sleep 0.4; done"},
    {"name": "index-photos", "priority": 4, "command": "sleep 120", "retries": 5, "timeout": "10m"},
    {"name": "train-small", "priority": 5, "command": "sleep 90", "gpu": True},
    {"name": "fetch-feeds", "priority": 3, "command": "echo 14 feeds, 3 new", "key": "feeds-today"},
    *(
        {
            "name": f"sync-{place}",
            "priority": 9,
            "command": f"echo 'rsync: connect to {place} failed: Connection refused (111)' >&2; exit 10",
            "retry_policy": {"max_retries": 1, "backoff_ms": 200},
        }
        for place in ("attic", "cellar")
    ),
    *({"name": f"thumbs-{number:02}", "priority": 2, "command": f"sleep {5 + number}"} for number in range(24)),
]


def cortex(data: Path, *arguments: str) -> str:
    """What the command line printed; raises CalledProcessError."""
    done = subprocess.run([CORTEX, *arguments, "--data", data], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def begin_work(data: Path) -> None:
    cortex(data, "cordon", f"n{NODES}", "--message", "new disk")
    work = data / "work.jsonl"
    work.write_text("".join(json.dumps(item) + "\n" for item in WORK))
    cortex(data, "submit", "--file", str(work))


async def until(pilot: Pilot[int], condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await pilot.pause(0.1)
    # two ticks later everything has been drawn
    await pilot.pause(0.3)


async def draw(data: Path) -> None:
    cluster = resolve(str(data), None)
    client = ClusterClient(cluster.targets, cluster.secret)
    app = Console(ClusterSource(client, "demo"), terminal=Terminal())
    async with app.run_test(size=SIZE) as pilot:

        def state_of(name: str) -> int:
            return next((task.state for task in app.view.tasks.values() if task.name == name), 0)

        await until(pilot, lambda: len(app.view.nodes) == NODES)
        await asyncio.to_thread(begin_work, data)
        await until(pilot, lambda: state_of("sync-cellar") == types_pb2.TASK_STATE_DEAD_LETTER)
        await until(pilot, lambda: state_of("render") == types_pb2.TASK_STATE_RUNNING)
        # sparklines need some history
        await pilot.pause(12)
        save(app, "nodes")
        await pilot.press("2")
        await until(pilot, lambda: app.view_name == "queue")
        save(app, "queue")
        task_id = next(task.id for task in app.view.tasks.values() if task.name == "render")
        app.open_task(task_id)
        await pilot.pause(1.5)
        save(app, "task")
        await pilot.press("o")
        await pilot.pause(1.5)
        save(app, "output")
        await pilot.press("K")
        await pilot.pause(1)
        save(app, "cancel")
        await pilot.press("q", "q", "4")
        await until(pilot, lambda: app.view_name == "letters")
        save(app, "dead-letters")
    await client.close()


def save(app: Console, name: str) -> None:
    (HERE / f"{name}.svg").write_text(app.export_screenshot(title="cortex"))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cortex-demo-") as folder:
        data = Path(folder) / "demo"
        try:
            cortex(data, "up", "--voters", "3", "--workers", str(NODES - 3), "--headless", "--no-sample")
            asyncio.run(draw(data))
        finally:
            cortex(data, "down")


if __name__ == "__main__":
    main()
