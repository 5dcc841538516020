"""Drain plans as a rehearsal sheet, and as the JSON documents that scripts rely on. Pure."""

from __future__ import annotations

from typing import Any

from cortex.v1 import types_pb2
from tui.drawing.format import Column, duration, table
from tui.drawing.text import clean

Document = dict[str, Any]

ENDED = frozenset(
    {
        types_pb2.OPERATION_STATE_DONE,
        types_pb2.OPERATION_STATE_STOPPED,
        types_pb2.OPERATION_STATE_UNDONE,
        types_pb2.OPERATION_STATE_REFUSED,
    }
)
_MOVES = (Column("TASK"), Column("TO"), Column("REASON", shrinks=True))
_RESULTS = (Column("TASK"), Column("FORECAST"), Column("WENT TO"), Column("REASON", shrinks=True))


def document(plan: types_pb2.DrainPlan) -> Document:
    """What `drain --dry-run` prints."""
    quorum = plan.quorum
    return {
        "plan_id": plan.id,
        "node": plan.node,
        "moves": [{"task": move.task, "to": move.to or None, "reason": move.reason} for move in plan.moves],
        "stuck": [_stuck(item) for item in plan.stuck],
        "quorum": {
            "voters": quorum.voters,
            "up": quorum.up,
            "needed": quorum.needed,
            "up_without": quorum.up_without,
            "ok": quorum.ok,
        },
        "eta_s": plan.eta_ms / 1000,
        "deadline_s": plan.deadline_ms / 1000 if plan.deadline_ms else None,
        "index": plan.index,
    }


def _stuck(item: types_pb2.DrainStuck) -> Document:
    return {"task": item.task, "reason": item.reason, "dead_letter": item.dead_letter}


def result(operation: types_pb2.Operation) -> Document:
    """What became of a drain, beside what a mutation prints."""
    return {"state": state_name(operation), "outcome": operation.outcome or None, **forecast(operation)}


def forecast(operation: types_pb2.Operation) -> Document:
    """The plan of a drain with what happened, as far as that is known."""
    plan = operation.drain
    return {
        "eta_s": plan.eta_ms / 1000,
        "took_s": plan.took_ms / 1000 if operation.state == types_pb2.OPERATION_STATE_DONE else None,
        "moves": [
            {"task": move.task, "to": move.to or None, "actual": move.actual or None, "reason": move.reason}
            for move in plan.moves
        ],
        "stuck": [_stuck(item) for item in plan.stuck],
    }


def state_name(operation: types_pb2.Operation) -> str:
    return types_pb2.OperationState.Name(operation.state).removeprefix("OPERATION_STATE_").lower()


def sheet(plan: types_pb2.DrainPlan, width: int | None = None) -> list[str]:
    """Lines for a person: what would happen to each task, to the quorum, and how long it would take."""
    lines = [f"Drain of {clean(plan.node)}, rehearsed at log index {plan.index}. Nothing was changed.", ""]
    if plan.moves:
        rows = [(move.task, move.to or "(waits)", move.reason) for move in plan.moves]
        lines += [*table(_MOVES, rows, width=width), ""]
    if plan.stuck:
        rows = [(item.task, "DEAD LETTER" if item.dead_letter else "STUCK", item.reason) for item in plan.stuck]
        lines += [*table(_MOVES, rows, width=width), ""]
    return [*lines, *summary(plan)]


def summary(plan: types_pb2.DrainPlan) -> list[str]:
    """The sheet without its lists."""
    waiting = sum(not move.to for move in plan.moves)
    dead = sum(item.dead_letter for item in plan.stuck)
    parts = [f"{_tasks(len(plan.moves) - waiting)} would land elsewhere"]
    if waiting:
        parts.append(f"{waiting} would wait for room")
    if len(plan.stuck) - dead:
        parts.append(f"{len(plan.stuck) - dead} would have nowhere to go")
    if dead:
        parts.append(f"{dead} would become {'a dead letter' if dead == 1 else 'dead letters'} at the deadline")
    quorum = plan.quorum
    verdict = "enough" if quorum.ok else "NOT ENOUGH"
    within = f"{duration(plan.deadline_ms * 1000)} at most" if plan.deadline_ms else "no deadline"
    return [
        f"tasks:  {', '.join(parts)}.",
        f"quorum: {quorum.up} of {quorum.voters} voters are up, {quorum.needed} are needed; "
        f"{quorum.up_without} with {clean(plan.node)} switched off: {verdict}.",
        f"time:   about {duration(plan.eta_ms * 1000)}, {within}.",
    ]


def moves(operation: types_pb2.Operation, width: int | None = None) -> list[str]:
    """The plan's tasks, with where they went when the drain is done."""
    plan, done = operation.drain, operation.state == types_pb2.OPERATION_STATE_DONE
    rows = [
        (one.task, one.to or "(waits)", (one.actual or "(waits)") if done else "", one.reason) for one in plan.moves
    ]
    rows += [(one.task, "DEAD LETTER" if one.dead_letter else "STUCK", "", one.reason) for one in plan.stuck]
    return [*table(_RESULTS, rows, width=width), ""] if rows else []


def ending(operation: types_pb2.Operation, width: int | None = None) -> list[str]:
    """What became of a drain, forecast beside outcome."""
    plan = operation.drain
    lines = moves(operation, width) if operation.state == types_pb2.OPERATION_STATE_DONE else []
    outcome = f": {clean(operation.outcome)}" if operation.outcome else ""
    if operation.state == types_pb2.OPERATION_STATE_DONE:
        took, eta = duration(plan.took_ms * 1000), duration(plan.eta_ms * 1000)
        lines.append(f"{clean(operation.node)} is drained after {took} (estimated {eta}){outcome}.")
    else:
        lines.append(f"The drain of {clean(operation.node)} was {state_name(operation)}{outcome}.")
    return lines


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"
