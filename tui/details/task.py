"""What is known of one task, as lines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Draw
from tui.columns.events import EVENT_WORDS, order
from tui.columns.tasks import (
    UNDER_WAY,
    cause_word,
    ended_us,
    endpoints_text,
    exit_text,
    last_words,
    progress_cell,
    run_us,
    wait_us,
)
from tui.details.common import LABEL, long_text, pair, sentence, title
from tui.details.panels import term_lines
from tui.details.spec import spec_lines
from tui.drawing.draw import (
    Cell,
    Span,
    age,
    bar,
    bytes_of,
    clock,
    command_label,
    command_of,
    count_of,
    foreign,
    span_of_time,
    task_state,
)
from tui.drawing.text import clean, fit
from tui.store.ends import document_text, error_type
from tui.store.progress import is_starting
from tui.store.score import placed
from tui.store.view import ENDED
from tui.store.waiting import wait_reason

Task = types_pb2.Task

_DOCUMENT_LINES = 100

_BLAMED = {
    types_pb2.BLAME_TASK: "the command: it fails wherever it runs",
    types_pb2.BLAME_NODE: "the node: others fail there too",
    types_pb2.BLAME_INPUT: "its input: the same command does well with another",
}


@dataclass
class Attempt:
    """One assignment of a task, put together from its events."""

    run: int
    attempt: int
    node: str
    assigned_us: int = 0
    started_us: int = 0
    ended_us: int = 0
    outcome: int = 0
    """EventType of its end; 0 while it lasts."""
    detail: str = ""


_ENDS = frozenset(
    {
        types_pb2.EVENT_TYPE_COMPLETED,
        types_pb2.EVENT_TYPE_FAILED,
        types_pb2.EVENT_TYPE_CANCELLED,
        types_pb2.EVENT_TYPE_DEAD_LETTERED,
        types_pb2.EVENT_TYPE_PUT_OFF,
        types_pb2.EVENT_TYPE_RECALLED,
        types_pb2.EVENT_TYPE_MIGRATED,
        types_pb2.EVENT_TYPE_LOST,
    }
)


def attempts(events: Iterable[types_pb2.Event]) -> list[Attempt]:
    """Assignments in the order they were made. Events may come in any order; gaps are left open."""
    found: list[Attempt] = []
    current: Attempt | None = None
    for event in sorted(events, key=order):
        if event.type == types_pb2.EVENT_TYPE_ASSIGNED or (
            event.type == types_pb2.EVENT_TYPE_STARTED and (current is None or current.ended_us)
        ):
            current = Attempt(event.run, event.attempt, event.node, assigned_us=event.at_us)
            found.append(current)
        if current is None or current.ended_us:
            continue
        if event.type == types_pb2.EVENT_TYPE_STARTED:
            current.started_us = event.at_us
        elif event.type in _ENDS:
            current.ended_us, current.outcome, current.detail = event.at_us, event.type, event.detail
    return found


def task_headline(task: Task, draw: Draw) -> list[Cell]:
    """Two lines: what it is, and how it goes."""
    glyphs = draw.glyphs
    starting = is_starting(task, draw.view.progress.of(task))
    first = (
        (" ", "text"), *task_state(task, glyphs, starting=starting),
        ("  ", "text"), *foreign(task.name or "task", "strong", glyphs),
        ("  ", "text"), *foreign(task.id, "dim", glyphs),
    )  # fmt: skip
    parts: list[Cell] = []
    if task.node:
        parts.append((("node ", "dim"), *foreign(task.node, "text", glyphs)))
    ran = run_us(task, draw.now_us)
    if ran is not None:
        live = task.state == types_pb2.TASK_STATE_RUNNING
        parts.append((("running " if live else "ran ", "dim"), (age(ran) if live else span_of_time(ran), "text")))
    waited = wait_us(task, draw.now_us)
    if waited is not None:
        waiting = task.state not in ENDED and ran is None
        said = age(waited) if waiting else span_of_time(waited)
        parts.append((("waiting " if waiting else "waited ", "dim"), (said, "text")))
    if text := exit_text(task):
        parts.append((("exit ", "dim"), (text, "text" if text == "0" else "bad")))
    tries = f"{task.attempt} of {task.spec.retry.max_retries}" if task.spec.retry.max_retries else str(task.attempt)
    parts.append((("retries ", "dim"), (tries, "text")))
    if task.run > 1:
        parts.append((("run ", "dim"), (str(task.run), "text")))
    second: list[Span] = [(" ", "text")]
    for part in parts:
        second += [*part, ("   ", "text")]
    return [first, tuple(second)]


def task_facts(
    task: Task,
    events: Sequence[types_pb2.Event],
    why: cluster_pb2.WhyReply,
    draw: Draw,
    width: int,
    double_runs: Sequence[types_pb2.DoubleRun] = (),
) -> list[Cell]:
    """Error, placement, attempts, result and specification, what matters most first."""
    lines: list[Cell] = []
    if (told := draw.view.progress.of(task)) is not None:
        ago = ((f"   {age(draw.now_us - told.at_us)} ago", "dim"),) if told.at_us else ()
        lines.append(pair("progress", *progress_cell(told, draw, max(4, min(24, width - 40))), *ago))
    if task.error:
        lines += long_text("error", task.error, "bad", draw, width)
    if (kind := error_type(task)) is not None and task.state not in UNDER_WAY:
        lines += sentence("type", f"{kind.name}. {kind.remedy}", "warn", draw, width, most=3)
    if said := last_words(task):
        lines += long_text("last words", said, "bad", draw, width, most=4)
    if because := wait_reason(task, draw.view.waiting, draw.now_us) or task.reason:
        lines += long_text("because", because, "text", draw, width)
    if task.cancel_requested:
        lines += long_text("cancel", task.cancel_reason or "asked for", "warn", draw, width)
    if task.blame in _BLAMED:
        lines.append(pair("to blame", (_BLAMED[task.blame], "warn")))
    if task.escalated_at_us:
        lines.append(pair("escalated", (f"{clock(task.escalated_at_us)}: silent for too long", "warn")))
    for note in task.annotations:
        lines += long_text("note", f"{clock(note.at_us)} {note.actor}: {note.text}", "text", draw, width, most=3)
    lines += long_text(command_label(task.spec), command_of(task.spec), "strong", draw, width)
    is_reached = endpoints_text(task) and not is_starting(task, draw.view.progress.of(task))
    for endpoint in task.endpoints if is_reached else ():
        lines += long_text("endpoint", f"{endpoint.name}  {endpoint.value}", "accent", draw, width, most=2)
    if why.nodes:
        lines += _verdict_lines(why, draw, width)
    if task.HasField("placement"):
        lines += _placement_lines(task, draw, width)
    lines += _attempt_lines(attempts(events), task, draw)
    lines += _double_run_lines(double_runs, draw, width)
    if task.HasField("result"):
        lines += _result_lines(task, draw)
    lines += _time_lines(task, draw)
    lines += spec_lines(task, draw, width)
    return lines


def _verdict_lines(why: cluster_pb2.WhyReply, draw: Draw, width: int) -> list[Cell]:
    lines = title("WHY HERE, WHY NOT THERE" + (" (when it was placed)" if placed(why) else ""))
    node = why.task.placement.node if placed(why) else ""
    for verdict in sorted(why.nodes, key=lambda v: (not v.eligible, -v.score, v.node)):
        name = fit(clean(verdict.node, ascii_only=draw.glyphs.ascii_only), LABEL, ellipsis=draw.glyphs.ellipsis)
        if verdict.eligible:
            line = bar(max(0.0, verdict.score), 100, max(4, min(24, width - 40)), "ok", draw.glyphs)
            score = f"{verdict.score:5.1f} " if verdict.HasField("terms") else "    - "
            word = " placed" if verdict.node == node else " eligible"
            lines.append(((f" {name}", "text"), (score, "strong"), *line, (word, "ok")))
            continue
        spans: list[Span] = [(f" {name}", "text"), (f"{draw.glyphs.of('failed')} ", "bad")]
        spans += foreign(verdict.reason, "text", draw.glyphs)
        if verdict.flip:
            spans += [("  unless: ", "dim"), *foreign(verdict.flip, "accent", draw.glyphs)]
        lines.append(tuple(spans))
    if why.note:
        lines += long_text("note", why.note, "dim", draw, width)
    return lines


def _placement_lines(task: Task, draw: Draw, width: int) -> list[Cell]:
    placement = task.placement
    # Its score is another one than the node has by now.
    lines = title(f"PLACEMENT (by what was measured at {clock(task.assigned_at_us)})")
    lines.append(
        pair("node", *foreign(placement.node, "strong", draw.glyphs), (f"   score {placement.score:.1f}", "text"))
    )
    if placement.reason:
        lines += long_text("reason", placement.reason, "text", draw, width, most=3)
    return lines + term_lines(placement.terms, placement.weights, draw, width, 3 if width >= 72 else 2)


def _exit_of(attempt: Attempt, task: Task) -> str:
    """How its command ended, as far as the row still knows."""
    for failure in task.failures:
        if (failure.run, failure.attempt, failure.node) == (attempt.run, attempt.attempt, attempt.node):
            if failure.signal:
                return f"sig{failure.signal}"
            return str(failure.exit_code) if failure.HasField("exit_code") else ""
    last = (attempt.run, attempt.node) == (task.run, task.node) and attempt.ended_us
    return exit_text(task, past=True) if last and attempt.attempt == task.attempt else ""


def _attempt_lines(found: Sequence[Attempt], task: Task, draw: Draw) -> list[Cell]:
    if not found:
        return []
    glyphs = draw.glyphs
    lines = title("ATTEMPTS")
    lines.append(
        ((f" {'RUN':>3} {'ATT':>3}  {'NODE':<10} {'ASSIGNED':<12}  {'RAN':>6}  {'EXIT':>5}  OUTCOME", "dim"),)
    )
    for item in found:
        now = "running" if item.started_us else "assigned"
        word, glyph, role = EVENT_WORDS.get(item.outcome, (now, now, "busy"))
        ran = (item.ended_us or draw.now_us) - item.started_us if item.started_us else None
        took = "" if ran is None else span_of_time(ran) if item.ended_us else age(ran)
        node = fit(clean(item.node, ascii_only=glyphs.ascii_only), 10, ellipsis=glyphs.ellipsis)
        lines.append(
            (
                (f" {item.run:>3} {item.attempt:>3}  {node} {clock(item.assigned_us):<12}  {took:>6}  ", "text"),
                (f"{_exit_of(item, task):>5}  ", "text"),
                (f"{glyphs.of(glyph)} {word}", role),
                ("  ", "text"),
                *foreign(item.detail, "dim", glyphs),
            )
        )
    return lines


def _double_run_lines(double_runs: Sequence[types_pb2.DoubleRun], draw: Draw, width: int) -> list[Cell]:
    if not double_runs:
        return []
    lines = title("BEGUN TWICE within one attempt")
    for one in double_runs:
        where = f"{one.first_node} and {one.node}" if one.first_node != one.node else f"twice on {one.node}"
        said = f"{clock(one.at_us)}  run {one.run} attempt {one.attempt}, {where}: {one.reason}"
        lines += sentence("", said, "warn", draw, width, most=3)
    return lines


def _result_lines(task: Task, draw: Draw) -> list[Cell]:
    result = task.result
    lines = title("RESULT OF THE ATTEMPT BEFORE" if task.state in UNDER_WAY else "RESULT")
    code = exit_text(task, past=True) or draw.glyphs.none
    end: list[Span] = [(code, "text" if code == "0" else "bad")]
    if cause := cause_word(task):
        end.append((f"   cause {cause}", "warn"))
    if task.fingerprint:
        end += [("   fingerprint ", "dim"), *foreign(task.fingerprint, "dim", draw.glyphs)]
    lines.append(pair("exit", *end))
    usage = result.usage
    if usage.wall_us:
        cpu = span_of_time(usage.cpu_user_us + usage.cpu_system_us)
        most = bytes_of(usage.peak_memory_bytes or usage.max_rss_bytes)
        used = f"{span_of_time(usage.wall_us)} wall, {cpu} cpu, {most} memory"
        if usage.peak_gpu_memory_bytes:
            used += f", {bytes_of(usage.peak_gpu_memory_bytes)} of GPUs"
        lines.append(pair("used", (used, "text")))
    for name, summary in (("stdout", result.stdout), ("stderr", result.stderr)):
        if summary.total_bytes:
            said = f"{count_of(summary.total_bytes)} bytes"
            lost = f", {count_of(summary.dropped_bytes)} dropped" if summary.dropped_bytes else ""
            lines.append(pair(name, (said, "text"), (lost, "warn")))
    if result.document:
        lines += title("DOCUMENT")
        text = document_text(result) or result.document.decode("utf-8", "replace")
        for line in text.splitlines()[:_DOCUMENT_LINES]:
            lines.append(((" ", "text"), *foreign(line, "text", draw.glyphs)))
    return lines


def _time_lines(task: Task, draw: Draw) -> list[Cell]:
    lines = title("TIMES (UTC)")
    stamps = (
        ("submitted", task.created_at_us),
        ("due", task.scheduled_after_us if task.scheduled_after_us > task.created_at_us else 0),
        ("queued", task.queued_at_us if task.queued_at_us != task.created_at_us else 0),
        ("assigned", task.assigned_at_us),
        ("started", task.started_at_us),
        ("ready", 0 if is_starting(task, draw.view.progress.of(task)) else task.ready_at_us),
        ("ended", ended_us(task)),
        ("lost", task.lost_at_us),
    )
    for label, at_us in stamps:
        if at_us:
            ahead = at_us > draw.now_us
            relative = f"in {age(at_us - draw.now_us)}" if ahead else f"{age(draw.now_us - at_us)} ago"
            lines.append(pair(label, (clock(at_us), "text"), (f"   {relative}", "dim")))
    return lines
