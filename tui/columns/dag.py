"""The rows of a DAG: a task each, or several that are folded into one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cortex.v1 import types_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.columns.tasks import FAILED_STATES, STATE_WORDS, exit_text, run_us, state_word, why_text
from tui.draw import (
    EMPTY,
    TASK_WORDS,
    Cell,
    Glyphs,
    Span,
    age,
    count_of,
    foreign,
    span_of_time,
    stacked,
    task_state,
)
from tui.filter import Field
from tui.waiting import wait_reason

Task = types_pb2.Task
Counts = tuple[tuple[int, int], ...]

FOLD_BAR = 6
WORST_FIRST = (
    types_pb2.TASK_STATE_DEAD_LETTER,
    types_pb2.TASK_STATE_FAILED,
    types_pb2.TASK_STATE_RUNNING,
    types_pb2.TASK_STATE_ASSIGNED,
    types_pb2.TASK_STATE_QUEUED,
    types_pb2.TASK_STATE_PENDING,
    types_pb2.TASK_STATE_CANCELLED,
    types_pb2.TASK_STATE_SKIPPED,
    types_pb2.TASK_STATE_COMPLETED,
)
"""A fold is shown by the first of these that one of its tasks is in."""
_WORDS: dict[int, str] = dict(STATE_WORDS.items())
_ORDER: dict[int, int] = {state: at for at, state in enumerate(WORST_FIRST)}


@dataclass(frozen=True)
class DagRow:
    """One line. A fold has no task, but counts of its tasks' states."""

    key: str
    position: int
    """From 0 at the top of the drawing."""
    label: str
    """Key of the task in its workflow, or what the fold is called; text from outside."""
    task: Task | None = None
    counts: Counts = ()
    """Of a fold: state and how many of its tasks are in it, the worst first."""
    before: str = ""
    """Lanes left of the node."""
    after: str = ""
    """Lanes right of it."""
    critical: bool = False
    needs: str = ""
    """What it waits for, in words."""

    @property
    def state(self) -> int:
        """Of a fold the one that matters most."""
        return self.task.state if self.task is not None else self.counts[0][0] if self.counts else 0

    @property
    def size(self) -> int:
        return 1 if self.task is not None else sum(count for _, count in self.counts)


def fold_counts(states: dict[int, int]) -> Counts:
    """The counts of a fold, out of a count by state."""
    return tuple((state, states[state]) for state in WORST_FIRST if states.get(state))


def skip_word(task: Task) -> str:
    """`condition_false` and so on; empty when it was not skipped."""
    if task.state != types_pb2.TASK_STATE_SKIPPED or not task.skip_reason:
        return ""
    return types_pb2.SkipReason.Name(task.skip_reason).removeprefix("SKIP_REASON_").lower()


def dag_why(row: DagRow, draw: Draw) -> str:
    """Why it was skipped, what it waits for, or what went wrong."""
    task = row.task
    if task is None:
        return ""
    if word := skip_word(task):
        detail = task.condition_error or task.reason
        return f"{word}: {detail}" if detail else word
    if task.state == types_pb2.TASK_STATE_PENDING:
        return row.needs
    return wait_reason(task, draw.view.waiting, draw.now_us) or why_text(task)


def _draw_name(row: DagRow, draw: Draw, _width: int) -> Cell:
    glyphs = draw.glyphs
    _, glyph, role = TASK_WORDS.get(row.state, ("", "?", "dim"))
    spans: list[Span] = [(row.before, "track")] if row.before else []
    spans.append((glyphs.of(glyph), role))
    if row.after:
        spans.append((row.after, "track"))
    quiet = row.state in (types_pb2.TASK_STATE_COMPLETED, types_pb2.TASK_STATE_SKIPPED)
    spans += [
        (" ", "text"),
        *foreign(row.label, "accent" if row.critical else "dim" if quiet else "strong", glyphs),
    ]
    if row.critical:
        spans.append((f" {glyphs.leader}", "accent"))
    return tuple(spans)


def fold_figures(row: DagRow, glyphs: Glyphs) -> Cell:
    """`150✓ 12▸ 4✗`, failures first."""
    spans: list[Span] = []
    for state, count in row.counts:
        _, glyph, role = TASK_WORDS.get(state, ("", "?", "dim"))
        spans.append((f"{count_of(count)}{glyphs.of(glyph)} ", role))
    return tuple(spans)


