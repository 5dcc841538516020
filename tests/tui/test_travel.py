"""Time travel in the console: the views as of a past moment, the line, and what differs."""

from __future__ import annotations

import pytest

from cortex.v1 import types_pb2
from tests.tui.console import Session, check_golden, open_console
from tests.tui.fake_past import GONE, PastSource, with_past
from tui.console.contexts import Context
from tui.keyboard.wording import filled, shipped
from tui.operator.keep import Keep
from tui.operator.theme_list import THEMES
from tui.past import loading
from tui.past.view import REFUSED
from tui.source import LinkState, Moment
from tui.tty.terminal import Terminal


async def go_to(session: Session, text: str) -> None:
    """Type a moment and go there."""
    await session.press("ampersand")
    while session.app.focused is not None and getattr(session.app.focused, "value", ""):
        await session.press("backspace")
    await session.press(*text, "enter")
    await arrived(session)


async def arrived(session: Session) -> None:
    """Wait until the moment that was asked for is shown, or now."""
    await session.until(lambda: session.app.travel is None or not session.app.travel.loading)
    await session.settle()


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
@pytest.mark.parametrize("view", ["nodes", "queue", "events", "differences"])
async def test_the_past_is_as_recorded(size: tuple[int, int], view: str) -> None:
    async with open_console(with_past(), size) as session:
        await go_to(session, "31")
        await session.until(lambda: session.app.travel.line and not session.app.travel.line.unknown())
        await session.press({"queue": "2", "events": "5", "differences": "percent_sign"}.get(view, "1"))
        check_golden(f"past_{view}_{size[0]}x{size[1]}", session)


async def test_there_and_back() -> None:
    async with open_console(with_past()) as session:
        assert "cordoned" in session.line_with(" dune ")
        await session.press("T")
        assert "PAST" in session.lines[0]
        assert "as of" in session.lines[0]
        assert "live" not in session.lines[0]
        await session.press("left_square_bracket", "left_curly_bracket")
        await arrived(session)
        assert "active" in session.line_with(" dune ")
        assert "15m" not in session.line_with(" anvil "), "no sample is known of then"
        await session.press("2")
        assert "lint" not in session.text, "it was not there yet"
        assert "queued" in session.line_with("render")
        await go_to(session, "31")
        assert "running" in session.line_with("lint")
        await session.press("1", "T")
        assert "PAST" not in session.text
        assert "live" in session.lines[0]
        assert "cordoned" in session.line_with(" dune ")
        await session.press("2")
        assert "failed" in session.line_with("lint")


@pytest.mark.parametrize("key", ["escape", "q", "T"])
async def test_keys_that_lead_back(key: str) -> None:
    async with open_console(with_past()) as session:
        await session.press("2", "T", key)
        assert not session.app.in_past
        assert session.app.view_name == "queue"
        await session.press("T")
        assert session.app.in_past, "one can go again"


async def test_back_to_a_view_that_was_not_open_before() -> None:
    async with open_console(with_past()) as session:
        await session.press("T", "2", "T")
        assert session.app.view_name == "queue"
        assert "live" in session.lines[0]


async def test_nothing_can_be_changed_there() -> None:
    source = with_past()
    async with open_console(source, (120, 30)) as session:
        await session.press("T")
        for opening, keys in (("1", "cCD"), ("2", "KrPS"), ("3", "Kr"), ("4", "rbXEau")):
            await session.press(opening)
            for key in keys:
                await session.press(key)
                assert filled(REFUSED, shipped) in session.lines[-1], (opening, key)
                assert len(session.app.screen_stack) == 1
        await session.press("colon", *"cordon anvil", "enter")
        assert len(session.app.screen_stack) == 1
        assert source.mutators == 0
        assert source.calls == []


async def test_a_task_and_a_node_of_then() -> None:
    async with open_console(with_past(), (120, 40)) as session:
        await session.press("2")
        await session.press("slash", *"lint", "enter", "enter")
        assert "failed" in session.text
        await go_to(session, "31")
        assert "lint" in session.text, "what was open is open of then"
        assert "running" in session.text
        await session.press("escape", "1", "j", "j", "j", "enter")
        assert "dune" in session.text
        assert "active" in session.text


async def test_a_moment_that_is_not_kept() -> None:
    async with open_console(with_past()) as session:
        await go_to(session, "5")
        assert GONE[:60] in session.lines[-1]
        assert not session.app.in_past, "nothing was shown before"
        await go_to(session, "31")
        await go_to(session, "5")
        assert GONE[:60] in session.lines[-1]
        assert "index 31" in session.lines[0], "what was shown stays"
        await session.press("ampersand", *"yesterday", "enter")
        assert "no moment" in session.text


@pytest.mark.parametrize("name", sorted(THEMES))
async def test_its_top_line_looks_different_in_every_theme(name: str) -> None:
    async with open_console(with_past()) as session:
        session.app.use_theme(name)
        await session.settle()
        live = session.app.screen.query_one("#top").styles.background
        await session.press("T")
        assert session.app.screen.query_one("#top").styles.background != live
        assert session.app.screen.query_one("#scrub").styles.background != live


async def test_a_cause_and_a_copy_are_of_then() -> None:
    async with open_console(with_past(), (120, 40)) as session:
        await go_to(session, "31")
        await session.press("4", "t", "enter")
        assert "flaky" in session.text or "fetch" in session.text
        await go_to(session, "41")
        assert "index 41" in session.lines[0]
        await session.press("escape", "2", "Y")
        assert session.app.escapes, "rows of the past can be copied"


