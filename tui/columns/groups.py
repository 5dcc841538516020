"""The queue in groups."""

from __future__ import annotations

from collections.abc import Callable

from cortex.v1 import types_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.columns.tasks import QUEUE
from tui.drawing.draw import EMPTY, TASK_WORDS, Cell, Span, count_of, foreign, task_state
from tui.lists.grouping import Line, order

Task = types_pb2.Task

NONE = {"state": "no state", "node": "on no node", "workflow": "of no workflow", "name": "without a name"}


def group_title(kind: str, group: str, draw: Draw) -> str:
    """What a group is called."""
    if not group:
        return NONE[kind]
    if kind == "state":
        return TASK_WORDS.get(int(group), ("unknown", "", ""))[0]
    if kind == "workflow":
        row = draw.view.workflows.get(group)
        return f"{row.name} {group}" if row is not None and row.name else group
    return group


def groups(kind: str) -> TableSpec[Line]:
    """`kind`: a key of GROUPINGS."""

    def draw_name(line: Line, draw: Draw, _width: int) -> Cell:
        if line.task is not None:
            return (("  ", "text"), *foreign(line.task.name or "task", "text", draw.glyphs))
        lead = draw.glyphs.descending if line.is_open else draw.glyphs.of("running")
        return ((f"{lead} ", "accent"), *foreign(group_title(kind, line.group, draw), "strong", draw.glyphs))

    return TableSpec(
        columns=(
            Column("group", "GROUP", 18, draw_name, order, flex=2, most=40),
            Column("tasks", "TASKS", 7, _draw_total, align="right"),
            Column("state", "STATES", 22, _draw_states, flex=2, most=50),
            *(
                _member(column, rank=3 + at)
                for at, column in enumerate(QUEUE.columns)
                if column.id not in ("state", "name")
            ),
        ),
        sort="group",
        fields=(),
        empty=QUEUE.empty,
    )


def _draw_total(line: Line, _draw: Draw, _width: int) -> Cell:
    return ((count_of(line.total), "strong"),) if line.task is None else EMPTY


def _draw_states(line: Line, draw: Draw, _width: int) -> Cell:
    if line.task is not None:
        return task_state(line.task, draw.glyphs)
    spans: list[Span] = []
    for state, count in line.counts:
        word, glyph, role = TASK_WORDS.get(state, ("unknown", "?", "dim"))
        said = f"{draw.glyphs.of(glyph)} {count_of(count)} {word}" if len(line.counts) == 1 else ""
        spans.append((said or f"{count_of(count)}{draw.glyphs.of(glyph)}  ", role))
    return tuple(spans)


def _member(column: Column[Task], rank: int) -> Column[Line]:
    """A column of the queue, for the tasks of open groups."""

    def draw(line: Line, draw: Draw, width: int) -> Cell:
        return column.draw(line.task, draw, width) if line.task is not None else EMPTY

    cell: Callable[[Line, Draw, int], Cell] = draw
    return Column(
        column.id, column.title, column.width, cell, None, align=column.align, flex=column.flex, most=column.most,
        rank=rank,
    )  # fmt: skip