def _draw_state(row: DagRow, draw: Draw, _width: int) -> Cell:
    if row.task is not None:
        return task_state(row.task, draw.glyphs)
    word, glyph, role = TASK_WORDS.get(row.state, ("unknown", "?", "dim"))
    same = len(row.counts) == 1
    return ((f"{draw.glyphs.of(glyph)} {word if same else f'{count_of(row.counts[0][1])} {word}'}", role),)


def _draw_why(row: DagRow, draw: Draw, width: int) -> Cell:
    if row.task is None:
        done = sum(
            count for state, count in row.counts if _ORDER.get(state, 0) >= _ORDER[types_pb2.TASK_STATE_CANCELLED]
        )
        bad = sum(count for state, count in row.counts if state in FAILED_STATES)
        bar = stacked(
            ((float(done), "ok"), (float(bad), "bad")), float(row.size), min(FOLD_BAR, width), draw.glyphs
        )
        return (*bar, (" ", "text"), *fold_figures(row, draw.glyphs))
    text = dag_why(row, draw)
    return foreign(text, "bad" if row.state in FAILED_STATES else "dim", draw.glyphs) if text else EMPTY


def _draw_run(row: DagRow, draw: Draw, _width: int) -> Cell:
    ran = run_us(row.task, draw.now_us) if row.task is not None else None
    if ran is None:
        return EMPTY
    counting = row.state == types_pb2.TASK_STATE_RUNNING
    text = age(ran) if counting and ran < 100_000_000 else span_of_time(ran)
    return ((text, "busy" if counting else "dim"),)


def _draw_exit(row: DagRow, _draw: Draw, _width: int) -> Cell:
    text = exit_text(row.task) if row.task is not None else ""
    return ((text, "dim" if text == "0" else "bad"),) if text else EMPTY


def _draw_attempt(row: DagRow, _draw: Draw, _width: int) -> Cell:
    if row.task is None:
        return EMPTY
    return ((str(row.task.attempt), "warn" if row.task.attempt else "dim"),)


def _node(row: DagRow) -> str:
    waits = (types_pb2.TASK_STATE_PENDING, types_pb2.TASK_STATE_QUEUED)
    return row.task.node if row.task is not None and row.state not in waits else ""


def _draw_node(row: DagRow, draw: Draw, _width: int) -> Cell:
    return foreign(_node(row), "text", draw.glyphs) if _node(row) else EMPTY


def _of_task(get: Callable[[Task], str]) -> Callable[[DagRow], str]:
    return lambda row: get(row.task) if row.task is not None else ""


def _number(get: Callable[[Task], float | None]) -> Callable[[DagRow], float | None]:
    return lambda row: get(row.task) if row.task is not None else None


def _state(row: DagRow) -> str:
    return state_word(row.task) if row.task is not None else _WORDS.get(row.state, "unknown")


def position(row: DagRow) -> int:
    """The order of the drawing."""
    return row.position


DAG: TableSpec[DagRow] = TableSpec(
    columns=(
        Column("task", "TASK", 16, _draw_name, position, flex=4, most=90),
        Column("state", "STATE", 13, _draw_state, lambda row: _ORDER.get(row.state, 99)),
        Column("node", "NODE", 8, _draw_node, _node, flex=1, most=16),
        Column("attempt", "ATT", 3, _draw_attempt, lambda row: row.task.attempt if row.task else 0, True, "right"),
        Column("run", "RUN", 6, _draw_run, lambda row: row.task.started_at_us if row.task else 0, True, "right"),
        Column("exit", "EXIT", 5, _draw_exit, _of_task(exit_text), align="right", rank=4),
        Column("why", "WHY", 20, _draw_why, _of_task(why_text), flex=4, rank=5),
    ),
    sort="task",
    fields=(
        Field("id", _of_task(lambda task: task.id)),
        Field("key", lambda row: row.label),
        Field("state", _state),
        Field("node", _node),
        Field("skip", _of_task(skip_word)),
        Field("rule", _of_task(lambda task: types_pb2.Rule.Name(task.rule).removeprefix("RULE_").lower())),
        Field("error", _of_task(lambda task: task.error)),
        Field("template", _of_task(lambda task: task.template)),
        Field("attempt", _number(lambda task: float(task.attempt)), numeric=True),
        Field(
            "exit",
            _number(lambda task: float(task.result.exit_code) if task.result.HasField("exit_code") else None),
            True,
        ),
    ),
    empty="Asking for the tasks of the workflow.",
)
