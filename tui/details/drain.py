"""A drain as lines: the sheet of its rehearsal, and how it goes. Pure."""

from __future__ import annotations

import textwrap

from cortex.v1 import types_pb2
from tui.columns.base import Draw
from tui.columns.drain import HERE, DrainBoard
from tui.columns.nodes import role_of, state_cell
from tui.details.common import pair, sentence, title
from tui.drawing.draw import Cell, Span, age, bar, cell_width, foreign
from tui.drawing.format import duration
from tui.drawing.text import clean, fit, width_of
from tui.store.drains import DrainOptions, DrainPlan, Fate, beside_waits, blocker, effect, fates, window_ms
from tui.store.nodes import NodeRow

NAME = 14
PLACE = 12
MOST_REASON_LINES = 4

OPERATION_WORDS: dict[int, tuple[str, str, str]] = {
    # state: word, name of its glyph, role
    types_pb2.OPERATION_STATE_SCHEDULED: ("scheduled", "queued", "wait"),
    types_pb2.OPERATION_STATE_RUNNING: ("running", "running", "busy"),
    types_pb2.OPERATION_STATE_DONE: ("done", "completed", "ok"),
    types_pb2.OPERATION_STATE_STOPPED: ("stopped", "cancelled", "warn"),
    types_pb2.OPERATION_STATE_UNDONE: ("undone", "cancelled", "dim"),
    types_pb2.OPERATION_STATE_REFUSED: ("refused", "failed", "bad"),
}


def operation_state(operation: types_pb2.Operation, draw: Draw) -> Cell:
    """Glyph and word."""
    word, glyph, role = OPERATION_WORDS.get(operation.state, ("unknown", "?", "dim"))
    return ((f"{draw.glyphs.of(glyph)} {word}", role),)


def sheet(plan: DrainPlan, options: DrainOptions, draw: Draw, width: int) -> list[Cell]:
    """What the drain would do: its whole effect first, then every task, what is harmed before what moves."""
    row = draw.view.nodes.get(plan.node)
    lines: list[Cell] = [] if row is None else [_node_line(row, draw)]
    harmed = "bad" if any(item.dead_letter for item in plan.stuck) else "warn" if plan.stuck else "text"
    lines += sentence("tasks", effect(plan), harmed, draw, width)
    lines += _quorum_lines(plan, row, draw, width)
    most = f"{duration(plan.deadline_ms * 1000)} at most" if plan.deadline_ms else "no deadline"
    lines.append(pair("time", (f"about {duration(plan.eta_ms * 1000)} until it is empty, {most}", "text")))
    begins = duration(window_ms(plan) * 1000)
    lines.append(
        pair(
            "undo", (f"for {begins}, before anything moves; later {draw.word('nodes', 'uncordon')} ends it", "text")
        )
    )
    spans: list[Span] = [
        (f" {draw.glyphs.dot} ".join(options.words()), "text"),
        (f"   {draw.word('drain', 'options')} changes", "key"),
    ]
    lines.append(pair("options", *spans))
    if plan.message:
        lines += sentence("message", plan.message, "text", draw, width, most=2)
    lines.append(pair("plan", *foreign(plan.id, "dim", draw.glyphs), (f"  of index {plan.index:,}", "dim")))
    if plan.stuck:
        lines += title("HARMED")
        for item in sorted(plan.stuck, key=lambda item: (not item.dead_letter, item.task)):
            word = "DEAD LETTER" if item.dead_letter else "STUCK"
            glyph = draw.glyphs.of("dead" if item.dead_letter else "failed")
            lines += _task_lines(item.task, (f"{glyph} {word}", "bad"), item.reason, draw, width)
    if plan.moves:
        lines += title("MOVED (a forecast: the cluster goes on meanwhile)")
        for move in plan.moves:
            where: Cell = foreign(f"to {move.to}", "ok", draw.glyphs) if move.to else (("waits", "wait"),)
            reason = move.reason if move.to else beside_waits(move.reason)
            lines += _task_lines(move.task, where[0], reason, draw, width)
    return lines


def force_said(draw: Draw) -> str:
    """How a plan is forced on its sheet."""
    return f"choose force with {draw.word('drain', 'options')}"


