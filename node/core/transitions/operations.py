"""Operations: start, advance, stop. What an operation is about stands with its kind."""

from __future__ import annotations

from collections.abc import Mapping

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import OperationAdvance, OperationStart, OperationStop
from cortex.v1.types_pb2 import Operation, OperationKind
from node.core import checks
from node.core.faults import Code
from node.core.model import LIVE_OPERATION
from node.core.operations import (
    DONE,
    IDS_LIMIT,
    LIVE_LIMIT,
    OUTCOME_LIMIT_CHARS,
    PAGE_LIMIT,
    REFUSED,
    RUNNING,
    SCHEDULED,
    STOPPED,
    UNDONE,
    WINDOW_LIMIT_US,
    kind_name,
    state_name,
    title,
)
from node.core.transitions import bulk, drains, spread, tally
from node.core.transitions.draft import Draft, Refusal
from node.core.transitions.kinds import Act, Items, Kind

KINDS: Mapping[OperationKind.ValueType, Kind] = {
    types_pb2.OPERATION_KIND_RETRY: bulk.RETRY,
    types_pb2.OPERATION_KIND_DISCARD: bulk.DISCARD,
    types_pb2.OPERATION_KIND_PRIORITY: bulk.PRIORITY,
    types_pb2.OPERATION_KIND_RUN: spread.RUN,
    types_pb2.OPERATION_KIND_DRAIN: drains.DRAIN,
}

_CURSOR_LIMIT_CHARS = 300


def start(draft: Draft, command: OperationStart, act: Act) -> Items | Refusal | None:
    """Commit an operation: carried out here and now, or kept until the leader's duty begins it."""
    asked = command.operation
    flaw = _start_flaw(command)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    kind = KINDS.get(asked.kind)
    if kind is None:
        return Refusal(Code.UNSUPPORTED, f"There is no operation of kind {kind_name(asked.kind)} in this release.")
    if draft.operation_row(asked.id) is not None:
        return Refusal(Code.ALREADY_EXISTS, f"There is an operation {asked.id} already.")
    new = _new(draft, asked, command.undo_window_us)
    refusal = kind.check(draft, new)
    if refusal is not None:
        return refusal
    if not command.undo_window_us:
        with draft.on_behalf(new):
            items = kind.at_once(draft, new, act)
        if isinstance(items, Refusal):
            return items
        if items is not None:
            new.begun_at_us = draft.now_us
            if new.state == DONE:
                tally.close(draft, new, DONE, new.outcome)
            else:
                _begun(draft, new)
            tally.put(draft, new)
            return items
    if draft.live_operations() >= LIVE_LIMIT:
        return Refusal(Code.OVERLOADED, f"{LIVE_LIMIT} operations are under way already.")
    with draft.on_behalf(new):
        kind.start(draft, new)
        window_s = command.undo_window_us / 1e6
        detail = f"{title(new)}, may be undone for {window_s:g} s" if window_s else title(new)
        draft.cluster_event(types_pb2.EVENT_TYPE_OPERATION_SCHEDULED, detail, node=new.node)
    tally.put(draft, new)
    return None


def _start_flaw(command: OperationStart) -> str | None:
    asked = command.operation
    if not checks.is_id(asked.id):
        return "The id of an operation, which is its request id, has letters, digits, '.', '_' and '-' only."
    if not 0 <= command.undo_window_us <= WINDOW_LIMIT_US:
        return f"The undo window goes from 0 to {WINDOW_LIMIT_US // 1_000_000} s."
    if len(asked.bulk.ids) > IDS_LIMIT:
        return f"An operation names at most {IDS_LIMIT} tasks, not {len(asked.bulk.ids)}."
    return checks.reason_flaw(asked.reason)


def _new(draft: Draft, asked: Operation, window_us: int) -> Operation:
    new = Operation(id=asked.id, kind=asked.kind, reason=asked.reason, node=asked.node, actor=draft.actor)
    plan = asked.WhichOneof("plan")
    if plan is not None:
        getattr(new, plan).CopyFrom(getattr(asked, plan))
    new.state = SCHEDULED
    new.created_at_us = draft.now_us
    new.not_before_us = draft.now_us + window_us
    new.created_index = new.modified_index = draft.index
    return new


def advance(draft: Draft, command: OperationAdvance, act: Act) -> Items | Refusal | None:
    """One step of the leader's duty. Repeated, or proposed before another leader's step, it is refused."""
    old = draft.operation_row(command.id)
    if old is None:
        return _none(command.id)
    flaw = _advance_flaw(draft, old, command)
    if flaw is not None:
        return Refusal(Code.WRONG_STATE, f"Operation {old.id}: {flaw}")
    kind = KINDS[old.kind]
    refusal = kind.guard(draft, old, command)
    if refusal is not None:
        return refusal
    new = tally.edit(draft, old)
    outcome = command.outcome[:OUTCOME_LIMIT_CHARS]
    with draft.on_behalf(new):
        if command.begin and command.refused:
            tally.close(draft, new, REFUSED, outcome)
        else:
            if command.begin:
                new.state = RUNNING
                new.begun_at_us = draft.now_us
                _begun(draft, new)
            (kind.begin if command.begin else kind.step)(draft, new, command, act)
            new.cursor = command.next_cursor
            if command.done or command.stop:
                tally.close(draft, new, DONE if command.done else STOPPED, outcome or new.outcome)
        if new.state not in LIVE_OPERATION:
            kind.end(draft, new)
    tally.put(draft, new)
    return None


def _begun(draft: Draft, new: Operation) -> None:
    with draft.on_behalf(new):
        draft.cluster_event(types_pb2.EVENT_TYPE_OPERATION_BEGUN, title(new), node=new.node)


def _advance_flaw(draft: Draft, old: Operation, command: OperationAdvance) -> str | None:
    if old.state not in LIVE_OPERATION:
        return f"it is {state_name(old.state)}."
    if (old.state == SCHEDULED) != command.begin:
        return "it has begun already." if command.begin else "it has not begun."
    if command.begin and draft.now_us < old.not_before_us:
        return f"it may be undone for {old.not_before_us - draft.now_us} µs more."
    if command.cursor != old.cursor or len(command.next_cursor) > _CURSOR_LIMIT_CHARS:
        return "it has moved on."
    if command.ids and command.next_cursor == command.cursor:
        return "a step that acts moves its cursor."
    if len(command.ids) > PAGE_LIMIT or len(set(command.ids)) != len(command.ids):
        return f"a step names at most {PAGE_LIMIT} tasks, each once."
    return None


def stop(draft: Draft, command: OperationStop) -> Refusal | None:
    """Undo what has not begun; stop what has, where it stands."""
    old = draft.operation_row(command.id)
    if old is None:
        return _none(command.id)
    flaw = checks.reason_flaw(command.reason)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    if old.state not in LIVE_OPERATION:
        return Refusal(Code.WRONG_STATE, f"Operation {old.id} is {state_name(old.state)} already.")
    if command.undo and old.state != SCHEDULED:
        message = f"Operation {old.id} has begun: what it did is not undone. It can be stopped."
        return Refusal(Code.WRONG_STATE, message)
    new = tally.edit(draft, old)
    by = draft.actor
    undone = old.state == SCHEDULED
    outcome = command.reason or (f"by {by}" if by else "")
    tally.close(draft, new, UNDONE if undone else STOPPED, outcome, by)
    with draft.on_behalf(new):
        KINDS[new.kind].end(draft, new)
    tally.put(draft, new)
    return None


def _none(operation_id: str) -> Refusal:
    return Refusal(Code.NOT_FOUND, f"There is no operation {checks.short(operation_id)}.")
