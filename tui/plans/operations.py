"""Plans about operations: undo what has not begun, stop what has. Pure."""

from __future__ import annotations

import shlex

from cortex.v1 import types_pb2
from tui.columns.base import Draw
from tui.columns.operations import begins_s, brief, progress, state_word
from tui.drawing.draw import Cell, count_of, foreign
from tui.plans.base import Done, Plan, command_line, line, missing
from tui.source import Mutator
from tui.store.operations import LIVE

Operation = types_pb2.Operation


def undo(draw: Draw, key: str, reason: str = "") -> Plan:
    """Take back an operation that has not begun."""
    row = draw.view.operations.get(key)
    waits = row is not None and row.state == types_pb2.OPERATION_STATE_SCHEDULED
    left = () if waits else (_left(row, key, draw, f"has begun: {_stops(draw)} stops it"),)
    said: list[Cell] = []
    if row is not None and waits:
        left_s = begins_s(row, draw)
        said.append(line("text", f"It begins in {left_s} s: nothing has been done of it yet, and nothing will be."))
        said.append(line("dim", "This cannot be undone; the same can be asked for again."))

    async def call(mutator: Mutator) -> Done:
        reply = await mutator.undo_operation(key, reason)
        return Done(f"Undone: {_brief(row, draw)}.", audit=(reply.operation_id,))

    return Plan(
        "undo", f"Undo {_brief(row, draw)}", (operation_line(row, draw),) if row is not None and waits else (),
        tuple(said), left, command_line("undo", [key]) + _reason(reason), frozenset(), (key,), call,
        with_reason=lambda why: undo(draw, key, why), live=True,
    )  # fmt: skip


def stop(draw: Draw, key: str, reason: str = "") -> Plan:
    """End an operation where it stands."""
    row = draw.view.operations.get(key)
    goes_on = row is not None and row.state in LIVE
    left = () if goes_on else (_left(row, key, draw, "has ended"),)

    async def call(mutator: Mutator) -> Done:
        reply = await mutator.stop_operation(key, reason)
        return Done(f"Stopped: {_brief(row, draw)}.", audit=(reply.operation_id,))

    return Plan(
        "stop", f"Stop {_brief(row, draw)}", (operation_line(row, draw),) if row is not None and goes_on else (),
        _stop_said(row) if row is not None and goes_on else (), left,
        f"{command_line('undo', [key])} --stop{_reason(reason)}", frozenset([key]), (key,), call, destroys=True,
        with_reason=lambda why: stop(draw, key, why), live=True,
    )  # fmt: skip


def _stops(draw: Draw) -> str:
    return f"{draw.word('operations', 'stop')} in {draw.word('app', 'operations')}"


def operation_line(row: Operation, draw: Draw) -> Cell:
    """An operation as an object of a plan."""
    glyphs = draw.glyphs
    by: Cell = (("  by ", "dim"), *foreign(row.actor, "text", glyphs)) if row.actor else ()
    return (*foreign(row.id, "strong", glyphs), ("  ", "text"), *progress(row, draw), *by)


def _stop_said(row: Operation) -> tuple[Cell, ...]:
    counts = row.counts
    if row.state == types_pb2.OPERATION_STATE_SCHEDULED:
        first = "It has not begun: nothing has been done of it, and nothing will be."
    elif row.kind == types_pb2.OPERATION_KIND_DRAIN:
        stays = "stays cordoned" if row.drain.keep_cordoned else "is open again if it was before"
        first = f"What has moved stays where it is; what has not stays here. The node {stays}."
    else:
        rest = max(0, counts.total - counts.issued - counts.passed_over)
        done = "1 task" if counts.issued == 1 else f"{count_of(counts.issued)} tasks"
        first = f"What was done of {done} stays; {count_of(rest)} {'is' if rest == 1 else 'are'} left alone."
    return (line("text", first), line("dim", "A stop cannot be undone; the same can be asked for again."))


def _brief(row: Operation | None, draw: Draw) -> str:
    if row is None:
        return "1 operation"
    return "".join(text for text, _ in foreign(brief(row), "text", draw.glyphs))


def _left(row: Operation | None, key: str, draw: Draw, why: str) -> Cell:
    if row is None:
        return missing(key, draw)
    said = why if row.state in LIVE else f"is {state_word(row)} already"
    return (*foreign(row.id, "strong", draw.glyphs), (f"  {said}  ", "warn"), *progress(row, draw))


def _reason(reason: str) -> str:
    return f" --reason {shlex.quote(reason)}" if reason else ""
