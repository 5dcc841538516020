"""No key does nothing without a word, and the footer lists those that work where the focus is."""

from __future__ import annotations

import pytest

from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource
from tui.details.common import wrapped
from tui.drawing.draw import cell_width, plain


@pytest.mark.parametrize("view", ["1", "2", "3", "4", "5", "L"])
async def test_a_key_that_means_nothing_is_said(view: str) -> None:
    async with open_console() as session:
        await session.press(view, "Z")
        assert session.lines[-1] == " Z does nothing here; ? lists the keys."
        await session.press("j")
        assert session.source.calls == []


async def test_a_key_that_means_nothing_in_a_preview_is_said() -> None:
    async with open_console() as session:
        await session.press("1", "c", "Z")
        assert "Z does nothing here: y does it, esc leaves it as it is." in session.text
        await session.press("y")
        assert session.source.calls != []


async def test_what_is_typed_into_a_line_is_no_key() -> None:
    async with open_console() as session:
        await session.press("2", "/", *"Z~")
        assert "does nothing" not in session.text


async def test_the_footer_follows_the_focus() -> None:
    async with open_console(size=(120, 30)) as session:
        await session.press("2", "enter")
        assert "open" not in session.lines[-1], "there are no rows among the details"
        assert "filter" not in session.lines[-1]
        await session.press("/")
        assert "There is nothing to filter here." in session.lines[-1]
        await session.press("e")
        await session.wait(7)
        assert "open" in session.lines[-1]
        assert "/ filter" in session.lines[-1]


async def test_the_line_says_what_a_word_takes() -> None:
    async with open_console() as session:
        for line, said in (("drain", ":drain NODE"), ("drain ", ":drain NODE"), ("theme", ":theme THEME")):
            await session.press(":", *line)
            assert said in session.lines[-1], line
            await session.press("escape")


async def test_a_group_says_what_its_keys_do() -> None:
    async with open_console(FakeSource(tasks=[fake.task(1, "job", fake.QUEUED)])) as session:
        await session.press("2", "t", *"state", "enter")
        assert "enter opens the group; K cancels, r retries, P moves all of its tasks." in session.text


async def test_what_a_preview_says_is_never_cut() -> None:
    async with open_console() as session:
        await session.press("S", *"sleep 1", "enter")
        assert "A submit cannot be undone" in session.text
        assert "…" not in "\n".join(session.lines[4:-5])


def test_cells_are_broken_between_words() -> None:
    cell = (("It begins in ", "text"), ("10 s", "accent"), (": nothing has been done", "text"))
    assert [plain(line) for line in wrapped(cell, 18)] == ["It begins in 10 s:", "nothing has been", "done"]
    assert wrapped(cell, 80) == [cell]
    assert max(cell_width(line) for line in wrapped((("x" * 30, "text"),), 10)) == 30, "a word is not broken"
