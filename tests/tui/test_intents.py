"""What is confirmed while the cluster is away is kept, and asked again when it is back: never sent by itself."""

from __future__ import annotations

from tests.tui import fake
from tests.tui.console import Session, open_console
from tests.tui.test_link import heartbeat
from tui.source import LinkState


async def lose(session: Session) -> None:
    session.source.put(LinkState(False, "10.0.0.1:7400", "connection refused"))
    await session.settle()


async def come_back(session: Session) -> None:
    session.source.put(LinkState(True, "10.0.0.2:7400"))
    session.source.push(fake.task(77, "after", fake.RUNNING, started_s=1, index=7000))
    await session.settle()


async def test_a_confirmed_plan_waits_for_the_link() -> None:
    async with open_console() as session:
        await lose(session)
        await session.press("1", "c", "y")
        assert session.source.mutators == 0
        assert "1 intent waits" in session.lines[0]
        await session.wait(65.0)
        await session.press("colon", *"intents", "enter")
        assert "1m5s ago" in session.text
        await session.press("escape")
        await come_back(session)
        assert "esc  do nothing" in session.text, "it is shown again"
        assert "intent" not in session.lines[0]
        assert "│  Confirmed 65 s ago, while the cluster was away" in session.text, "for as long as it is shown"
        assert session.source.mutators == 0, "and not sent by itself"
        await session.press("y")
        assert session.source.mutators == 1


async def test_escape_drops_it() -> None:
    async with open_console() as session:
        await lose(session)
        await session.press("1", "c", "y")
        await come_back(session)
        await session.press("escape")
        await session.wait(5.0)
        assert "esc  do nothing" not in session.text
        assert session.source.mutators == 0


async def test_it_waits_for_a_leader_too() -> None:
    async with open_console() as session:
        session.source.put(heartbeat(session.source, leader=""))
        await session.settle()
        await session.press("1", "c", "y")
        assert "1 intent waits" in session.lines[0]
        session.source.put(heartbeat(session.source))
        await session.settle()
        assert "esc  do nothing" in session.text


async def test_it_comes_when_no_other_dialog_is_open() -> None:
    async with open_console() as session:
        await lose(session)
        await session.press("1", "c", "y", "question_mark")
        await come_back(session)
        assert "1 intent waits" in session.app.intents.hint()[0][0]
        await session.press("escape")
        await session.settle()
        assert "esc  do nothing" in session.text


async def test_in_read_only_it_is_not_asked_for() -> None:
    async with open_console() as session:
        await lose(session)
        await session.press("1", "c", "y", "R")
        await come_back(session)
        assert "esc  do nothing" not in session.text
        await session.press("R")
        await session.settle()
        assert "esc  do nothing" in session.text
