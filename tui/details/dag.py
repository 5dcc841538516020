"""The lines around a DAG: how far the workflow is, and what is known of the row under the cursor. Pure."""

from __future__ import annotations

from cortex.v1 import types_pb2
from tui.columns.base import Draw
from tui.columns.dag import dag_glyphs, dag_why, state_cell
from tui.columns.tasks import FAILED_STATES, run_us
from tui.columns.workflows import Workflow, progress, time_us, why_text, workflow_state
from tui.dag.tally import summary
from tui.details.dag_estimate import Finish
from tui.drawing.draw import Cell, Span, age, cell_width, clock, count_of, foreign, span_of_time
from tui.drawing.text import clean, wrap
from tui.store.dag_model import DagModel, DagRow, Mode
from tui.store.dag_needs import RULES
from tui.store.view import ENDED_WORKFLOWS

PROGRESS_CELLS = 24
PARENTS_NAMED = 6
MOST_LINES = 4
"""Of the reason."""
_ON_NO_NODE = frozenset({types_pb2.TASK_STATE_PENDING, types_pb2.TASK_STATE_QUEUED})
"""States in which the row still names the node of the run before."""
KINDS = {"template": "one map", "chain": "a chain", "twins": "alike: the same before and after them"}


def dag_headline(row: Workflow, model: DagModel, found: Finish | None, draw: Draw, width: int) -> list[Cell]:
    """Two lines: the workflow, and how its tasks are shown."""
    glyphs = draw.glyphs
    first: list[Span] = [(" ", "text"), *foreign(row.name or "workflow", "strong", glyphs), ("  ", "text")]
    first += [*workflow_state(row, glyphs), ("  ", "text"), *progress(row, PROGRESS_CELLS, glyphs)]
    if row.run > 1:
        first.append((f"  run {row.run}", "warn"))
    taken = time_us(row, draw.now_us)
    if taken is not None:
        over = row.state in ENDED_WORKFLOWS
        first.append((f"  {span_of_time(taken) if over else age(taken)}", "dim" if over else "busy"))
    second = _shown_line(model, found, draw)
    if why := why_text(row):
        told: Cell = (("  ", "text"), *foreign(why, "dim", glyphs))
        # Where both do not fit into one line, and the other one has room.
        below = cell_width((*first, *told)) > width and cell_width((*second, *told)) <= width
        (second if below else first).extend(told)
    return [tuple(first), tuple(second)]


def _shown_line(model: DagModel, found: Finish | None, draw: Draw) -> list[Span]:
    tasks, shown = len(model.folds.graph), len(model.shown)
    mode = Mode.LIST if model.listed else model.mode
    spans: list[Span] = [(f" {draw.word('dag', 'mode')} ", "key"), (mode.value, "text")]
    if shown < tasks and found is None:
        spans.append((f"  {count_of(tasks)} tasks in {count_of(shown)} rows", "dim"))
    if model.problem:
        spans += [("  ", "text"), *foreign(model.problem, "warn", draw.glyphs)]
    if found is not None:
        spans += [("  ", "text"), *finish_words(found, draw)]
    return spans


def finish_words(found: Finish, draw: Draw) -> Cell:
    """How long the critical path is, and when it will have ended."""
    if not found.keys:
        return (("everything has ended", "dim"),)
    count = len(found.keys)
    said = f"{draw.glyphs.leader} critical path: {count_of(count)} task{'s' if count > 1 else ''}"
    if not found.end_us:
        return ((said, "accent"), ("; nothing has completed yet that tells how long", "dim"))
    left_us = found.end_us - draw.now_us
    in_words = age(left_us) if left_us < 100_000_000 else span_of_time(left_us)
    left = f"about {in_words} left, ends {clock(found.end_us)[:8]} UTC" if left_us > 0 else "ends any moment"
    return ((f"{said}, {left}", "accent"),)


def dag_panel(model: DagModel, row: DagRow, draw: Draw, width: int, height: int) -> list[Cell]:
    """What is known of a row, in at most `height` lines."""
    lines = _group_lines(model, row, draw) if row.task is None else _task_lines(model, row.task, row, draw, width)
    return lines[:height]


def _group_lines(model: DagModel, row: DagRow, draw: Draw) -> list[Cell]:
    group, glyphs = row.group, dag_glyphs(draw.glyphs)
    if group is None:
        return []
    head = (("  ", "text"), *foreign(group.title(glyphs), "strong", draw.glyphs), ("  ", "text"))
    counts = summary(group, model.tally.counts(row.key), glyphs, bar_width=20)
    opens = draw.word("dag", "open_fold")
    kind = f"  {count_of(len(group.tasks))} tasks of {KINDS[group.kind.value]}; {opens} opens them"
    return [(*head, *counts), ((kind, "dim"),)]


def _task_lines(model: DagModel, task: types_pb2.Task, row: DagRow, draw: Draw, width: int) -> list[Cell]:
    glyphs = draw.glyphs
    head: list[Span] = [("  ", "text"), *foreign(row.key, "strong", glyphs), ("  ", "text")]
    head += [*state_cell(model, row, glyphs), ("  ", "text"), *foreign(task.id, "dim", glyphs)]
    if task.node and task.state not in _ON_NO_NODE:
        head += [("  on ", "dim"), *foreign(task.node, "text", glyphs)]
    ran = run_us(task, draw.now_us)
    if ran is not None:
        head += [("  ", "text"), (age(ran), "text")]
    if task.run > 1:
        head.append((f"  run {task.run}", "warn"))
    lines = [tuple(head)]
    role = "bad" if task.state in FAILED_STATES else "text"
    why = clean(dag_why(model, task, draw)[: MOST_LINES * width], ascii_only=glyphs.ascii_only)
    lines += [((f"  {piece}", role),) for piece in wrap(why, width - 3)] if why else []
    return [*lines, *_order_lines(model, task, draw)]


def _order_lines(model: DagModel, task: types_pb2.Task, draw: Draw) -> list[Cell]:
    """What it comes after, and on which terms."""
    glyphs = draw.glyphs
    named = [model.keys.get(need, "?") for need in task.depends_on[:PARENTS_NAMED]]
    spans: list[Span] = [("  after ", "dim")]
    if named:
        rest = len(task.depends_on) - len(named)
        spans += [*foreign(", ".join(named), "text", glyphs), (f" and {rest} more" if rest else "", "text")]
    else:
        spans.append(("all others" if getattr(task, "finally") else "nothing", "text"))
    if task.rule:
        spans += [("  rule ", "dim"), (RULES.get(task.rule, "unknown"), "text")]
    if task.can_fail:
        spans.append(("  may fail", "dim"))
    if task.condition:
        spans += [("  if ", "dim"), *foreign(task.condition, "text", glyphs)]
    return [tuple(spans)]
