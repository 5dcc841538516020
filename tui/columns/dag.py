"""The columns of a DAG: its drawing, then what the tasks of a table show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cortex.v1 import types_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.columns.tasks import FAILED_STATES, exit_text, run_us, state_word, why_text
from tui.dag.glyphs import ASCII, ROLES, UNICODE, DagGlyphs
from tui.dag.graph import State
from tui.dag.tally import summary
from tui.drawing.draw import EMPTY, TASK_WORDS, Cell, Glyphs, Span, age, count_of, foreign, span_of_time, task_state
from tui.drawing.text import clean
from tui.lists.filter import Field
from tui.store.dag_model import STATES, DagModel, DagRow
from tui.store.dag_needs import RULES
from tui.store.view import ENDED
from tui.store.waiting import wait_reason

Task = types_pb2.Task
LEAST_LABEL = 20
"""Cells that lanes leave to the names, where these need as many."""
GROUP_STATES: Mapping[State, int] = {
    State.WAITING: types_pb2.TASK_STATE_PENDING,
    State.READY: types_pb2.TASK_STATE_QUEUED,
    State.RUNNING: types_pb2.TASK_STATE_RUNNING,
    State.DONE: types_pb2.TASK_STATE_COMPLETED,
    State.FAILED: types_pb2.TASK_STATE_FAILED,
    State.SKIPPED: types_pb2.TASK_STATE_SKIPPED,
    State.CANCELLED: types_pb2.TASK_STATE_CANCELLED,
}
_ORDER = {state: at for at, state in enumerate((State.FAILED, State.RUNNING, State.READY, State.WAITING,
                                                State.CANCELLED, State.SKIPPED, State.DONE))}  # fmt: skip
_QUIET = frozenset({State.DONE, State.SKIPPED, State.CANCELLED})
SKIPS: Mapping[int, str] = {
    number: name.removeprefix("SKIP_REASON_").lower() for name, number in types_pb2.SkipReason.items()
}


def dag_glyphs(glyphs: Glyphs) -> DagGlyphs:
    return ASCII if glyphs.ascii_only else UNICODE


def skip_word(task: Task) -> str:
    """`condition_false` and so on; empty when it was not skipped."""
    skipped = task.state == types_pb2.TASK_STATE_SKIPPED and task.skip_reason
    return SKIPS.get(task.skip_reason, "unknown") if skipped else ""


def dag_why(model: DagModel, task: Task, draw: Draw) -> str:
    """Why it was skipped, what it waits for, or what went wrong."""
    if word := skip_word(task):
        detail = task.condition_error or task.reason
        return f"{word}: {detail}" if detail else word
    if task.state == types_pb2.TASK_STATE_PENDING:
        return model.needs_of(task)
    if task.state in ENDED:
        return why_text(task)
    waits = wait_reason(task, draw.view.waiting, draw.now_us) or task.reason
    return waits or (f"the attempt before: {task.error}" if task.error else "")


def left_edge(model: DagModel, key: str, left: int, width: int) -> int:
    """Which cell of the rail to show first, so that the lane of a row is within `width` cells."""
    rail = model.rail
    if rail is None or rail.width <= width or key not in rail.graph:
        return 0
    lane = rail.lane(rail.row(key)) * 2
    return min(max(left, lane - width + 3), max(0, lane - 2))


def label_cell(model: DagModel, row: DagRow, glyphs: Glyphs) -> Cell:
    """Name, of a group with how far it is, and the mark of the critical path."""
    state = model.tally.state(row.key)
    critical = row.key in model.critical
    role = "accent" if critical else "dim" if state in _QUIET else "strong"
    spans: list[Span] = []
    if row.group is None:
        spans += foreign(row.key, role, glyphs)
    else:
        drawn = dag_glyphs(glyphs)
        spans += foreign(row.group.title(drawn), role, glyphs)
        spans += [(" ", "text"), *summary(row.group, model.tally.counts(row.key), drawn)]
    if critical:
        spans.append((f" {glyphs.leader}", "accent"))
    return tuple(spans)


def rail_cell(model: DagModel, row: DagRow, glyphs: Glyphs, left: int, width: int) -> Cell:
    """Lanes and node, or in a list the node alone."""
    drawn, rail = dag_glyphs(glyphs), model.rail
    if rail is None:
        state = model.tally.state(row.key)
        return ((drawn.nodes[state], ROLES[state]),)
    if row.key not in rail.graph:
        return ((" " * width, "text"),)  # folded away since the table listed it; the next refresh has it no more
    number = rail.row(row.key)
    return rail.cell(number, model.tally.state, drawn, left=left, width=width, group=row.group is not None)


def state_cell(model: DagModel, row: DagRow, glyphs: Glyphs) -> Cell:
    """Glyph and word; of a group those of its whole, with how many failed."""
    if row.task is not None:
        return task_state(row.task, glyphs)
    state = model.tally.state(row.key)
    word, glyph, role = TASK_WORDS[types_pb2.TaskState.ValueType(GROUP_STATES[state])]
    count = f"{count_of(model.tally.counts(row.key)[state])} " if state is State.FAILED else ""
    return ((f"{glyphs.of(glyph)} {count}{word}", role),)


def _draw_run(row: DagRow, draw: Draw, _width: int) -> Cell:
    ran = run_us(row.task, draw.now_us) if row.task is not None else None
    if row.task is None or ran is None:
        return EMPTY
    counting = row.task.state == types_pb2.TASK_STATE_RUNNING
    text = age(ran) if counting and ran < 100_000_000 else span_of_time(ran)
    return ((text, "busy" if counting else "dim"),)


def _draw_exit(row: DagRow, _draw: Draw, _width: int) -> Cell:
    text = _exit(row)
    return ((text, "dim" if text == "0" else "bad"),) if text else EMPTY


def _exit(row: DagRow) -> str:
    """How it ended; nothing of what is to run again."""
    return exit_text(row.task) if row.task is not None and row.task.state in ENDED else ""


def _attempt(row: DagRow) -> int:
    return row.task.attempt if row.task is not None else 0


def _started_us(row: DagRow) -> int:
    return row.task.started_at_us if row.task is not None else 0


def _draw_attempt(row: DagRow, _draw: Draw, _width: int) -> Cell:
    if row.task is None:
        return EMPTY
    return ((str(row.task.attempt), "warn" if row.task.attempt else "dim"),)


def _node(row: DagRow) -> str:
    waits = row.task is None or STATES.get(row.task.state) in (State.WAITING, None)
    return "" if row.task is None or waits or row.task.state == types_pb2.TASK_STATE_QUEUED else row.task.node


def _draw_node(row: DagRow, draw: Draw, _width: int) -> Cell:
    return foreign(_node(row), "text", draw.glyphs) if _node(row) else EMPTY


def _of_task(get: Callable[[Task], str]) -> Callable[[DagRow], str]:
    return lambda row: get(row.task) if row.task is not None else ""


def _number(get: Callable[[Task], float | None]) -> Callable[[DagRow], float | None]:
    return lambda row: get(row.task) if row.task is not None else None


def _exit_code(task: Task) -> float | None:
    return float(task.result.exit_code) if task.result.HasField("exit_code") else None


_FIELDS: tuple[Field[DagRow], ...] = (
    Field("id", _of_task(lambda task: task.id)),
    Field("key", lambda row: row.key),
    Field("state", _of_task(state_word)),
    Field("node", _node),
    Field("skip", _of_task(skip_word)),
    Field("rule", _of_task(lambda task: RULES.get(task.rule, ""))),
    Field("error", _of_task(lambda task: task.error)),
    Field("template", _of_task(lambda task: task.template)),
    Field("attempt", _number(lambda task: float(task.attempt)), numeric=True),
    Field("exit", _number(_exit_code), numeric=True),
)


def dag_spec(model: DagModel, left: Callable[[int], int]) -> TableSpec[DagRow]:
    """The table of one DAG. `left` says from which cell on the rail is shown, given how many are."""

    def draw_task(row: DagRow, draw: Draw, width: int) -> Cell:
        lanes = rail_cells(model, width)
        name = label_cell(model, row, draw.glyphs)
        return (*rail_cell(model, row, draw.glyphs, left(lanes), lanes), (" ", "text"), *name)

    def draw_why(row: DagRow, draw: Draw, _width: int) -> Cell:
        if row.task is None:
            return EMPTY
        role = "bad" if row.task.state in FAILED_STATES else "dim"
        text = dag_why(model, row.task, draw)
        return foreign(text, role, draw.glyphs) if text else EMPTY

    return TableSpec(
        columns=(
            Column("task", "TASK", 24, draw_task, lambda row: row.position, flex=4, most=90),
            Column("state", "STATE", 13, lambda row, draw, _: state_cell(model, row, draw.glyphs),
                   lambda row: _ORDER.get(model.tally.state(row.key), 99)),
            Column("node", "NODE", 8, _draw_node, _node, flex=1, most=16),
            Column("attempt", "ATT", 3, _draw_attempt, _attempt, True, "right"),
            Column("run", "RUN", 6, _draw_run, _started_us, True, "right"),
            Column("exit", "EXIT", 5, _draw_exit, _exit, align="right", rank=4),
            Column("why", "WHY", 20, draw_why, _of_task(why_text), flex=6, rank=5),
        ),
        sort="task",
        fields=_FIELDS,
        empty="No tasks are known of it yet.",
    )  # fmt: skip


def rail_cells(model: DagModel, width: int) -> int:
    """Cells of `width` that lanes get."""
    label = min(LEAST_LABEL, model.label_chars + 2)
    return min(model.rail.width, max(1, width - label)) if model.rail is not None else 1


def layer_labels(model: DagModel, glyphs: Glyphs) -> dict[str, str]:
    """What stands beside each node in layers: it does not change with states."""
    drawn = dag_glyphs(glyphs)
    labels: dict[str, str] = {}
    for key in model.view.graph.keys:
        group = model.view.group(key)
        name = f"{group.title(drawn)} {drawn.times}{len(group.tasks)}" if group is not None else key
        mark = f" {glyphs.leader}" if key in model.critical else ""
        labels[key] = clean(name, ascii_only=glyphs.ascii_only) + mark
    return labels
