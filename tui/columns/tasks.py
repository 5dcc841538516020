"""The queue and the dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cortex.v1 import types_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.drawing.draw import EMPTY, Cell, age, bar, command_of, foreign, span_of_time, task_state
from tui.lists.filter import Field, since, timed
from tui.store.progress import is_starting, worded
from tui.store.view import ENDED
from tui.store.waiting import wait_reason

Task = types_pb2.Task

_URGENCY = {
    types_pb2.TASK_STATE_RUNNING: 0,
    types_pb2.TASK_STATE_ASSIGNED: 1,
    types_pb2.TASK_STATE_QUEUED: 2,
    types_pb2.TASK_STATE_PENDING: 3,
}

_BAR = 10
_RANK = 10**18
_PRIORITY = 10**16
"""More than any time in microseconds."""

STATE_WORDS = {number: name[len("TASK_STATE_") :].lower() for name, number in types_pb2.TaskState.items()}

FAILED_STATES = frozenset({types_pb2.TASK_STATE_FAILED, types_pb2.TASK_STATE_DEAD_LETTER})
QUIET_STATES = ENDED - FAILED_STATES
UNDER_WAY = frozenset({types_pb2.TASK_STATE_ASSIGNED, types_pb2.TASK_STATE_RUNNING})
_HOW = ("The command ", "The service ", "exit code ", "signal ")
"""So begin errors that say only how a command ended; what drives agents, containers and handlers says more."""
_BY_ITSELF = frozenset(
    {types_pb2.CAUSE_UNSPECIFIED, types_pb2.CAUSE_EXIT, types_pb2.CAUSE_SIGNAL, types_pb2.CAUSE_OUT_OF_MEMORY}
)

CAUSE_WORDS: dict[int, str] = {
    types_pb2.CAUSE_EXIT: "exit",
    types_pb2.CAUSE_SIGNAL: "signal",
    types_pb2.CAUSE_TIMEOUT: "timeout",
    types_pb2.CAUSE_OUT_OF_MEMORY: "out of memory",
    types_pb2.CAUSE_CANNOT_START: "cannot start",
    types_pb2.CAUSE_CANCEL: "cancel",
    types_pb2.CAUSE_MIGRATE: "migrate",
    types_pb2.CAUSE_LEASE: "lease",
    types_pb2.CAUSE_LOST: "lost",
    types_pb2.CAUSE_QUEUE_TIMEOUT: "queue timeout",
    types_pb2.CAUSE_DRAINED: "drained",
    types_pb2.CAUSE_SUPERVISOR: "supervisor",
    types_pb2.CAUSE_IDLE: "idle",
    types_pb2.CAUSE_RATE_LIMITED: "rate limited",
    types_pb2.CAUSE_VALIDATION: "validation",
    types_pb2.CAUSE_NOT_FOUND: "not found",
    types_pb2.CAUSE_INFRASTRUCTURE: "infrastructure",
}

TYPE_WORDS = {number: name[len("TASK_TYPE_") :].lower() for name, number in types_pb2.TaskType.items()}


def _known(words: Iterable[str]) -> frozenset[str]:
    return frozenset(words) - {"unspecified"}


def state_word(task: Task) -> str:
    return STATE_WORDS.get(task.state, "unknown")


def type_word(task: Task) -> str:
    return TYPE_WORDS.get(task.spec.type, "unknown")


def cause_word(task: Task) -> str:
    return CAUSE_WORDS.get(task.cause, "")


def ended_us(task: Task) -> int:
    return task.completed_at_us or task.dead_lettered_at_us


def wait_us(task: Task, now_us: int) -> int | None:
    """From the last entry into the queue to the assignment, or until now."""
    if not task.queued_at_us:
        return None
    until = task.assigned_at_us if task.assigned_at_us >= task.queued_at_us else 0
    if not until:
        until = ended_us(task) if task.state in ENDED else now_us
    return max(0, until - task.queued_at_us)


def run_us(task: Task, now_us: int) -> int | None:
    """How long the attempt runs or ran; None when it never started."""
    if task.state in ENDED:
        if task.result.usage.wall_us:
            return int(task.result.usage.wall_us)
        return max(0, ended_us(task) - task.started_at_us) if task.started_at_us else None
    if task.state != types_pb2.TASK_STATE_RUNNING or not task.started_at_us:
        return None
    return max(0, now_us - task.started_at_us)


def urgency(task: Task) -> int:
    """Running first, the newest on top; then what waits, in the order it will go; then what ended last.

    One number, for it is compared millions of times: rank, priority and time in decimal places of their own.
    """
    rank = _URGENCY.get(task.state)
    if rank is None:
        return 5 * _RANK - ended_us(task)
    if rank >= 2:
        return rank * _RANK - task.priority * _PRIORITY + (task.queued_at_us or task.created_at_us)
    return (rank + 1) * _RANK - (task.started_at_us or task.assigned_at_us) - 20 * _PRIORITY


def exit_text(task: Task, *, past: bool = False) -> str:
    """How the last attempt ended; with `past` also while another one is under way."""
    if not task.HasField("result") or (task.state in UNDER_WAY and not past):
        return ""
    if task.result.signal:
        return f"sig{task.result.signal}"
    return str(task.result.exit_code) if task.result.HasField("exit_code") else ""


def last_words(task: Task) -> str:
    """The last line that a failed attempt wrote to stderr, else to stdout; empty when there is none."""
    if task.state not in FAILED_STATES or not task.HasField("result"):
        return ""
    for kept in (task.result.stderr, task.result.stdout):
        text = kept.head + kept.tail or kept.last_line
        lines = text.decode("utf-8", "backslashreplace").strip().splitlines()
        if lines:
            return lines[-1].strip()
    return ""


def what_failed(task: Task) -> str:
    """In one line: what the command said last, unless the error tells more than how it ended."""
    told = task.cause not in _BY_ITSELF or not task.error.startswith(_HOW)
    return (task.error if told else "") or last_words(task) or task.error


def endpoints_text(task: Task) -> str:
    """Where a service is reached, on one line; empty unless it is ready."""
    if not task.ready_at_us or task.state != types_pb2.TASK_STATE_RUNNING:
        return ""
    return ", ".join(f"{item.name} {item.value}" for item in task.endpoints)


def why_text(task: Task) -> str:
    """What an operator wants to know next: what the command said, the error, why it waits, where it is reached."""
    return what_failed(task) or task.reason or task.cancel_reason or endpoints_text(task)


def progress_cell(told: types_pb2.TaskProgress, draw: Draw, width: int) -> Cell:
    """A bar `width` cells wide where the total is known, and the words."""
    words = foreign(worded(told), "text", draw.glyphs)
    if told.total <= 0:
        return words
    return (*bar(told.current, told.total, width, "busy", draw.glyphs), (" ", "text"), *words)


def _draw_name(task: Task, draw: Draw, _width: int) -> Cell:
    name = task.name or command_of(task.spec).split(b" ", 1)[0]
    return foreign(name, "dim" if task.state in QUIET_STATES else "strong", draw.glyphs)


def _draw_command(task: Task, draw: Draw, _width: int) -> Cell:
    return foreign(command_of(task.spec), "dim" if task.state in QUIET_STATES else "text", draw.glyphs)


def _draw_state(task: Task, draw: Draw, _width: int) -> Cell:
    return task_state(task, draw.glyphs, starting=is_starting(task, draw.view.progress.of(task)))


def _draw_priority(task: Task, _draw: Draw, _width: int) -> Cell:
    return ((str(task.priority), "accent" if task.priority >= 8 else "text" if task.priority else "dim"),)


def _draw_age(task: Task, draw: Draw, _width: int) -> Cell:
    return ((age(draw.now_us - task.created_at_us), "dim"),) if task.created_at_us else EMPTY


def _draw_dead_age(task: Task, draw: Draw, _width: int) -> Cell:
    return ((age(draw.now_us - ended_us(task)), "dim"),) if ended_us(task) else EMPTY


def _draw_wait(task: Task, draw: Draw, _width: int) -> Cell:
    waited = wait_us(task, draw.now_us)
    if waited is None:
        return EMPTY
    counting = task.state == types_pb2.TASK_STATE_QUEUED
    return ((_time_of(waited, counting), "wait" if counting else "dim"),)


def _draw_run(task: Task, draw: Draw, _width: int) -> Cell:
    ran = run_us(task, draw.now_us)
    if ran is None:
        return EMPTY
    counting = task.state == types_pb2.TASK_STATE_RUNNING
    return ((_time_of(ran, counting), "busy" if counting else "dim"),)


def _time_of(duration_us: int, counting: bool) -> str:
    """What counts up is drawn in whole seconds: once a second, not ten times."""
    return age(duration_us) if counting and duration_us < 100_000_000 else span_of_time(duration_us)


def _draw_exit(task: Task, _draw: Draw, _width: int) -> Cell:
    text = exit_text(task)
    return ((text, "dim" if text == "0" else "bad"),) if text else EMPTY


def _draw_why(task: Task, draw: Draw, width: int) -> Cell:
    if (told := draw.view.progress.of(task)) is not None:
        return progress_cell(told, draw, min(_BAR, width // 3))
    text = wait_reason(task, draw.view.waiting, draw.now_us) or why_text(task)
    return foreign(text, "bad" if task.state in FAILED_STATES else "dim", draw.glyphs) if text else EMPTY


def _draw_attempt(task: Task, _draw: Draw, _width: int) -> Cell:
    return ((str(task.attempt), "warn" if task.attempt else "dim"),)


def _text(get: Callable[[Task], str], role: str = "text") -> Callable[[Task, Draw, int], Cell]:
    def draw(task: Task, draw: Draw, _width: int) -> Cell:
        value = get(task)
        return foreign(value, role, draw.glyphs) if value else EMPTY

    return draw


def _placed_on(task: Task) -> str:
    """The node that it is on or ended on; one that waits again is on none."""
    return "" if task.state in (types_pb2.TASK_STATE_PENDING, types_pb2.TASK_STATE_QUEUED) else task.node


_draw_node = _text(_placed_on)
_draw_id = _text(lambda task: task.id, "dim")


def _name_key(task: Task) -> str:
    return task.name.lower()


def _command_key(task: Task) -> bytes:
    # Made for a hundred thousand rows at once: each call counts.
    spec = task.spec
    return spec.shell_command or command_of(spec)


_NAME: Column[Task] = Column("name", "NAME", 9, _draw_name, _name_key, flex=1, most=20)
_COMMAND: Column[Task] = Column("command", "COMMAND", 14, _draw_command, _command_key, flex=3)
_NODE: Column[Task] = Column("node", "NODE", 8, _draw_node, _placed_on, flex=1, most=16)
_ATTEMPT: Column[Task] = Column("attempt", "ATT", 3, _draw_attempt, lambda task: task.attempt, True, "right")
_EXIT: Column[Task] = Column("exit", "EXIT", 5, _draw_exit, exit_text, align="right", rank=5)
_WHY: Column[Task] = Column("why", "WHY", 24, _draw_why, why_text, flex=4, rank=6)
_ID: Column[Task] = Column(
    "id", "ID", 12, _text(lambda task: task.id, "dim"), lambda task: task.id, rank=8, most=28, flex=1
)

_FIELDS: tuple[Field[Task], ...] = (
    Field("id", lambda task: task.id),
    Field("name", lambda task: task.name),
    Field("state", state_word, words=_known(STATE_WORDS.values())),
    Field("type", type_word, words=_known(TYPE_WORDS.values())),
    Field("command", lambda task: command_of(task.spec).decode("utf-8", "replace")),
    Field("node", lambda task: task.node),
    Field("error", lambda task: task.error),
    Field("cause", cause_word, words=frozenset(CAUSE_WORDS.values())),
    Field("priority", lambda task: float(task.priority), numeric=True),
    Field("attempt", lambda task: float(task.attempt), numeric=True),
    Field("exit", lambda task: float(task.result.exit_code) if task.result.HasField("exit_code") else None, True),
    since("age", lambda task: task.created_at_us),
    timed("wait", wait_us),
    timed("run", run_us),
)


def _around(draw: Draw) -> object:
    """Why others wait, how far they are, and the second, by which ages grow."""
    return draw.view.reasons, draw.view.progress.version, draw.now_us // 1_000_000


QUEUE: TableSpec[Task] = TableSpec(
    columns=(
        Column("state", "STATE", 13, _draw_state, urgency),
        Column("priority", "PRI", 3, _draw_priority, lambda task: task.priority, True, "right"),
        _NAME,
        _COMMAND,
        _NODE,
        _ATTEMPT,
        Column("age", "AGE", 4, _draw_age, lambda task: -task.created_at_us, False, "right"),
        Column("wait", "WAIT", 6, _draw_wait, lambda task: task.queued_at_us, False, "right"),
        Column("run", "RUN", 6, _draw_run, lambda task: task.started_at_us, True, "right"),
        _EXIT,
        _WHY,
        _ID,
    ),
    sort="state",
    fields=_FIELDS,
    empty="No tasks yet. {app.submit} submits one.",
    around=_around,
)

LETTERS: TableSpec[Task] = TableSpec(
    columns=(
        Column("age", "DEAD", 4, _draw_dead_age, lambda task: -ended_us(task), False, "right"),
        _NAME,
        _COMMAND,
        Column("cause", "CAUSE", 13, _text(cause_word, "warn"), cause_word),
        Column("exit", "EXIT", 5, _draw_exit, exit_text, align="right"),
        _ATTEMPT,
        _NODE,
        _WHY,
        Column("fingerprint", "FINGERPRINT", 11, _text(lambda task: task.fingerprint[:11], "dim"), rank=7,
               sort=lambda task: task.fingerprint),
        _ID,
    ),
    sort="age",
    fields=(*_FIELDS, since("dead", ended_us)),
    empty="No dead letters: everything ended well, or was retried.",
    around=_around,
)  # fmt: skip