def _node_line(row: NodeRow, draw: Draw) -> Cell:
    spans: list[Span] = [*foreign(row.node.id, "strong", draw.glyphs), ("  ", "text")]
    spans += [*state_cell(row, draw, NAME), (f"  {role_of(row)}", "text")]
    if row.leader:
        spans.append((f"  {draw.glyphs.leader} leader", "accent"))
    if row.view is not None:
        spans.append((f"  {row.view.running} running, {row.view.assigned} assigned", "dim"))
    return pair("node", *spans)


def _quorum_lines(plan: DrainPlan, row: NodeRow | None, draw: Draw, width: int) -> list[Cell]:
    quorum = plan.quorum
    votes = row is None or row.node.role == types_pb2.NODE_ROLE_VOTER
    lines: list[Cell] = []
    if votes:
        verdict: Span = ("enough", "ok") if quorum.ok else ("NOT ENOUGH", "bad")
        said = (
            f"{quorum.up} of {quorum.voters} voters up, {quorum.needed} needed; {quorum.up_without} with it off: "
        )
        lines.append(pair("quorum", (said, "text"), verdict))
        lines.append(pair("", ("It goes on voting: switch it off only once it is drained.", "dim")))
    else:
        lines.append(pair("quorum", ("it is a worker: no vote is lost", "text")))
    if row is not None and row.leader:
        lines.append(pair("leader", ("It leads: leadership is handed over before anything moves.", "warn")))
    if why := blocker(plan, force_said(draw)):
        lines += sentence("blocked", why, "bad", draw, width)
    elif not quorum.ok:
        lines.append(pair("forced", ("Switched off, it would take the cluster's majority with it.", "bad")))
    return lines


def _task_lines(task_id: str, fate: Span, reason: str, draw: Draw, width: int) -> list[Cell]:
    task = draw.view.tasks.get(task_id)
    ascii_only = draw.glyphs.ascii_only
    name = clean(task.name if task is not None and task.name else task_id, ascii_only=ascii_only)
    word, role = fate
    head: Cell = (
        (f" {fit(name, NAME, ellipsis=draw.glyphs.ellipsis)} ", "strong"),
        (f"{fit(word, PLACE + 1, ellipsis=draw.glyphs.ellipsis)} ", role),
    )
    if role != "bad":
        return [(*head, *foreign(reason, "dim", draw.glyphs))]
    # What is harmed is read to its end.
    taken = cell_width(head)
    pieces = textwrap.wrap(clean(reason, ascii_only=ascii_only), max(20, width - taken)) or [""]
    rest = [((" " * taken, "text"), (piece, "text")) for piece in pieces[1:MOST_REASON_LINES]]
    return [(*head, (pieces[0], "text")), *rest]


# How it goes.


def headline(operation: types_pb2.Operation, board: DrainBoard, draw: Draw, width: int) -> list[Cell]:
    """Two lines: which drain, and how far it is."""
    glyphs = draw.glyphs
    first: list[Span] = [(" ", "text"), *operation_state(operation, draw), ("  drain of ", "dim")]
    first += [*foreign(operation.node, "strong", glyphs), ("  ", "text"), *foreign(operation.id, "dim", glyphs)]
    if operation.drain.message:
        first += [("  ", "text"), *foreign(operation.drain.message, "warn", glyphs)]
    return [tuple(first), _progress(operation, board, draw, width)]


