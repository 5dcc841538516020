"""The virtual table: after any updates, keys and resizes the terminal shows what a fresh render would."""

from __future__ import annotations

import random

import pytest

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import Session, open_console
from tests.tui.fake_source import FakeSource
from tui.widgets.filterbar import FilterBar
from tui.widgets.table import Table

STATES = [fake.QUEUED, fake.ASSIGNED, fake.RUNNING, fake.COMPLETED, fake.FAILED, fake.DEAD]
KEYS = [*"jkgGIwlhn", "ctrl+d", "ctrl+u", "space", "greater_than_sign", "less_than_sign"]
SIZES = [(80, 24), (60, 9), (200, 50), (33, 14)]


def random_task(draw: random.Random, index: int) -> types_pb2.Task:
    state = draw.choice(STATES)
    ended = state in (fake.COMPLETED, fake.FAILED, fake.DEAD)
    name = draw.choice(["alpha", "beta", "日本語の名前", "[bold]no[/bold]", "esc\x1b[31m", "x" * 40, "café"])
    return fake.task(
        draw.randrange(40),
        name,
        state,
        draw.choice(["ls", "make -j8 all the things", "echo \u202e", ""]),
        node=draw.choice(["", "anvil", "birch"]),
        priority=draw.randrange(11),
        attempt=draw.randrange(4),
        created_s=draw.randrange(1, 9000),
        started_s=draw.randrange(1, 500) if state != fake.QUEUED else 0,
        ended_s=draw.randrange(1, 50) if ended else 0,
        exit_code=draw.randrange(3) if ended else None,
        index=index,
    )


async def shown_fresh(session: Session) -> list[str]:
    """The same screen, painted from nothing."""
    before = session.lines
    session.app.emulator.reset()
    session.app.screen.query_one("#rows", Table).redraw()
    session.app.repaint_all()
    await session.settle()
    after = session.lines
    assert any(after)
    return [before, after]  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(6))
async def test_screen_after_random_updates_equals_a_fresh_render(seed: int) -> None:
    draw = random.Random(seed)
    source = FakeSource(tasks=[random_task(draw, number) for number in range(1, 30)])
    async with open_console(source) as session:
        await session.press("2")
        for step in range(40):
            move = draw.random()
            if move < 0.6:
                rows = [random_task(draw, 1000 + step * 10 + more) for more in range(draw.randrange(1, 4))]
                source.push(*rows)
                await session.settle()
            elif move < 0.85:
                await session.press(draw.choice(KEYS))
            elif move < 0.93:
                await session.wait(draw.choice([0.3, 1.0, 1.7]))
            else:
                await session.resize(*draw.choice(SIZES))
            if step % 8 == 7:
                before, after = await shown_fresh(session)
                assert before == after


async def test_the_cursor_stays_on_its_row() -> None:
    source = FakeSource(tasks=[fake.task(number, f"job{number}", fake.QUEUED) for number in range(1, 60)])
    async with open_console(source) as session:
        await session.press("2", "G", "k", "k")
        table = session.app.screen.query_one("#rows", Table)
        key, line = table.cursor_key, table.cursor - table.top
        source.push(*[fake.task(number, f"new{number}", fake.RUNNING, started_s=1) for number in range(100, 130)])
        await session.settle()
        assert table.cursor_key == key
        assert table.cursor - table.top == line, "it stays on its line of the screen too"
        source.push(fake.task(58, "job58", fake.COMPLETED, ended_s=1, index=5000))
        await session.settle()
        assert table.cursor_key == key


async def test_an_untouched_cursor_stays_on_top() -> None:
    async with open_console() as session:
        await session.press("2")
        table = session.app.screen.query_one("#rows", Table)
        session.source.push(fake.task(500, "newest", fake.RUNNING, started_s=0.5))
        await session.settle()
        assert table.cursor == 0
        assert "newest" in session.lines[3]


async def test_only_changed_cells_are_sent() -> None:
    async with open_console() as session:
        await session.press("2")
        session.app.sent.clear()
        await session.settle()
        assert session.app.sent == [], "nothing changed, nothing is sent"
        known = session.source.tasks["01jx00000005"]
        changed = types_pb2.Task()
        changed.CopyFrom(known)
        changed.attempt, changed.modified_index = 2, 9000
        session.source.push(changed)
        await session.settle()
        table_bytes = sum(len(text) for text in session.app.sent)
        assert 0 < table_bytes < 60, "one cell, and the index in the top bar"


