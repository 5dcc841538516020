"""Time travel in the console: the views as of a past moment, the line, and what differs."""

from __future__ import annotations

from tests.tui.console import open_console


async def test_there_and_back() -> None:
    async with open_console() as session:
        await session.press("T")
        print(session.text)
        await session.press("T")
        print(session.text)
