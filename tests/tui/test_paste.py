"""What is pasted is taken as far as there is room, and what is not taken is said."""

from __future__ import annotations

import pytest
from textual import events

from tests.tui.console import Session, open_console

LINES = "\nhost=a\n" + "\n".join(f"line {number}" for number in range(11)) + "\n"
SAID = "Only the first of 12 pasted lines was taken."


async def paste(session: Session, text: str) -> None:
    session.app.post_message(events.Paste(text))
    await session.settle()


@pytest.mark.parametrize(
    "keys",
    [("2", "/"), ("2", ":"), ("S",), ("ctrl+p",), ("1", "c", "m")],
    ids=["filter", "command", "form", "palette", "reason"],
)
async def test_of_many_lines_one_is_taken_and_that_is_said(keys: tuple[str, ...]) -> None:
    async with open_console() as session:
        await session.press(*keys)
        await paste(session, LINES)
        assert "host=a" in session.text
        assert "line 0" not in session.text
        assert SAID in session.text
        await session.press("x")
        assert "host=ax" in session.text


async def test_one_line_is_taken_without_a_word() -> None:
    async with open_console() as session:
        await session.press("2", "/")
        await paste(session, "render\n")
        assert "render" in session.text
        assert "pasted" not in session.text


async def test_a_line_that_is_too_long_is_cut_and_that_is_said() -> None:
    async with open_console(size=(120, 30)) as session:
        await session.press("S")
        await paste(session, "x" * 5000)
        assert "It was cut to 4,096 of 5,000 characters." in session.text
        assert len(session.app.focused.value) == 4096  # type: ignore[union-attr]


async def test_where_nothing_takes_a_paste_that_is_said() -> None:
    async with open_console() as session:
        await session.press("2")
        await paste(session, "K\ny\n")
        assert "Nothing takes a paste here: / and : open a line." in session.lines[-1]
        await session.press("K")
        await paste(session, "y")
        assert "A paste confirms nothing here" in session.text
        assert session.source.calls == []
