"""The events table."""

from __future__ import annotations

from cortex.v1 import types_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.drawing.draw import EMPTY, Cell, age, clock, foreign
from tui.drawing.text import clean
from tui.lists.filter import Field, since

Event = types_pb2.Event

EVENT_WORDS: dict[int, tuple[str, str, str]] = {
    # type: word, name of its glyph, role
    types_pb2.EVENT_TYPE_SUBMITTED: ("submitted", "queued", "wait"),
    types_pb2.EVENT_TYPE_ASSIGNED: ("assigned", "assigned", "wait"),
    types_pb2.EVENT_TYPE_STARTED: ("started", "running", "busy"),
    types_pb2.EVENT_TYPE_COMPLETED: ("completed", "completed", "ok"),
    types_pb2.EVENT_TYPE_FAILED: ("failed", "failed", "bad"),
    types_pb2.EVENT_TYPE_READY: ("ready", "active", "ok"),
    types_pb2.EVENT_TYPE_PUT_OFF: ("put off", "queued", "warn"),
    types_pb2.EVENT_TYPE_RETRIED: ("retried", "skipped", "warn"),
    types_pb2.EVENT_TYPE_CANCELLED: ("cancelled", "cancelled", "dim"),
    types_pb2.EVENT_TYPE_DEAD_LETTERED: ("dead letter", "dead", "bad"),
    types_pb2.EVENT_TYPE_SKIPPED: ("skipped", "skipped", "dim"),
    types_pb2.EVENT_TYPE_REJECTED: ("rejected", "failed", "warn"),
    types_pb2.EVENT_TYPE_RECALLED: ("recalled", "queued", "warn"),
    types_pb2.EVENT_TYPE_MIGRATED: ("migrated", "draining", "warn"),
    types_pb2.EVENT_TYPE_LOST: ("lost", "lost", "bad"),
    types_pb2.EVENT_TYPE_ESCALATED: ("escalated", "lost", "bad"),
    types_pb2.EVENT_TYPE_CANCEL_REQUESTED: ("cancelling", "cancelled", "warn"),
    types_pb2.EVENT_TYPE_MIGRATE_REQUESTED: ("migrating", "draining", "warn"),
    types_pb2.EVENT_TYPE_NODE_JOINED: ("joined", "active", "ok"),
    types_pb2.EVENT_TYPE_NODE_OFFLINE: ("offline", "offline", "bad"),
    types_pb2.EVENT_TYPE_NODE_CORDONED: ("cordoned", "cordoned", "warn"),
    types_pb2.EVENT_TYPE_NODE_UNCORDONED: ("uncordoned", "active", "ok"),
    types_pb2.EVENT_TYPE_NODE_REMOVED: ("removed", "offline", "warn"),
    types_pb2.EVENT_TYPE_SETTING_CHANGED: ("setting", "active", "dim"),
    types_pb2.EVENT_TYPE_HISTORY_TRIMMED: ("trimmed", "skipped", "dim"),
    types_pb2.EVENT_TYPE_RELEASED: ("released", "queued", "wait"),
    types_pb2.EVENT_TYPE_CONDITION_UNANSWERED: ("no verdict", "lost", "warn"),
    types_pb2.EVENT_TYPE_REASSIGNED: ("reassigned", "queued", "warn"),
    types_pb2.EVENT_TYPE_ANNOTATED: ("annotated", "active", "dim"),
    types_pb2.EVENT_TYPE_PRIORITY_CHANGED: ("priority", "active", "dim"),
    types_pb2.EVENT_TYPE_NODE_SUSPECTED: ("suspected", "lost", "warn"),
    types_pb2.EVENT_TYPE_NODE_DRAINING: ("draining", "draining", "warn"),
    types_pb2.EVENT_TYPE_NODE_DRAINED: ("drained", "drained", "warn"),
    types_pb2.EVENT_TYPE_LEARNER_ADDED: ("learner", "queued", "wait"),
    types_pb2.EVENT_TYPE_VOTER_ADDED: ("voter", "active", "ok"),
    types_pb2.EVENT_TYPE_VOTER_REMOVED: ("no voter", "cancelled", "warn"),
    types_pb2.EVENT_TYPE_LEVEL_RAISED: ("level", "active", "dim"),
    types_pb2.EVENT_TYPE_ALARM: ("alarm", "lost", "bad"),
    types_pb2.EVENT_TYPE_WORKFLOW_SUBMITTED: ("wf submit", "queued", "wait"),
    types_pb2.EVENT_TYPE_WORKFLOW_STARTED: ("wf start", "running", "busy"),
    types_pb2.EVENT_TYPE_WORKFLOW_ENDED: ("wf end", "completed", "dim"),
    types_pb2.EVENT_TYPE_WORKFLOW_RESUMED: ("wf resume", "skipped", "warn"),
    types_pb2.EVENT_TYPE_WORKFLOW_CANCEL_REQUESTED: ("wf cancel", "cancelled", "warn"),
    types_pb2.EVENT_TYPE_OPERATION_SCHEDULED: ("op planned", "queued", "wait"),
    types_pb2.EVENT_TYPE_OPERATION_BEGUN: ("op begun", "running", "busy"),
    types_pb2.EVENT_TYPE_OPERATION_ENDED: ("op ended", "completed", "dim"),
    types_pb2.EVENT_TYPE_OPERATION_UNDONE: ("op undone", "cancelled", "warn"),
}


