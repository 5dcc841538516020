"""A node in the console: what it measures, runs and uses, its history with gaps, and how far back that goes."""

from __future__ import annotations

import math

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as types
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource
from tests.tui.test_cli_nodes import AT_US, USE, full_view, history
from tui.columns.base import Draw
from tui.columns.nodes import NODES
from tui.details.node import node_facts
from tui.details.resources import SPANS_US, history_lines, history_points, use_line, use_lines
from tui.drawing.draw import ASCII, UNICODE, Glyphs
from tui.store.nodes import NodeRow
from tui.store.view import ClusterView

FENCE = 900


def drawing(glyphs: Glyphs = UNICODE) -> Draw:
    return Draw(AT_US, AT_US / 1e6, glyphs, ClusterView())


def lines_of(cells: object) -> list[str]:
    assert isinstance(cells, list)
    return ["".join(text for text, _ in cell).rstrip() for cell in cells]


def facts(view: pb.NodeView, inspected: pb.InspectNodeReply | None = None, glyphs: Glyphs = UNICODE) -> list[str]:
    return lines_of(node_facts(NodeRow(view.node, view, 0.0), drawing(glyphs), 100, inspected))


def test_details_show_what_is_measured_and_what_runs_there() -> None:
    text = "\n".join(facts(full_view()))
    for said in (
        "swap          0%",
        "2.5 in flight",
        "packets/s dropped",
        "something waited for memory 0 %, disk 12 %",
        "80 %, no mains power",
        "61 °C",
        "train (7) 1.07 GB, task t1",
        "2.00 GFLOPS a core",
        "To be doubted, since others used 30 %",
        "shell, 4 at once",
        "container: It is off. Start it.",
        "strict, not here: No user namespaces.",
    ):
        assert said in text, said
    assert "LAST" not in text
    assert "USED BY" not in text


def test_nodes_are_found_by_heat_and_by_what_waits_there() -> None:
    view = full_view()
    view.resources.cpu_pressure_percent = 3
    fields = {field.name: field.get for field in NODES.fields}
    row = NodeRow(view.node, view, 0.0)
    assert (fields["heat"](row), fields["pressure"](row)) == (61, 12)
    bare = NodeRow(view.node, pb.NodeView(node=view.node, resources=types.Resources()), 0.0)
    assert (fields["heat"](bare), fields["pressure"](bare)) == (None, None)


def test_what_is_not_measured_is_left_out_and_ascii_is_ascii() -> None:
    bare = pb.NodeView(node=types.Node(id="n1"), resources=types.Resources(cores=2))
    text = "\n".join(facts(bare))
    assert not any(word in text for word in ("swap", "battery", "pressure", "heat", "GPUS", "bench", "RUNS"))
    reply = history()
    reply.tasks.append(USE)
    assert all(line.isascii() for line in facts(full_view(), reply, ASCII))


def test_tasks_are_shown_the_hungriest_first() -> None:
    idle = types.TaskUse(task="t0", processes=1, memory_bytes=5)
    lines = lines_of(use_lines([idle, USE], drawing(), 100))
    assert [line.split()[0] for line in lines[3:]] == ["t1", "t0"]
    assert lines[3].split()[1:4] == ["150%", "200M", "300M"]
    assert use_lines([], drawing(), 100) == []
    assert "1.50 cores, 200 MB" in lines_of(use_line(USE, drawing(), 100))[0]


@pytest.mark.parametrize(("width", "points"), [(20, 10), (100, 66), (400, 120)])
def test_a_curve_fits_its_pane(width: int, points: int) -> None:
    assert history_points(width) == points
    for line in lines_of(history_lines(history(), 0, drawing(), width)):
        assert len(line) <= max(width, 66)


def test_a_gap_is_a_gap_and_a_node_that_was_just_started_says_so() -> None:
    head, cpu, received, *rest = lines_of(history_lines(history(), 1, drawing(), 100))[1:]
    assert head.startswith(" LAST 2 HOURS  10.0s a step   H another span")
    assert "▁ █▅" in cpu
    assert "50% most 100%" in cpu
    assert received.split()[0] == "received"
    assert rest == []
    empty = pb.InspectNodeReply(step_us=1, history=[types.Series(name="cpu", values=[math.nan])])
    assert "nothing was measured yet" in lines_of(history_lines(empty, 0, drawing(), 100))[-1]
    assert len(SPANS_US) == 3


async def test_h_asks_the_node_for_a_longer_span_and_a_task_shows_its_use() -> None:
    source = FakeSource()
    source.inspected["anvil"] = history()
    source.inspected["anvil"].tasks.append(types.TaskUse(task="01jx00000001", fence=FENCE, cpu_percent=150))
    source.tasks["01jx00000001"].fence = FENCE
    async with open_console(source, (200, 60)) as session:
        await session.press("1", "slash", *"anvil", "enter", "enter")
        assert source.inspections[0][:2] == ("anvil", SPANS_US[0])
        assert "LAST 10 MINUTES" in session.text
        assert "USED BY ITS TASKS (1)" in session.text
        await session.press("H")
        assert source.inspections[-1][:2] == ("anvil", SPANS_US[1])
        assert "LAST 2 HOURS" in session.text
        assert "measured in 2 hours" in session.lines[-1], "it may stand below the screen"
        await session.press("H", "H")
        assert "LAST 10 MINUTES" in session.text
        await session.press("2", "slash", *"render", "enter", "enter")
        await session.press("d")
        assert "1.50 cores" in session.line_with("uses now")


async def test_a_node_that_does_not_tell_is_shown_without() -> None:
    async with open_console(FakeSource(), (200, 60)) as session:
        await session.press("1", "slash", *"anvil", "enter", "enter")
        assert "RESOURCES" in session.text
        assert "LAST 10 MINUTES" not in session.text
