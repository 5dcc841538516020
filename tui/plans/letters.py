"""Plans about dead letters: by id, and all of one cause. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Draw
from tui.columns.causes import blame_word, error_of, exit_word
from tui.columns.tasks import ended_us
from tui.drawing.draw import Cell, Span, age, count_of, foreign
from tui.drawing.text import clean, fit, wrap
from tui.plans.base import (
    Done,
    Plan,
    Task,
    command_line,
    in_parts,
    line,
    missing,
    parts_said,
    split,
    task_line,
    tasks_of,
)
from tui.source import Mutator
from tui.store.letters import NO_CAUSE

Cause = cluster_pb2.DeadLetterCause
Found = Mapping[str, Sequence[str]]
"""Ids of letters by cause, as far as they were read, newest first."""

CANARY_SHARE = 10


def letters_of(count: int) -> str:
    """`1 letter`, `12 letters`."""
    return "1 letter" if count == 1 else f"{count_of(count)} letters"


def undo_said(draw: Draw) -> str:
    """Until when it can be undone, and how."""
    return f"It begins 10 s after you confirm; until then {draw.word('app', 'undo')} undoes it."


def is_letter(task: Task) -> str:
    """Why it is left out of what is done to dead letters; empty when it is one."""
    return "" if task.state == types_pb2.TASK_STATE_DEAD_LETTER else "is no dead letter any more"


def retry_causes(draw: Draw, keys: Sequence[str], found: Found) -> Plan:
    """All letters of each cause, at once."""
    taken, left = _causes(draw, keys)
    count = sum(row.count for row in taken)
    one = draw.word("letters", "canary")
    said = [
        line("text", "Queued again with all their retries, as a new run of the same tasks."),
        line(
            "dim",
            f"Letters that come later are not meant. {one} tries one of them first.",
        ),
        line("dim", undo_said(draw)),
    ]
    prints = _prints(taken)
    title = f"Retry {letters_of(count)} of {_causes_of(len(taken))}"

    async def call(mutator: Mutator) -> Done:
        replies = [await mutator.retry(cause=cause) for cause in prints]
        return _done(f"Retry of {letters_of(count)} begins in 10 s.", replies)

    return Plan(
        "retry", title, _objects(draw, taken, found), tuple(said), left, _per_cause("retry", prints),
        frozenset(prints), prints, call, count=count,
    )  # fmt: skip


def canary(draw: Draw, keys: Sequence[str]) -> Plan:
    """One letter of each cause first, then a tenth, then all."""
    taken, left = _causes(draw, keys)
    prints = _prints(taken)
    listed = draw.word("app", "operations")
    said: list[Cell] = []
    for row in taken[:3]:
        tenth = min(max(2, -(-row.count // CANARY_SHARE)), row.count)
        steps = (
            f"1 letter first, then {count_of(tenth)}, then all {count_of(row.count)}"
            if row.count > 1
            else "1 letter"
        )
        of: Cell = (("  of ", "dim"), *error_of(row, draw)) if len(taken) > 1 else ()
        said.append((("Steps: ", "dim"), (steps, "text"), *of))
    said += [
        line("text", "Each step waits until what the one before retried has ended."),
        line("text", "It stops by itself when a letter fails the same way again."),
        line("dim", undo_said(draw)),
        line("dim", f"Once it has begun, {draw.word('operations', 'stop')} in the operations ({listed}) stops it."),
    ]

    async def call(mutator: Mutator) -> Done:
        replies = [await mutator.retry(cause=cause, canary=True) for cause in prints]
        return _done(f"Canary of {_causes_of(len(prints))} begins in 10 s.", replies)

    return Plan(
        "retry", f"Canary for {_causes_of(len(taken))}", tuple(_cause_line(row, draw) for row in taken),
        tuple(said), left, _per_cause("retry", prints, " --canary"), frozenset(), prints, call, count=len(prints),
    )  # fmt: skip


def discard_causes(draw: Draw, keys: Sequence[str], found: Found, reason: str) -> Plan:
    """Put all letters of each cause away."""
    taken, left = _causes(draw, keys)
    count = sum(row.count for row in taken)
    prints = _prints(taken)

    async def call(mutator: Mutator) -> Done:
        replies = [await mutator.discard((), reason, cause=cause) for cause in prints]
        return _done(f"Discard of {letters_of(count)} begins in 10 s.", replies)

    return Plan(
        "discard", f"Discard {letters_of(count)} of {_causes_of(len(taken))}", _objects(draw, taken, found),
        _discard_said(reason, draw), left, _per_cause("discard", prints, f" --reason {shlex.quote(clean(reason))}"),
        frozenset(prints), prints, call, count=count, destroys=True,
    )  # fmt: skip


def discard(draw: Draw, ids: Sequence[str], reason: str) -> Plan:
    taken, left = split(draw, ids, is_letter)
    chosen = tuple(task.id for task in taken)

    async def call(mutator: Mutator) -> Done:
        replies = await in_parts(chosen, lambda part: mutator.discard(part, reason))
        return _done(f"Discard of {letters_of(len(chosen))} begins in 10 s.", replies)

    return Plan(
        "discard", f"Discard {letters_of(len(taken))}", tuple(letter_line(task, draw) for task in taken),
        (*_discard_said(reason, draw), *parts_said(len(taken), undo=draw.word("app", "undo"))), tuple(left),
        f"{command_line('discard', chosen)} --reason {shlex.quote(clean(reason))}", frozenset(chosen), chosen, call,
        destroys=True,
    )  # fmt: skip


PIECE = 66
"""Cells of a line of a difference that fit a preview in 80 columns."""


def edited_retry(draw: Draw, key: str, spec: types_pb2.TaskSpec, difference: Sequence[str]) -> Plan:
    """`difference`: lines that say what was edited."""
    taken, left = split(draw, [key], _revivable)
    objects = [task_line(task, draw) for task in taken]
    for text in difference if taken else ():
        if not text.startswith(("---", "+++")):
            role = "ok" if text.startswith("+") else "bad" if text.startswith("-") else "dim"
            # What differs may stand anywhere in a long line.
            pieces = wrap(clean(text[1:], ascii_only=draw.glyphs.ascii_only), PIECE)
            objects += [(("  ", "text"), *foreign(text[:1] + piece, role, draw.glyphs)) for piece in pieces]
    said = (
        line("text", "Queued again with all its retries, as a new run that is run so."),
        line("dim", "This cannot be undone; the task can be cancelled while it waits or runs."),
    )

    async def call(mutator: Mutator) -> Done:
        return _done("1 task queued again as edited.", [await mutator.retry([key], edited_spec=spec)])

    return Plan(
        "retry", "Retry 1 task as edited", tuple(objects), said, tuple(left),
        f"{command_line('retry', [key])} --edit", frozenset([key]), (key,), call, count=1,
    )  # fmt: skip


def annotate(draw: Draw, ids: Sequence[str], text: str) -> Plan:
    taken, left = split(draw, ids, lambda _task: "")
    chosen = tuple(task.id for task in taken)
    said: list[Cell] = [
        (("Note: ", "dim"), *foreign(text, "strong", draw.glyphs)),
        line("dim", "A note cannot be undone; the last 20 stay with a task."),
    ]

    async def call(mutator: Mutator) -> Done:
        replies = [await mutator.annotate(key, text) for key in chosen]
        return _done(f"Noted at {tasks_of(len(chosen))}.", replies)

    return Plan(
        "annotate", f"Annotate {tasks_of(len(taken))}", tuple(task_line(task, draw) for task in taken), tuple(said),
        tuple(left), " && ".join(f"{command_line('annotate', [key])} {shlex.quote(clean(text))}" for key in chosen),
        frozenset(chosen), chosen, call,
    )  # fmt: skip


def _revivable(task: Task) -> str:
    states = (types_pb2.TASK_STATE_DEAD_LETTER, types_pb2.TASK_STATE_FAILED)
    return "" if task.state in states else "is not failed or dead-lettered"


def _causes(draw: Draw, keys: Sequence[str]) -> tuple[list[Cause], tuple[Cell, ...]]:
    """Causes that have letters, and a line for each chosen one that cannot be meant."""
    taken: list[Cause] = []
    left: list[Cell] = []
    for key in keys:
        row = draw.view.letters.causes.get(key)
        if row is None:
            left.append(missing(key, draw))
        elif key == NO_CAUSE:
            left.append(
                (*_cause_line(row, draw), ("  have no fingerprint: open them, and choose them one by one", "warn"))
            )
        elif not row.count:
            left.append((*_cause_line(row, draw), ("  has no letters any more", "warn")))
        else:
            taken.append(row)
    return taken, tuple(left)


def _prints(rows: Sequence[Cause]) -> tuple[str, ...]:
    return tuple(row.fingerprint for row in rows)


def _causes_of(count: int) -> str:
    return "1 cause" if count == 1 else f"{count_of(count)} causes"


def _cause_line(row: Cause, draw: Draw) -> Cell:
    facts = [
        f"exit {exit_word(row)}" if exit_word(row) else "",
        f"blame {blame_word(row)}" if blame_word(row) else "",
    ]
    said = "  ".join(part for part in (row.fingerprint[:8], *facts) if part)
    return (
        (fit(letters_of(row.count), 14), "strong"),
        *foreign(f"{said}  ", "dim", draw.glyphs),
        *error_of(row, draw),
    )


def letter_line(task: Task, draw: Draw) -> Cell:
    """A letter as an object of a plan."""
    glyphs = draw.glyphs
    spans: list[Span] = [*foreign(task.name or "task", "strong", glyphs), ("  ", "text")]
    spans += foreign(task.id, "dim", glyphs)
    if task.node:
        spans += [("  on ", "dim"), *foreign(task.node, "text", glyphs)]
    if ended_us(task):
        spans.append((f"  {age(draw.now_us - ended_us(task))} ago", "dim"))
    return tuple(spans)


def _objects(draw: Draw, rows: Sequence[Cause], found: Found) -> tuple[Cell, ...]:
    """Each cause, and below it its letters as far as they were read."""
    lines: list[Cell] = []
    for row in rows:
        lines.append(_cause_line(row, draw))
        known = [task for key in found.get(row.fingerprint, ()) if (task := draw.view.tasks.get(key)) is not None]
        shown = [task for task in known if not is_letter(task)][: row.count]
        lines += [(("  ", "text"), *letter_line(task, draw)) for task in shown]
        if more := row.count - len(shown):
            lines.append(line("dim", f"  and {count_of(more)} more" if shown else f"  all {count_of(more)}"))
    return tuple(lines)


def _per_cause(verb: str, prints: Sequence[str], options: str = "") -> str:
    return " && ".join(f"cortex {verb} --cause {shlex.quote(clean(cause))}{options}" for cause in prints)


def _discard_said(reason: str, draw: Draw) -> tuple[Cell, ...]:
    return (
        (("Reason: ", "dim"), *foreign(reason, "strong", draw.glyphs)),
        line("warn", "Put away as cancelled: they will not run, and leave this view."),
        line("dim", undo_said(draw)),
    )


def _done(said: str, replies: Sequence[cluster_pb2.MutationReply]) -> Done:
    return Done(said, audit=tuple(reply.operation_id for reply in replies))
