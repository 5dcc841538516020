"""What a second and a key cost: bytes, rows drawn and parts of work, counted, never timed."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

from cortex.v1 import cluster_pb2
from tests.tui import fake
from tests.tui.console import Clock, EmulatedConsole, Session, open_console
from tests.tui.fake_source import FakeSource
from tui.demo.size import DemoSize
from tui.demo.source import DemoSource
from tui.lists.rows import Rows
from tui.store.view import FOLD_ROWS, FOLD_SAMPLES, ClusterView
from tui.widgets.table import Table

SECONDS = 8
NODES = DemoSize(nodes=1000, tasks=0, changes=0, letters=0, workflows=0)


async def test_a_second_of_a_thousand_nodes_is_few_bytes() -> None:
    gate, clock = asyncio.Semaphore(0), Clock()

    async def second(_seconds: float) -> None:
        await gate.acquire()

    app = EmulatedConsole(cast(Any, DemoSource(NODES, second)), (200, 50), clock=clock, ticking=False)
    async with app.run_test(size=(200, 50)) as pilot:
        session = Session(app, pilot, clock, cast(Any, SimpleNamespace(waiting=0)))
        await session.until(lambda: app.view.ready)
        await session.settle()
        before = len(app.sent)
        for number in range(SECONDS):
            clock.now_s += 1.0
            gate.release()
            seen = number + 2
            await session.until(lambda seen=seen: all(row.seconds >= seen for row in online(app.view)))
            await session.settle()
        sent_bytes = sum(len(text.encode()) for text in app.sent[before:])
        assert sent_bytes / SECONDS <= 2500
        drawn, still = session.app.screen.query_one("#rows", Table).kept.drawn, len(app.sent)
        for _ in range(10):
            await session.settle()
        assert len(app.sent) == still, "a second in which nothing comes"
        assert session.app.screen.query_one("#rows", Table).kept.drawn == drawn


def online(view: ClusterView) -> list[Any]:
    return [row for row in view.nodes.values() if row.node.online]


async def test_another_row_is_drawn_alone() -> None:
    source = FakeSource(tasks=[fake.task(n, f"job-{n:04}", fake.QUEUED, index=n) for n in range(1, 300)])
    async with open_console(source, (160, 40)) as session:
        await session.press("2", "G")
        kept = session.app.screen.query_one("#rows", Table).kept
        # The last line is reached: every step up from the first moves all the others.
        for _ in range(session.app.screen.query_one("#rows", Table).body_height - 1):
            await session.press("k")
        drawn, composed = kept.drawn, kept.composed
        await session.press("k")
        assert kept.drawn - drawn == 1
        assert 2 <= kept.composed - composed <= 4, "the new row, the one that was left, and the ends of the thumb"


def test_many_rows_are_folded_in_parts_with_the_same_outcome() -> None:
    source = DemoSource(DemoSize(nodes=1000, tasks=900, letters=0, workflows=0))
    reply = cluster_pb2.WatchReply(
        changes=list(source.cluster.rows())[1000:], samples=source.cluster.samples(), index=7, leader="n0001"
    )
    at_once, in_parts = ClusterView(), ClusterView()
    at_once.fold(reply, 5.0)
    parts = 0
    for _ in in_parts.folding(reply, 5.0):
        parts += 1
        assert in_parts.index == 0, "it counts as seen when all of it is"
    assert parts == 900 // FOLD_ROWS + 1000 // FOLD_SAMPLES
    assert list(at_once.nodes.values()) == list(in_parts.nodes.values())
    assert list(at_once.tasks.values()) == list(in_parts.tasks.values())
    assert (at_once.index, at_once.leader) == (in_parts.index, in_parts.leader) == (7, "n0001")


def test_a_sample_makes_no_text_anew() -> None:
    source = DemoSource(NODES)
    view = ClusterView()
    view.fold(cluster_pb2.WatchReply(changes=list(source.cluster.rows())), 0.0)
    view.fold(cluster_pb2.WatchReply(samples=source.cluster.samples()), 0.0)
    view.warm(10_000)
    made: list[str] = []
    view.nodes._make_text = lambda row: made.append(row.node.id) or ""  # type: ignore[func-returns-value]
    view.fold(cluster_pb2.WatchReply(samples=source.cluster.samples()), 1.0)
    view.warm(10_000)
    assert made == []


def test_a_text_is_made_anew_where_it_may_differ() -> None:
    rows: Rows[str] = Rows(lambda row: row, same_text=lambda before, after: before[0] == after[0])
    rows.put("k", "a1")
    assert rows.text(0) == "a1"
    rows.put("k", "a2")
    assert rows.text(0) == "a1", "said to be the same"
    rows.put("k", "b")
    assert rows.text(0) == "b"
    rows.remove("k")
    rows.put("k", "b2")
    assert rows.text(0) == "b2"


async def test_rows_that_stay_are_settled_at_the_end_of_the_snapshot() -> None:
    settled: list[int] = []
    source = FakeSource()
    async with open_console(source, settle=lambda: settled.append(1)) as session:
        assert settled
        count = len(settled)
        source.push(fake.task(1, "later", fake.QUEUED, index=9000))
        await session.settle()
        assert len(settled) == count, "what changes later is not"


def test_the_collector_leaves_alone_what_is_settled() -> None:
    code = (
        "import gc; from tui.tty.memory import collect_less, settle; collect_less();"
        "before = gc.get_freeze_count();"
        "kept = [[] for _ in range(50_000)]; settle();"
        "print(gc.get_freeze_count() - before >= 50_000, gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
    assert gc.isenabled()


async def test_the_demo_tells_samples_from_messages_that_it_keeps_and_stands_still_at_rate_0() -> None:
    source = DemoSource(DemoSize(nodes=3, rate=1))
    first = await source._samples()
    source.cluster.tick += 16
    assert await source._samples() is first
    assert source.clock() <= source.clock()
    still = DemoSource(DemoSize(nodes=3, rate=0))
    assert still.clock() == still._begun_s
