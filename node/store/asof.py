"""What a row was at a past moment: the row as it is, and its events before and after. Pure.

Exact are ids, names, specification, priority, state, node, attempt, run and what never changes. Times and the fence
are exact or absent. What neither row nor events tell any more (result, error and so on of another attempt) is
absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Event, Node, Operation, Task, Workflow
from node.core import rules
from node.core.model import ASSIGNED, DEAD_LETTER, ENDED, ON_NODE, QUEUED

_NEVER_CHANGE = (
    "id", "name", "submit_key", "workflow_id", "task_key", "created_at_us", "created_index", "actor", "member",
    "condition", "rule", "can_fail", "finally", "template",
)  # fmt: skip
# Whatever is set for later is not known of then; what was set before and still stands, stood then.
_TIMES = (
    "queued_at_us", "assigned_at_us", "started_at_us", "completed_at_us", "dead_lettered_at_us", "lost_at_us",
    "revived_at_us", "escalated_at_us",
)  # fmt: skip
_WORKFLOW_NEVER = (
    "id", "name", "policy", "max_failures", "count", "actor", "submit_key", "created_at_us", "created_index",
)  # fmt: skip
# Failures that a task keeps; with so many, older ones may have gone.
_FAILURES_KEPT = 10


@dataclass(frozen=True, slots=True)
class At:
    """A moment: after the entry `index`, at leader time `at_us` (unix microseconds)."""

    index: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Moment:
    """Which moment is meant: an index, or a leader time; `now_us` tells what is still to come."""

    index: int
    at_us: int
    now_us: int


def task_as_of(row: Task, events: Sequence[Event], at: At) -> Task:
    """The task after `at`, which it was there at. `events` are its own, in order, all that are later than `at`."""
    if row.modified_index <= at.index:
        return row
    own = [event for event in events if event.state]
    later = [event for event in own if event.index > at.index]
    past = [event for event in own if event.index <= at.index]
    was = Task()
    _copy(row, was, _NEVER_CHANGE)
    was.depends_on.extend(row.depends_on)
    if later:
        first = later[0]
        was.state, was.node, was.attempt, was.run = (
            first.was_state,
            first.was_node,
            first.was_attempt,
            first.was_run,
        )
    else:
        was.state, was.node, was.attempt, was.run = row.state, row.node, row.attempt, row.run
    was.priority = next((event.was_priority for event in later if event.HasField("was_priority")), row.priority)
    edited = next((event for event in later if event.HasField("was_spec")), None)
    was.spec.CopyFrom(row.spec if edited is None else edited.was_spec)
    changes = [event.index for event in past if event.type != types_pb2.EVENT_TYPE_REJECTED]
    was.modified_index = changes[-1] if changes else 0
    _fill_from_events(was, past)
    letter = next((event.was_letter for event in later if event.HasField("was_letter")), None)
    if letter is not None and was.state == DEAD_LETTER:
        was.fingerprint, was.dead_lettered_at_us, was.error = (
            letter.fingerprint,
            letter.dead_lettered_at_us,
            letter.error,
        )
    if 0 < row.fence <= at.index:
        was.fence = row.fence
        if row.HasField("placement"):
            was.placement.CopyFrom(row.placement)
    for name in _TIMES:
        value = getattr(row, name)
        if 0 < value <= at.at_us:
            setattr(was, name, value)
    _fill_lists(was, row, at)
    was.operation = next((event.was_operation for event in later if event.HasField("was_operation")), row.operation)
    return was


def _fill_from_events(was: Task, past: Iterable[Event]) -> None:
    """Times, fence and requests under way, as far as events that are kept tell them."""
    index, state = 0, 0
    for event in past:
        before = event.was_state or (state if event.index == index else 0)
        index, state = event.index, event.state
        if event.type == types_pb2.EVENT_TYPE_REJECTED:
            # It changed nothing, whatever the events before it said that were trimmed.
            continue
        if event.type == types_pb2.EVENT_TYPE_ASSIGNED:
            was.fence, was.assigned_at_us, was.started_at_us = event.index, event.at_us, 0
        elif event.type == types_pb2.EVENT_TYPE_STARTED:
            if before == ASSIGNED:
                was.started_at_us = event.at_us
            was.lost_at_us = 0
        elif event.type == types_pb2.EVENT_TYPE_LOST and event.state in ON_NODE:
            was.lost_at_us = event.at_us
        elif event.type == types_pb2.EVENT_TYPE_CANCEL_REQUESTED:
            was.cancel_requested, was.cancel_reason = True, event.detail
        elif event.type == types_pb2.EVENT_TYPE_MIGRATE_REQUESTED:
            was.migrate_requested = True
        if before != event.state:
            _enter(was, event)


def _enter(was: Task, event: Event) -> None:
    """What entering a state sets and clears."""
    if event.state == QUEUED:
        was.queued_at_us = event.at_us
    if event.state in ENDED:
        was.completed_at_us = event.at_us
        if event.state == DEAD_LETTER:
            was.dead_lettered_at_us = event.at_us
    else:
        was.completed_at_us = was.dead_lettered_at_us = 0
    if event.state not in ON_NODE:
        was.lost_at_us = 0
        was.migrate_requested = was.cancel_requested = False
        was.cancel_reason = ""


def _fill_lists(was: Task, row: Task, at: At) -> None:
    was.annotations.extend(note for note in row.annotations if note.at_us <= at.at_us)
    if was.run == row.run and len(row.failures) < _FAILURES_KEPT:
        was.failures.extend(failure for failure in row.failures if failure.at_us <= at.at_us)


def node_as_of(row: Node, later: Event | None, at: At) -> Node | None:
    """The node after `at`; None when it was not there. `later` is its first event after that."""
    if row.modified_index <= at.index or later is None:
        return row
    return later.was_row if later.HasField("was_row") else None


def workflow_as_of(row: Workflow, later: Event | None, members: Sequence[Task], at: At) -> Workflow:
    """The workflow after `at`, which it was there at. `members` are its tasks as they were then."""
    if row.modified_index <= at.index:
        return row
    was = Workflow()
    _copy(row, was, _WORKFLOW_NEVER)
    was.state, was.run = row.state, row.run
    if later is not None:
        was.state, was.run = later.was_workflow_state, later.was_run
    for name in ("started_at_us", "completed_at_us"):
        if 0 < getattr(row, name) <= at.at_us:
            setattr(was, name, getattr(row, name))
    was.remaining = sum(member.state not in ENDED for member in members)
    was.failures = sum(map(rules.counts_as_failure, members))
    return was


def operation_as_of(row: Operation, later: int | None, at: At) -> Operation:
    """The operation after `at`, which it was there at; one that went on since is without counts.

    `later` is the type of the first event since then that it began or ended with.
    """
    was = Operation()
    was.CopyFrom(row)
    if row.modified_index <= at.index:
        was.counts.SetInParent()
        return was
    for name in ("counts", "cursor", "modified_index"):
        was.ClearField(name)
    if row.HasField("bulk"):
        was.bulk.step = was.bulk.step_end = 0
    if row.HasField("drain"):
        was.drain.took_ms = 0
        for move in was.drain.moves:
            move.actual = ""
    if later is None:
        return was
    was.outcome, was.ended_at_us = "", 0
    if later == types_pb2.EVENT_TYPE_OPERATION_BEGUN or not row.begun_at_us:
        was.state, was.begun_at_us = types_pb2.OPERATION_STATE_SCHEDULED, 0
    else:
        was.state = types_pb2.OPERATION_STATE_RUNNING
    return was


def _copy(row: Any, was: Any, names: Iterable[str]) -> None:
    for name in names:
        value = getattr(row, name)
        if value:
            setattr(was, name, value)
