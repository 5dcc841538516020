"""The console on a real pseudo terminal of 200×50, beside Textual's own DataTable in the same run.

The screen is read back by a terminal emulator, so a key has been answered when what it asked for is really shown.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise

from bench._meter import cost, memory_mb
from bench._pty import Terminal, python
from bench._table import Goal, head, line, percentile
from bench._thin import ThinTerminal
from cortex.v1 import types_pb2
from tui.columns.tasks import QUEUE
from tui.demo.size import DemoSize
from tui.demo.source import DemoSource
from tui.lists.rows import Listing
from tui.store.view import ClusterView

RUNS = 3
KEYS = 60
LIVE_S = 20.0
IDLE_S = 60.0
SIZE = "nodes=1000,tasks=100000"
NODES_ONLY = "nodes=1000,tasks=0,changes=0,workflows=0,letters=0,rate=1"


def console(size: str) -> Terminal:
    return Terminal(python("-m", "tui.cli", "console", "--demo", size))


def peer(rows: int, rate: int = 0) -> Terminal:
    return Terminal(python("-m", "bench._datatable", str(rows), str(rate)))


def has(text: str) -> Callable[[list[str]], bool]:
    return lambda lines: any(text in shown for shown in lines)


def loaded(terminal: Terminal) -> float:
    """Seconds until all tasks are counted in the tabs."""
    return terminal.shown_at(lambda lines: _queue_count(lines[1]) > 95_000) - terminal.begun_s


def _queue_count(tabs: str) -> int:
    found = re.search(r"Queue ([\d,]+)", tabs)
    return int(found[1].replace(",", "")) if found else 0


def first_screens() -> None:
    ready: list[float] = []
    whole: list[float] = []
    peers: dict[int, list[float]] = {1000: [], 100_000: []}
    for _ in range(RUNS):
        with console(SIZE + ",rate=1") as terminal:
            ready.append(terminal.shown_at(has("n0040")) - terminal.begun_s)
            whole.append(loaded(terminal))
        for rows, found in peers.items():
            if rows == 1000 or not found:  # the large one once: it stands still for long
                with peer(rows) as terminal:
                    found.append(terminal.shown_at(has("n0040"), 300) - terminal.begun_s)
    line("start to first useful screen, 1,000 nodes + 100,000 tasks", ready, "s", Goal(floor=0.7))
    line("  all 100,000 tasks folded", whole, "s")
    for rows, found in peers.items():
        line(f"  stock DataTable, {rows:,} rows", found, "s")


def keys_at_rest() -> None:
    for name, open_it in (
        ("console", lambda: console(SIZE + ",rate=0")),
        ("DataTable, 1,000 rows", lambda: peer(1000)),
    ):
        with open_it() as terminal:
            terminal.shown_at(has("n0040"))
            if name == "console":
                loaded(terminal)
            terminal.quiet(1.0)
            for key, label in ((b"j", "one row down"), (b"\x1b[6~", "page down")):
                frames = [terminal.frame_of(key) for _ in range(12)]
                line(f"{label}, {name}", [frame_s * 1000 for frame_s, _ in frames], "ms")
                line("  bytes", [count for _, count in frames], "bytes")


def live_keys() -> None:
    """Key to the screen that shows it, while 1,000 nodes and 20 tasks a second change."""
    for where, view, names in (("nodes", b"1", r"n\d{4}"), ("queue", b"2", r"\S+$")):
        found: list[float] = []
        with console(SIZE + ",rate=1") as terminal:
            loaded(terminal)
            terminal.type(view)
            terminal.shown_at(has(f"▌{view.decode()} "))
            for _ in range(KEYS):
                before = _under_cursor(terminal.lines(), names)
                begun_s = terminal.type(b"j")
                moved = _on_another(before, names)
                found.append((terminal.shown_at(moved) - begun_s) * 1000)
                time.sleep(0.037)  # not in step with the ticks
        line(f"key to painted, live, {where}: p50", [percentile(found, 50)], "ms", Goal(floor=5))
        line(f"key to painted, live, {where}: p99", [percentile(found, 99)], "ms", Goal(floor=25))


def _under_cursor(lines: list[str], names: str) -> str:
    """What names the row that the cursor is on; rows that change under it keep their names."""
    row = next((shown for shown in lines[3:] if shown.startswith("▌")), "")
    found = re.search(names, row.rstrip(" ┃│"))
    return found[0] if found else ""


def _on_another(before: str, names: str) -> Callable[[list[str]], bool]:
    return lambda lines: _under_cursor(lines, names) not in ("", before)


def running_costs() -> None:
    for name, open_it in (
        ("console", lambda: console(NODES_ONLY)),
        ("DataTable", lambda: peer(1000, 1)),
    ):
        with open_it() as terminal:
            terminal.shown_at(has("n0040"))
            time.sleep(26)  # the demo's samples are made by then
            goals = (Goal(floor=2500), Goal(floor=2.0)) if name == "console" else (Goal(), Goal())
            before, used = len(terminal.chunks), cost(terminal.child.pid)
            time.sleep(LIVE_S)  # what it costs in that time is measured
            spent = (cost(terminal.child.pid) - used).cpu_s
            line(
                f"1,000 nodes at 1 Hz, {name}: to the terminal",
                [terminal.written(before) / LIVE_S],
                "bytes/s",
                goals[0],
            )
            line(f"1,000 nodes at 1 Hz, {name}: CPU", [spent / LIVE_S * 100], "% of a core", goals[1])
    alone = subprocess.run(
        python("-m", "bench._demo", NODES_ONLY, "26", str(LIVE_S)), capture_output=True, check=True
    )
    line("  of which the demo's cluster, read by nobody else", [float(alone.stdout)], "% of a core")
    with console(SIZE + ",rate=0") as terminal:
        loaded(terminal)
        terminal.quiet(2.0)
        before, used = len(terminal.chunks), cost(terminal.child.pid)
        time.sleep(IDLE_S)  # likewise
        line(f"idle for {IDLE_S:.0f} s: to the terminal", [terminal.written(before)], "bytes", Goal(floor=0))
        spent = (cost(terminal.child.pid) - used).cpu_s
        line("  CPU", [spent / IDLE_S * 100], "% of a core")
        line("  RSS with 100,000 tasks", [memory_mb(terminal.child.pid)], "MB")


def slow_link() -> None:
    """64 kbit/s and 300 ms there and back: how long the last byte of a frame waits for its turn."""
    argv = python("-m", "tui.cli", "console", "--demo", "nodes=1000,tasks=10000,rate=1")
    with ThinTerminal(argv, 8000, 0.3) as terminal:
        terminal.run(40.0, keys_every_s=3.0)
        line("64 kbit/s + 300 ms, live: queue before the line", terminal.waits_s, "s", Goal(floor=1.0))
        line("  key to the first byte after it", terminal.answers_s, "s")
        line("  to the terminal", [terminal.written / 40.0], "bytes/s")


def listings() -> None:
    """Filter and sort of 100,000 rows, as the table does it."""
    view = ClusterView()
    source = DemoSource(DemoSize(tasks=100_000, letters=0, workflows=0))
    for change in source.cluster.rows():
        if change.HasField("task"):
            view.put_task(change.task)
    view.warm(200_000)
    column = QUEUE.column(QUEUE.sort)
    assert column.sort is not None
    listing: Listing[types_pb2.Task] = Listing(view.tasks, column.sort)
    for source_text in ("encode", "/encode-\\d+7$/", "state=running priority>5", "!backup (train or index)"):
        times = []
        for _ in range(5):
            listing.filter_by(None)
            begun_s = time.perf_counter()
            listing.filter_by(QUEUE.parse(source_text, view.tasks))
            times.append((time.perf_counter() - begun_s) * 1000)
        line(f"filter 100,000 rows: {source_text}", times, "ms", Goal(floor=60))
    listing.filter_by(None)
    sorts = [column for column in QUEUE.sortable if column.sort is not None]
    for before, after in pairwise([*sorts, sorts[0]]):
        assert before.sort is not None
        assert after.sort is not None
        listing.sort_by(before.sort, False)
        begun_s = time.perf_counter()
        listing.sort_by(after.sort, True)
        line(f"sort 100,000 rows by {after.id}", [(time.perf_counter() - begun_s) * 1000], "ms", Goal(floor=60))


def main() -> None:
    head("The console through a pseudo terminal of 200×50")
    wanted = sys.argv[1:]
    for part in (first_screens, keys_at_rest, live_keys, running_costs, slow_link, listings):
        if not wanted or part.__name__ in wanted:
            part()


if __name__ == "__main__":
    main()
