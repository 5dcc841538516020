"""What random walks through the console found, each on its own."""

from __future__ import annotations

from dataclasses import replace

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource
from tui.columns.dag import rail_cell
from tui.drawing.draw import plain
from tui.screens.dag import DagScreen
from tui.widgets.table import Table


async def test_a_row_that_was_folded_away_draws_no_lanes_until_the_table_knows() -> None:
    async with open_console() as session:
        await session.press("3", "enter")
        screen = session.app.screen
        assert isinstance(screen, DagScreen)
        row = replace(screen.query_one("#rows", Table).listing.row(0), key="gone")
        assert plain(rail_cell(screen.model, row, session.app.glyphs, 0, 5)) == " " * 5


async def test_a_tick_after_the_console_closed_is_no_fault() -> None:
    async with open_console() as session:
        pass
    session.app.tick()


async def test_a_small_terminal_is_cut_and_never_scrolled() -> None:
    for size in ((60, 9), (140, 2), (2, 3)):
        async with open_console(size=size) as session:
            for keys in (("1",), ("2", "enter"), ("3", "enter")):
                await session.press(*keys)
                assert not session.app.screen.show_vertical_scrollbar
                assert not session.app.screen.show_horizontal_scrollbar


async def test_a_line_that_is_painted_in_part_leaves_no_cell_behind() -> None:
    source = FakeSource(tasks=[fake.task(1, "job", fake.QUEUED)])
    async with open_console(source) as session:
        await session.press("2")
        table = session.app.screen.query_one("#rows", Table)
        changed = types_pb2.Task()
        changed.CopyFrom(source.tasks["01jx00000001"])
        changed.name, changed.modified_index = "other", 9000
        source.push(changed)
        await session._quiet()
        table.refresh(table.size.region.split(1, 1)[0].translate((0, 1)))  # one cell of that line
        await session.settle()
        assert "other" in session.text
        assert "job " not in session.lines[3][:30]


async def test_the_node_under_the_cursor_is_told_in_whole_facts() -> None:
    async with open_console(size=(80, 24)) as session:
        assert "…" not in session.line_with("anvil  score")