def word(event: Event) -> str:
    return EVENT_WORDS.get(event.type, ("unknown", "", ""))[0]


def order(event: Event) -> tuple[int, int]:
    """Place of an event in the log: index, then number within the entry."""
    _, _, number = event.id.partition("-")
    return (event.index, int(number) if number.isascii() and number.isdigit() else 0)


def _draw_type(event: Event, draw: Draw, _width: int) -> Cell:
    text, glyph, role = EVENT_WORDS.get(event.type, ("unknown", "?", "dim"))
    return ((f"{draw.glyphs.of(glyph)} {text}", role),)


def about(event: Event) -> str:
    """Id of the task, or of the workflow if the event is the workflow's own."""
    return event.task or (event.workflow if event.workflow_state else "")


def _draw_task(event: Event, draw: Draw, _width: int) -> Cell:
    if not event.task:
        return foreign(about(event), "strong", draw.glyphs) if about(event) else EMPTY
    task = draw.view.tasks.get(event.task)
    name = task.name if task is not None and task.name else event.task
    return foreign(name, "strong", draw.glyphs)


def _draw_detail(event: Event, draw: Draw, _width: int) -> Cell:
    return foreign(event.detail, "text", draw.glyphs) if event.detail else EMPTY


def _draw_node(event: Event, draw: Draw, _width: int) -> Cell:
    return foreign(event.node, "text", draw.glyphs) if event.node else EMPTY


def _draw_time(event: Event, _draw: Draw, _width: int) -> Cell:
    return ((clock(event.at_us), "dim"),)


def _draw_index(event: Event, _draw: Draw, _width: int) -> Cell:
    return ((f"{event.index:,}", "dim"),)


def _draw_actor(event: Event, draw: Draw, _width: int) -> Cell:
    return ((clean(event.actor or "cluster", ascii_only=draw.glyphs.ascii_only), "dim"),)


OF_OPERATIONS = frozenset(
    {
        types_pb2.EVENT_TYPE_OPERATION_SCHEDULED,
        types_pb2.EVENT_TYPE_OPERATION_BEGUN,
        types_pb2.EVENT_TYPE_OPERATION_ENDED,
        types_pb2.EVENT_TYPE_OPERATION_UNDONE,
    }
)
"""Events of an operation itself."""