def _progress(operation: types_pb2.Operation, board: DrainBoard, draw: Draw, width: int) -> Cell:
    plan, now_us = operation.drain, draw.now_us
    eta = duration(plan.eta_ms * 1000)
    outcome = clean(operation.outcome, ascii_only=draw.glyphs.ascii_only)
    state = operation.state
    if state == types_pb2.OPERATION_STATE_SCHEDULED:
        left_us = operation.not_before_us - now_us
        if left_us > 0:
            return ((" Begins in ", "text"), (age(left_us + 999_999), "accent"), ("; until then ", "text"),
                    (draw.word("app", "undo"), "key"), (" undoes it and nothing has moved.", "text"))  # fmt: skip
        return ((" About to begin.", "text"),)
    if state == types_pb2.OPERATION_STATE_RUNNING:
        gone, total = len(board) - board.left(), len(board)
        spans: list[Span] = [
            (" ", "text"),
            *bar(gone, max(1, total), min(24, max(6, width // 6)), "ok", draw.glyphs),
        ]
        spans.append((f" {gone} of {total} left it", "text"))
        staying = board.phases[HERE]
        if staying:
            spans.append((f", {staying} run there", "wait"))
        spans.append((f"   {age(now_us - operation.begun_at_us)} of about {eta}", "dim"))
        if operation.deadline_us:
            spans.append((f"   deadline in {age(operation.deadline_us - now_us)}", "dim"))
        return tuple(spans)
    if state == types_pb2.OPERATION_STATE_DONE:
        took = duration(plan.took_ms * 1000)
        head = f" Empty after {took}, estimated {eta}. "
        told = ". ".join(part for part in (outcome, _next_step(operation.node, draw)) if part)
        return ((head, "ok"), (told if width_of(head + told) <= width else outcome or told, "text"))
    by, outcome = (f" {outcome}", "") if outcome.startswith("by ") else ("", outcome)
    said = {
        types_pb2.OPERATION_STATE_UNDONE: f" Undone{by}: nothing has moved, and the node is as it was. ",
        types_pb2.OPERATION_STATE_STOPPED: f" Stopped{by}: what has moved stays where it is. ",
        types_pb2.OPERATION_STATE_REFUSED: f" Refused at its begin{by}: nothing has moved. ",
    }.get(state, " ")
    return ((said, "warn"), (outcome, "text"))


def _next_step(node: str, draw: Draw) -> str:
    """What may be done with a node that is drained."""
    row = draw.view.nodes.get(node)
    if row is None or row.node.state != types_pb2.NODE_STATE_DRAINED:
        return ""
    return f"Switch it off, or {draw.word('draining', 'uncordon')} uses it again."


# What a new rehearsal says otherwise.


def differences(before: DrainPlan, now: DrainPlan, draw: Draw) -> list[Cell]:
    """What the later rehearsal of a node says otherwise, worst first; one line each."""
    lines: list[Cell] = []
    if before.quorum != now.quorum:
        was, effect = before.quorum, now.quorum
        lines.append(
            (
                (" quorum ", "warn"),
                (f"was {was.up_without} of {was.voters} without it, is {effect.up_without}", "text"),
            )
        )
    old, new = fates(before), fates(now)
    for task in sorted({*old, *new}, key=lambda task: (_gravity(new.get(task)), task)):
        was_so, is_so = old.get(task), new.get(task)
        if was_so == is_so:
            continue
        name = _name(task, draw)
        if was_so is None:
            lines.append(((" new    ", "warn"), *name, (f"  {_said(is_so, draw)}", "text")))
        elif is_so is None:
            lines.append(((" gone   ", "dim"), *name, ("  is on the node no more", "dim")))
        else:
            lines.append(
                ((" other  ", "warn"), *name, (f"  {_said(is_so, draw)}, was: {_said(was_so, draw)}", "text"))
            )
    if not lines:
        lines.append(((" same   ", "dim"), ("tasks and quorum, in a plan of its own", "dim")))
    return lines


_GRAVITY = {"dead letter": 0, "stuck": 1, "waits": 2, "lands": 3}


def _gravity(fate: Fate | None) -> int:
    return 4 if fate is None else _GRAVITY[fate[0]]


def _said(fate: Fate | None, draw: Draw) -> str:
    if fate is None:
        return ""
    kind, to = fate
    if kind == "lands":
        return f"lands on {clean(to, ascii_only=draw.glyphs.ascii_only)}"
    return {
        "dead letter": "becomes a dead letter",
        "stuck": "has nowhere to go",
        "waits": "waits in the queue",
    }[kind]


def _name(task_id: str, draw: Draw) -> Cell:
    task = draw.view.tasks.get(task_id)
    name = foreign(task.name, "strong", draw.glyphs) if task is not None and task.name else ()
    return (*name, (" ", "text"), *foreign(task_id, "dim", draw.glyphs))