async def test_a_moment_by_the_command_line() -> None:
    async with open_console(with_past()) as session:
        await session.press("colon", *"at 31", "enter")
        await arrived(session)
        assert "index 31" in session.lines[0]
        await session.press("colon", *"at 9m ago", "enter")
        await arrived(session)
        assert "index 11" in session.lines[0]
        await session.press("colon", *"at noon", "enter")
        assert "no moment" in session.lines[-1]


async def test_steps_end_at_both_ends() -> None:
    async with open_console(with_past()) as session:
        await session.press("T")
        await session.press("right_square_bracket")
        assert "That is now" in session.lines[-1]
        for _ in range(5):
            await session.press("left_curly_bracket")
        await arrived(session)
        assert "index 11" in session.lines[0]
        await session.press("left_square_bracket")
        assert "oldest moment that is kept" in session.lines[-1]
        await session.press("z")
        line = session.lines[-2]
        await session.press("z")
        assert session.lines[-2] != line


async def test_who_scrubs_on_sees_the_last_moment_only() -> None:
    source = with_past()
    async with open_console(source) as session:
        await session.press("T")
        source.hold.clear()
        asked = len(source.asked)
        await session.press("left_square_bracket", "left_square_bracket", "left_curly_bracket")
        assert "reading" in session.lines[-2]
        assert "cordoned" in session.line_with(" dune "), "it stands until the other was read"
        source.hold.set()
        await arrived(session)
        assert "active" in session.line_with(" dune ")
        assert len(source.asked) == asked + 2, "what lay between was not asked for"


async def test_what_comes_late_does_not_come_back() -> None:
    source = with_past()
    async with open_console(source) as session:
        await session.press("T")
        source.hold.clear()
        await session.press("left_curly_bracket", "T")
        source.hold.set()
        await session.settle()
        assert "live" in session.text
        assert "cordoned" in session.line_with(" dune ")


async def test_a_held_moment_is_compared_with_another() -> None:
    source = with_past()
    asked: list[tuple[Moment, Moment | None]] = []

    async def diff(begin: Moment, end: Moment | None = None, limit: int = 0) -> object:
        asked.append((begin, end))
        return source.differences

    source.diff = diff  # type: ignore[method-assign,assignment]
    async with open_console(source, (120, 30)) as session:
        await go_to(session, "41")
        await session.press("M")
        await go_to(session, "31")
        await session.press("percent_sign")
        assert "$ cortex diff --from 31 --to 41" in session.text
        assert asked == [(Moment(index=31), Moment(index=41))]
        await session.press("enter")
        assert "dune" in session.lines[2]
        await session.press("escape", "escape", "M", "M", "percent_sign")
        assert asked[-1][1] is None
        assert "$ cortex diff --from 31" in session.text


async def test_what_ran_is_read_first_and_what_is_not_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "PAGE", 2)
    monkeypatch.setattr(loading, "FIRST_PAGE", 2)
    monkeypatch.setattr(loading, "MAX_TASKS", 9)
    source = with_past()
    async with open_console(source, (120, 30)) as session:
        await go_to(session, "31")
        await session.until(lambda: session.app.travel is not None and not session.app.travel.reading_on)
        await session.press("2")
        for name in ("hello", "lint", "render", "sync", "backup"):
            assert "running" in session.line_with(name)
        assert "9 of 10 tasks" in session.lines[-2]
        assert "Queue 8" in session.lines[1]


async def test_no_past_yet() -> None:
    source = PastSource()
    async with open_console(source) as session:
        await session.press("T")
        assert not session.app.in_past
        assert GONE[:60] in session.lines[-1]
        await session.press("left_square_bracket")
        assert "T goes there" in session.lines[-1]


async def test_ascii_and_the_smallest_terminals() -> None:
    async with open_console(with_past(), terminal=Terminal(ascii_only=True)) as session:
        await go_to(session, "31")
        assert session.text.isascii()
        assert "PAST" in session.lines[0]
        for size in ((1, 1), (20, 4), (300, 9), (80, 24)):
            await session.resize(*size)
            await session.press("left_square_bracket", "percent_sign", "escape")
            await arrived(session)
        assert "PAST" in session.lines[0]


async def test_the_stream_goes_on_meanwhile() -> None:
    source = with_past()
    async with open_console(source) as session:
        await session.press("T")
        row = source.nodes["cedar"].node
        row.state, row.modified_index = types_pb2.NODE_STATE_CORDONED, row.modified_index + 1
        source.push(row)
        await session.settle()
        assert "active" in session.line_with(" cedar ")
        await session.press("T")
        assert "cordoned" in session.line_with(" cedar ")
        await session.press("T")
        source.put(LinkState(False, "127.0.0.1:7001", "connection refused"))
        await session.settle()
        assert "Link lost" in session.text, "also said over the past"


async def test_another_cluster_is_looked_at_as_it_is_now() -> None:
    first, second = with_past(), with_past()
    first.name, second.name = "prod", "lab"  # type: ignore[misc]
    contexts = [Context(one.name, "here", lambda one=one: (one, Keep())) for one in (first, second)]  # type: ignore[misc]
    async with open_console(first, contexts=contexts, context="prod") as session:
        await go_to(session, "31")
        session.app.use_context("lab")
        await session.until(lambda: session.app.view.ready)
        await session.settle()
        assert not session.app.in_past
        assert " cortex lab" in session.lines[0]
        await go_to(session, "31")
        assert "active" in session.line_with(" dune ")
        await session.press("2", "T")
        assert " cortex lab" in session.lines[0]
        assert "failed" in session.line_with("lint")
        session.app.use_context("prod")
        await session.settle()
        assert "cordoned" in session.line_with(" dune ")