async def test_marks_follow_their_rows_and_go_with_them() -> None:
    async with open_console() as session:
        await session.press("2", "space", "space")
        table = session.app.screen.query_one("#rows", Table)
        assert len(table.marks) == 2
        assert "2 marked" in session.text
        await session.press("escape")
        assert not table.marks


async def test_filter_is_applied_as_it_is_typed_and_points_at_errors() -> None:
    async with open_console() as session:
        await session.press("2", "slash", *"backup")
        assert "1 of 10" in session.text
        await session.press("enter")
        assert "backup" in session.line_with("running")
        await session.press("slash", "home", "backspace", "end", *" bogus=1")
        assert "no field bogus here" in session.lines[-1]
        await session.press("escape")
        assert "/10" in session.lines[1]
        await session.press("slash", *"zzz", "enter")
        assert "Nothing matches" in session.text
        await session.press("escape")
        assert "Nothing matches" not in session.text


async def test_another_filter_takes_the_place_of_the_one_before() -> None:
    async with open_console() as session:
        await session.press("2", "slash", *"backup", "enter", "slash", *"hello")
        assert session.app.screen.query_one(FilterBar).input.value == "hello"
        await session.press("enter", "slash", "end", *" or backup", "enter")
        assert "/hello or backup" in session.lines[1]


async def test_a_filter_that_is_wrong_stays_open_to_be_put_right() -> None:
    async with open_console() as session:
        await session.press("2", "slash", *"state=runing", "enter")
        assert "no state is called runing, but running; there are assigned" in session.lines[-1]
        assert "state=runing" in session.lines[-2]
        await session.press("left", "left", "left", "n", "enter")
        assert "state=running" in session.lines[1]
        table = session.app.screen.query_one("#rows", Table)
        assert session.app.focused is table
        assert {row.state for _, row in table.listing.items()} == {fake.RUNNING}


async def test_rows_leave_a_filter_by_age_as_time_goes_by() -> None:
    tasks = [fake.task(1, "young", fake.QUEUED, created_s=10), fake.task(2, "old", fake.QUEUED, created_s=500)]
    async with open_console(FakeSource(tasks=tasks)) as session:
        await session.press("2", "slash", *"age<2m", "enter")
        assert "1 of 2" in session.lines[1]
        assert "young" in session.text
        await session.wait(60)
        assert "young" in session.text
        await session.wait(60)
        assert "young" not in session.text


async def test_sorting_by_choice_and_by_keys() -> None:
    async with open_console() as session:
        await session.press("2", "s", *"name", "enter")
        names = [line.split()[3] for line in session.lines[3:13] if line.strip()]
        table = session.app.screen.query_one("#rows", Table)
        assert table.sort_column.id == "name"
        assert "NAME▴" in session.lines[2]
        assert names
        await session.press("I")
        assert "NAME▾" in session.lines[2]
        first = table.listing.row(0).name
        assert first == max(row.name for row in session.source.tasks.values())


async def test_wide_shows_every_column_uncut_and_scrolls() -> None:
    name = "nightly-reindexing"
    async with open_console(FakeSource([fake.task(1, name, fake.QUEUED)])) as session:
        await session.press("2")
        assert "WHY" not in session.lines[2]
        assert name not in session.lines[3]
        await session.press("w")
        assert name in session.lines[3]
        await session.press(*["l"] * 24)
        assert "WHY" in session.lines[2] or "ID" in session.lines[2]
        await session.press("w")
        assert "STATE" in session.lines[2]


async def test_a_quiet_cluster_costs_nothing() -> None:
    async with open_console() as session:
        await session.wait(1.0)
        session.app.sent.clear()
        for _ in range(60):
            session.clock.now_s += 1.0
            session.source.push(samples=list(session.source.nodes.values()))
            session.source.index -= 1
            await session.settle()
        sent = "".join(session.app.sent)
        assert len(sent) < 60 * 200, "only the sparkline grows"
        session.app.sent.clear()
        await session.settle()
        assert session.app.sent == []
