"""A lost link is said within two seconds, with the age of what is shown; the console goes on when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from cortex.v1 import cluster_pb2
from tests.tui import fake
from tests.tui.console import Clock, EmulatedConsole, Session, open_console
from tests.tui.fake_source import FakeSource
from tui.source import LinkState, SourceError, WatchItem


def heartbeat(source: FakeSource, **fields: object) -> cluster_pb2.WatchReply:
    values = {
        "index": source.index,
        "at_us": fake.NOW_US,
        "leader": "anvil",
        "term": 4,
        "heartbeat": True,
        **fields,
    }
    return cluster_pb2.WatchReply(**values)  # type: ignore[arg-type]


async def test_silence_raises_the_banner_within_two_seconds() -> None:
    async with open_console() as session:
        await session.wait(1.0)
        assert "live" in session.lines[0]
        await session.wait(0.9)
        assert "Link lost" in session.lines[2]
        assert "1s old" in session.lines[2]
        await session.wait(5.0)
        assert "6s old" in session.lines[2]
        assert "6s old" in session.lines[0]
        assert "anvil" in session.text, "the last known rows stay"


async def test_the_client_can_say_it_at_once_and_why() -> None:
    async with open_console() as session:
        session.source.put(LinkState(False, "10.0.0.1:7400", "connection refused"))
        await session.settle()
        assert "Link lost" in session.lines[2]
        assert "10.0.0.1:7400: connection refused" in session.lines[2]


async def test_the_banner_goes_when_word_comes_again() -> None:
    async with open_console() as session:
        await session.press("2", "j", "j")
        cursor = session.line_with("▌ ")
        session.source.put(LinkState(False, "10.0.0.1:7400", "connection refused"))
        await session.wait(3.0)
        assert "Link lost" in session.text
        session.source.put(LinkState(True, "10.0.0.2:7400"))
        session.source.push(fake.task(77, "after", fake.RUNNING, started_s=1, index=7000))
        await session.wait(0.1)
        assert "Link lost" not in session.text
        assert "after" in session.text, "changes made meanwhile are there"
        assert session.line_with("▌ ").split()[3] == cursor.split()[3], "the cursor is where it was"


async def test_a_gone_position_begins_anew_without_flicker() -> None:
    async with open_console() as session:
        await session.press("2")
        del session.source.tasks["01jx00000005"]
        session.source.index += 1000
        begin, rows, end = session.source.snapshot()
        session.source.put(begin)
        await session.settle()
        assert "thumbs" in session.text
        session.source.put(rows)
        session.source.put(end)
        await session.settle()
        assert "thumbs" not in session.text
        assert "flaky" in session.text, "ended tasks are asked for again"
        assert session.app.view.snapshots == 2


async def test_no_leader_is_said() -> None:
    async with open_console() as session:
        session.source.put(heartbeat(session.source, leader=""))
        await session.settle()
        assert "No leader: no changes until 2 of 3 voters run and reach each other." in session.lines[2]
        assert "leader none" in session.lines[0]


async def test_the_mark_of_the_leader_is_where_the_top_line_says() -> None:
    async with open_console() as session:
        assert "★ anvil" in session.text
        session.source.put(heartbeat(session.source, leader="birch"))
        await session.settle()
        assert "leader birch" in session.lines[0]
        assert "★ birch" in session.text
        assert "★ anvil" not in session.text


async def test_without_a_leader_no_node_is_said_to_be_active_for_long() -> None:
    async with open_console() as session:
        assert "● active" in session.line_with("birch")
        session.source.put(heartbeat(session.source, leader=""))
        await session.settle()
        assert "1 Nodes ?/5" in session.lines[1]
        assert "● active" in session.line_with("birch"), "an election takes a moment"
        await session.wait(10.0)
        assert "? active" in session.line_with("birch")
        session.source.put(heartbeat(session.source))
        await session.settle()
        assert "?/5" not in session.lines[1]
        assert "? active" not in session.line_with("birch")


class Refusing(FakeSource):
    """Fails once, then works."""

    async def watch(self) -> AsyncIterator[WatchItem]:
        if self.watches == 0:
            self.watches = 1
            raise SourceError("The secret is wrong.", "Use the cluster's own.")
        async for item in super().watch():
            yield item


async def test_a_refused_watch_is_shown_and_tried_again() -> None:
    async with open_console(Refusing()) as session:
        assert session.source.watches == 2
        assert "anvil" in session.text


async def test_before_the_first_word_it_says_connecting() -> None:
    class Silent(FakeSource):
        async def watch(self) -> AsyncIterator[WatchItem]:
            yield LinkState(False, "10.0.0.9:7400", "connection refused")
            async for item in super().watch():
                await self.go.wait()
                yield item

    source = Silent()
    source.go = asyncio.Event()  # type: ignore[attr-defined]
    clock = Clock()
    app = EmulatedConsole(source, (80, 24), clock=clock, ticking=False)
    async with app.run_test(size=(80, 24)) as pilot:
        session = Session(app, pilot, clock, source)
        await session.settle()
        assert "connecting" in session.lines[0]
        assert "Waiting for the cluster." in session.text
        assert " 10.0.0.9:7400: connection refused" in session.lines[2]
        assert "If it does not run, start it with `cortex up`;" in session.text
        source.go.set()  # type: ignore[attr-defined]
        await session.until(lambda: app.view.ready)
        await session.settle()
        assert "anvil" in session.text


async def test_a_long_name_does_not_hide_the_state_of_the_link() -> None:
    source = FakeSource()
    source.name = "/srv/a/very/long/path/" * 9  # type: ignore[misc]
    async with open_console(source) as session:
        assert session.lines[0].endswith("● live")


async def test_a_refusal_is_told_whole_with_its_remedy() -> None:
    class Strict(FakeSource):
        async def watch(self) -> AsyncIterator[WatchItem]:
            yield LinkState(False, "10.0.0.9:7400", "The call lacks the secret.", "Name its file \x1b[31mwell.")
            await asyncio.Event().wait()

    source, clock = Strict(), Clock()
    app = EmulatedConsole(source, (80, 24), clock=clock, ticking=False)
    async with app.run_test(size=(80, 24)) as pilot:
        session = Session(app, pilot, clock, source)
        await session.settle()
        assert session.lines[2].strip() == "▲ The call lacks the secret."
        assert "Waiting for the cluster. Name its file ^[[31mwell." in session.text
