"""Draw the console's pictures: a real cluster, real work, the real console without a terminal.

`python screenshots/make.py [NAME…]` draws all that documents show into this folder, or only those; `--all FOLDER`
draws every view there, to be looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.pilot import Pilot
from work import FLOW, WORK

from cortex.v1 import types_pb2
from tui.app import NOTE_S, Console
from tui.demo.size import DemoSize
from tui.demo.source import DemoSource
from tui.link.client import ClusterClient
from tui.link.cluster_source import ClusterSource
from tui.link.target import resolve
from tui.source import Source
from tui.tty.terminal import Terminal

HERE = Path(__file__).resolve().parent
CORTEX = Path(sys.executable).parent / "cortex"
NODES = 5
SIZE = (112, 28)
DEMO = DemoSize(nodes=180, tasks=2000, members=300)
PATIENCE_S = 90.0
SHOWN = frozenset(
    [
        "nodes", "heatmap", "queue", "why", "dag", "letters", "canary", "drain", "drain-progress", "audit", "past",
        "leader-lost",
    ]
)  # fmt: skip
"""Those that documents show, and are kept with them."""


def cortex(data: Path, *arguments: str) -> str:
    """What the command line printed; raises CalledProcessError."""
    done = subprocess.run([CORTEX, *arguments, "--data", data], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def begin_work(data: Path) -> None:
    cortex(data, "cordon", f"n{NODES}", "--message", "new disk")
    work, flow = data / "work.jsonl", data / "flow.yaml"
    work.write_text("".join(json.dumps(item) + "\n" for item in WORK))
    flow.write_text(FLOW)
    cortex(data, "submit", "--file", str(work))
    cortex(data, "workflow", "submit", str(flow))


class Studio:
    """A console in front of a camera."""

    def __init__(self, app: Console, pilot: Pilot[int], folder: Path, wanted: frozenset[str] | None) -> None:
        self.app, self._pilot, self._folder, self._wanted = app, pilot, folder, wanted

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)
        await self._pilot.pause(0.3)

    async def pause(self, seconds: float) -> None:
        await self._pilot.pause(seconds)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await self._pilot.pause(0.1)
        # two ticks later everything has been drawn
        await self._pilot.pause(0.3)

    async def shows(self, text: str) -> None:
        """Wait until that can be read."""
        await self.until(lambda: text in self.text())

    def text(self) -> str:
        """What the screen shows, without colours."""
        screen = self.app.screen
        rows = screen._compositor.render_strips()
        return "\n".join(row.text for row in rows)

    def take(self, name: str) -> None:
        if self._wanted is None or name in self._wanted:
            (self._folder / f"{name}.svg").write_text(self.app.export_screenshot(title="cortex"))

    async def home(self, view: str) -> None:
        while len(self.app.screen_stack) > 1:
            await self.press("escape")
        await self.press(view)


def state_of(app: Console, name: str) -> int:
    return next((task.state for task in app.view.tasks.values() if task.name == name), 0)


async def day(studio: Studio, data: Path) -> None:
    """Nodes, queue, a task, its placement and output, workflows."""
    app = studio.app
    await studio.until(lambda: len(app.view.nodes) == NODES)
    await asyncio.to_thread(begin_work, data)
    await studio.until(lambda: state_of(app, "sync-cellar") == types_pb2.TASK_STATE_DEAD_LETTER)
    await studio.until(lambda: state_of(app, "render") == types_pb2.TASK_STATE_RUNNING)
    # sparklines need some history
    await studio.pause(12)
    studio.take("nodes")
    await studio.press("enter")
    await studio.pause(0.5)
    studio.take("node")
    await studio.home("1")
    await studio.press("a")
    studio.take("approvals")
    await studio.home("2")
    studio.take("queue")
    await studio.press("t", *"state", "enter")
    await studio.pause(0.5)
    studio.take("groups")
    await studio.press("t", *"one by", "enter")
    for name, keys in (
        ("palette", ("ctrl+p",)),
        ("columns", ("O",)),
        ("command", ("colon", *"drain")),
        ("submit", ("S", *"make release", "tab", *"release")),
    ):
        await studio.press(*keys)
        studio.take(name)
        await studio.press("escape")
    task_id = next(task.id for task in app.view.tasks.values() if task.name == "render")
    app.open_task(task_id)
    await studio.pause(1.5)
    studio.take("task")
    await studio.press("o")
    await studio.pause(1.5)
    studio.take("output")
    await studio.press("K")
    await studio.shows("do nothing")
    studio.take("cancel")
    await studio.press("escape", "W")
    await studio.pause(1.5)
    studio.take("why")
    await studio.home("5")
    studio.take("events")
    await studio.press("question_mark")
    studio.take("help")
    await studio.press("escape")


async def flows(studio: Studio) -> None:
    await studio.home("3")
    await studio.until(lambda: state_of(studio.app, "unit") == types_pb2.TASK_STATE_DEAD_LETTER)
    studio.take("workflows")
    await studio.press("enter")
    await studio.shows("unit")
    await studio.press("f")
    studio.take("dag")
    await studio.press("m")
    await studio.pause(0.5)
    studio.take("dag-layers")
    await studio.press("m", "m")


async def night(studio: Studio) -> None:
    """Letters by cause, a canary, a drain."""
    await studio.home("4")
    await studio.shows("by cause")
    await studio.until(lambda: bool(studio.app.view.letters.count))
    studio.take("letters")
    await studio.press("enter")
    await studio.pause(1)
    studio.take("cause")
    await studio.press("b")
    await studio.shows("Steps:")
    studio.take("canary")
    await studio.press("y", "L")
    await studio.shows("canary")
    studio.take("operations")
    await studio.press("enter")
    await studio.pause(1)
    studio.take("operation")
    # Its end is said in the footer; after that the keys are there again.
    await studio.shows("canary stopped")
    await studio.pause(NOTE_S + 1)
    await studio.home("1")
    # Of a node with a task that runs long and goes before others.
    busy = next(task.node for task in studio.app.view.tasks.values() if task.name == "index-photos")
    await studio.press("g", *["j"] * (int(busy.removeprefix("n")) - 1), "D")
    await studio.shows("$ cortex drain")
    studio.take("drain")
    await studio.press("y")
    await studio.until(lambda: "Begins in" not in studio.text() and moved(studio.text()))
    # The note about its begin is gone, and the keys are there again.
    await studio.pause(NOTE_S + 1)
    studio.take("drain-progress")
    await studio.home("5")
    await studio.press("a")
    await studio.pause(1)
    studio.take("audit")
    await studio.press("a")


def moved(text: str) -> bool:
    """Whether the progress of a drain shows a task that is elsewhere, or its end."""
    return "landed" in text or "Empty after" in text


async def past(studio: Studio) -> None:
    await studio.home("2")
    await studio.press("T")
    await studio.pause(2)
    await studio.press("left_curly_bracket")
    await studio.pause(2)
    studio.take("past")
    await studio.press("percent_sign")
    await studio.pause(2)
    studio.take("differences")
    await studio.press("T")


async def loss(studio: Studio, data: Path) -> None:
    """Two of three voters are killed: nobody leads, and what is shown grows old."""
    await studio.home("1")
    status = json.loads(cortex(data, "status", "--json"))
    nodes = json.loads((data / "cluster.json").read_text())["nodes"]
    voters = [node for node in nodes if node["role"] == "voter"]
    doomed = [node for node in voters if node["id"] != status["leader"]][:1]
    doomed += [node for node in voters if node["id"] == status["leader"]]
    for node in doomed:
        os.kill(node["pid"], signal.SIGKILL)
    await studio.shows("No leader")
    # until samples show their age, and no note hides the keys
    await studio.pause(NOTE_S + 1)
    studio.take("leader-lost")
    for node in nodes:
        if node not in doomed:
            os.kill(node["pid"], signal.SIGKILL)
    await studio.shows("Link lost")
    await studio.pause(4)
    studio.take("link-lost")


Scene = Callable[[Studio], Awaitable[None]]


async def on(source: Source, folder: Path, wanted: frozenset[str] | None, *scenes: Scene) -> None:
    app = Console(source, terminal=Terminal())
    async with app.run_test(size=SIZE) as pilot:
        studio = Studio(app, pilot, folder, wanted)
        for scene in scenes:
            await scene(studio)


async def large(studio: Studio) -> None:
    """A made-up cluster of 180 nodes, which no machine here is."""
    await studio.until(lambda: len(studio.app.view.nodes) == DEMO.nodes)
    await studio.pause(3)
    await studio.press("m")
    studio.take("heatmap")


async def draw(data: Path, folder: Path, wanted: frozenset[str] | None) -> None:
    cluster = resolve(str(data), None)
    client = ClusterClient(cluster.targets, cluster.secret)
    try:
        await on(
            ClusterSource(client, "demo"),
            folder,
            wanted,
            lambda studio: day(studio, data),
            flows,
            night,
            past,
            lambda studio: loss(studio, data),
        )
    finally:
        await client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", type=Path, metavar="FOLDER")
    chosen = parser.parse_args()
    folder: Path = chosen.all or HERE
    wanted = None if chosen.all else frozenset(chosen.names) or SHOWN
    asyncio.run(on(DemoSource(DEMO), folder, wanted, large))
    if wanted == frozenset(("heatmap",)):
        return
    with tempfile.TemporaryDirectory(prefix="cortex-demo-") as temporary:
        data = Path(temporary) / "demo"
        try:
            cortex(data, "up", "--voters", "3", "--workers", str(NODES - 3), "--headless", "--no-sample")
            asyncio.run(draw(data, folder, wanted))
        finally:
            cortex(data, "down")


if __name__ == "__main__":
    main()