def object_of(event: Event) -> str:
    """Id of what it was done to."""
    return event.task or event.workflow or event.node or (event.operation if event.type in OF_OPERATIONS else "")


def _draw_object(event: Event, draw: Draw, width: int) -> Cell:
    if event.task:
        return _draw_task(event, draw, width)
    return foreign(object_of(event), "strong", draw.glyphs) if object_of(event) else EMPTY


def _draw_operation(event: Event, draw: Draw, _width: int) -> Cell:
    return foreign(event.operation, "dim", draw.glyphs) if event.operation else EMPTY


_TIME: Column[Event] = Column(
    "time", "TIME (UTC)", 12, lambda event, _d, _w: ((clock(event.at_us), "dim"),), order, True
)
_TYPE: Column[Event] = Column("type", "EVENT", 13, _draw_type, word)
_TASK: Column[Event] = Column("task", "TASK", 14, _draw_task, about, flex=1, most=32)
_NODE: Column[Event] = Column("node", "NODE", 8, _draw_node, lambda event: event.node, flex=1, most=16)
_DETAIL: Column[Event] = Column("detail", "DETAIL", 26, _draw_detail, lambda event: event.detail, flex=4)
_ATTEMPT: Column[Event] = Column(
    "attempt", "ATT", 3, lambda event, _d, _w: ((str(event.attempt), "dim"),) if event.task else EMPTY, None,
    align="right", rank=5,
)  # fmt: skip

_FIELDS: tuple[Field[Event], ...] = (
    Field("type", word),
    Field("task", about),
    Field("workflow", lambda event: event.workflow),
    Field("operation", lambda event: event.operation),
    Field("node", lambda event: event.node),
    Field("detail", lambda event: event.detail),
    Field("actor", lambda event: event.actor or "cluster"),
    Field("index", lambda event: float(event.index), numeric=True),
    Field("attempt", lambda event: float(event.attempt), numeric=True),
    since("age", lambda event: event.at_us),
)

EVENTS: TableSpec[Event] = TableSpec(
    columns=(
        _TIME,
        Column("age", "AGE", 4, lambda event, draw, _w: ((age(draw.now_us - event.at_us), "dim"),), None,
               align="right", rank=4),
        _TYPE,
        _TASK,
        _NODE,
        _ATTEMPT,
        _DETAIL,
        Column("actor", "ACTOR", 10, _draw_actor, lambda event: event.actor, rank=6, flex=1, most=18),
        Column("index", "INDEX", 9, _draw_index, order, True, "right", rank=7),
    ),
    sort="time",
    fields=_FIELDS,
    empty="No events yet.",
)  # fmt: skip

AUDIT: TableSpec[Event] = TableSpec(
    columns=(
        _TIME,
        Column("actor", "WHO", 12, _draw_actor, lambda event: event.actor, flex=1, most=24),
        Column("type", "DID", 13, _draw_type, word),
        Column("object", "TO", 14, _draw_object, object_of, flex=2, most=32),
        Column("detail", "DETAIL, RESULT", 16, _draw_detail, lambda event: event.detail, flex=4, rank=4),
        Column(
            "operation", "OPERATION", 14, _draw_operation, lambda event: event.operation, flex=1, most=28, rank=5
        ),
        Column("index", "INDEX", 9, _draw_index, order, True, "right", rank=7),
    ),
    sort="time",
    fields=_FIELDS,
    empty="Nobody has asked for anything yet.",
)  # fmt: skip

TASK_HISTORY: TableSpec[Event] = TableSpec(
    columns=(_TIME, _TYPE, _NODE, _ATTEMPT, _DETAIL),
    sort="time",
    fields=_FIELDS,
    empty="No events are kept of this.",
)

NODE_HISTORY: TableSpec[Event] = TableSpec(
    columns=(_TIME, _TYPE, _TASK, _ATTEMPT, _DETAIL),
    sort="time",
    fields=_FIELDS,
    empty="No events are kept of this.",
)
