"""The heatmap of nodes by keys: the cursor, the marks, the filter and the order are the table's."""

from __future__ import annotations

from random import Random

import pytest

from cortex.v1 import cluster_pb2
from tests.tui import fake
from tests.tui.console import check_golden, open_console
from tests.tui.fake_source import FakeSource
from tui.screens.node import NodeScreen
from tui.tty.terminal import Terminal


def field(count: int = 100) -> FakeSource:
    random = Random(4)
    nodes = []
    for number in range(count):
        up = number % 17 != 3
        nodes.append(
            fake.node_view(
                f"node-{number:03}", cpu=random.uniform(0, 100), memory=random.uniform(0, 100),
                gpus=[random.uniform(0, 100)] if number % 4 == 0 else [], online=up, sampled=up,
            )
        )  # fmt: skip
    return FakeSource(nodes=nodes)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_the_field_looks_as_recorded(size: tuple[int, int]) -> None:
    async with open_console(field(), size) as session:
        await session.press("m", "m", "j", "l", "l", "space")
        check_golden(f"heatmap_{size[0]}x{size[1]}", session)


async def test_m_goes_through_the_shades_and_back_to_the_table() -> None:
    async with open_console(field()) as session:
        titles = []
        for _ in range(5):
            await session.press("m")
            titles.append(session.lines[2].split()[0])
        assert titles == ["SCORE", "CPU", "MEMORY", "GPU", "NODE▴"]


async def test_esc_clears_marks_then_leaves_the_field() -> None:
    async with open_console(field()) as session:
        await session.press("m", "space", "escape")
        assert "marked" not in session.lines[1]
        assert "SCORE" in session.lines[2]
        await session.press("escape")
        assert "NODE" in session.lines[2]


async def test_the_cursor_goes_by_lines_and_opens_its_node() -> None:
    async with open_console(field()) as session:
        await session.press("m", "l", "l", "j", "h")
        assert "41/100" in session.lines[1], "39 nodes stand in a line of 79 cells"
        assert "node-040" in session.text
        await session.press("j", "j", "j", "j")
        assert "80/100" in session.lines[1], "there is nothing below the last line"
        await session.press("G")
        assert "100/100" in session.lines[1]
        await session.press("g", "k", "h")
        assert "1/100" in session.lines[1]
        await session.press("enter")
        assert isinstance(session.app.screen, NodeScreen)
        await session.press("escape", "j")
        assert "40/100" in session.lines[1], "the keys go to the field still"


async def test_actions_and_the_filter_concern_what_the_field_shows() -> None:
    async with open_console(field()) as session:
        await session.press("m", "slash", *"cpu>90", "enter", "asterisk", "c")
        wanted = sum(view.resources.cpu_percent > 90 for view in session.source.nodes.values())
        assert f"Cordon {wanted} nodes" in session.text
        await session.press("escape", "l")
        assert "[]" in session.lines[3], "after the filter the keys go to the field"


async def test_a_change_repaints_the_field() -> None:
    async with open_console(field(3)) as session:
        await session.press("m", "m", "l")
        before = session.lines[3]
        busy = fake.node_view("node-000", cpu=99, index=2)
        session.source.push(samples=[busy])
        await session.settle()
        assert session.lines[3] != before
        assert session.lines[3].startswith("██")
        gone = fake.node_view("node-000", online=False, sampled=False, index=3)
        session.source.push(gone.node)
        await session.settle()
        assert session.lines[3].startswith("x ")


async def test_without_colour_and_beyond_ascii_it_can_be_read() -> None:
    async with open_console(field(), terminal=Terminal(ascii_only=True, no_color=True)) as session:
        await session.press("m")
        assert session.text.isascii()
        assert "[]" in session.lines[3]
        assert "@" in session.text


async def test_an_empty_field_says_so() -> None:
    none: list[cluster_pb2.NodeView] = []
    async with open_console(FakeSource(nodes=none)) as session:
        await session.press("m", "j", "l", "G", "enter")
        assert "No node has joined yet" in session.text


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (20, 5), (300, 3)])
async def test_no_size_crashes(size: tuple[int, int]) -> None:
    async with open_console(field(50), size) as session:
        await session.press("m", "j", "l", "m", "m", "m", "m")
        await session.resize(80, 24)
        assert "node-0" in session.text
