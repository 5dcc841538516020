"""What is known of one node, as lines. Pure."""

from __future__ import annotations

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Draw
from tui.columns.nodes import FRESH_SAMPLE_US, OLD_SAMPLE_US, role_of, sample_age_us, state_cell
from tui.details.common import long_text, pair, sentence, title
from tui.details.drain import operation_state
from tui.details.panels import term_lines
from tui.details.resources import history_lines, offer_lines, resource_lines, use_lines
from tui.drawing.draw import Cell, Span, age, bytes_of, clock, foreign
from tui.store.drains import drain_of, last_drain
from tui.store.nodes import NodeRow
from tui.store.score import full_score, points_of


def node_headline(row: NodeRow, draw: Draw) -> list[Cell]:
    """Two lines: what it is, and how it does."""
    node, glyphs = row.node, draw.glyphs
    first: list[Span] = [
        (" ", "text"),
        *state_cell(row, draw, 20),
        ("  ", "text"),
        *foreign(node.id, "strong", glyphs),
    ]
    first += [("  ", "text"), (role_of(row), "text")]
    if row.leader:
        first.append((f"  {glyphs.leader} leader", "accent"))
    if node.suspect_reason:
        first.append((f"  {glyphs.warning} suspected", "warn"))
    if node.alarm:
        first.append((f"  {glyphs.warning} ALARM", "bad"))
    if node.message:
        first += [("  ", "text"), *foreign(node.message, "warn", glyphs)]
    second: list[Span] = [(" ", "text"), *foreign(node.address or node.hostname, "dim", glyphs), ("   ", "text")]
    if row.view is not None:
        second += [("running ", "dim"), (str(row.view.running), "text"), ("   assigned ", "dim")]
        second += [(str(row.view.assigned), "text"), ("   ", "text")]
    old = sample_age_us(row, draw.now_s)
    if old is not None:
        said = "just now" if old < FRESH_SAMPLE_US else f"{age(old)} ago"
        second += [("sampled ", "dim"), (said, "text" if old < OLD_SAMPLE_US else "warn")]
    return [tuple(first), tuple(second)]


def node_facts(
    row: NodeRow,
    draw: Draw,
    width: int,
    inspected: cluster_pb2.InspectNodeReply | None = None,
    span: int = 0,
) -> list[Cell]:
    """Score with its terms, resources with their history, what it runs, and what was declared.

    `inspected` is what the node itself told, of the span of that number; None while it has not.
    """
    lines: list[Cell] = []
    node = row.node
    if node.alarm:
        lines += sentence("alarm", node.alarm, "bad", draw, width)
        for task in node.alarm_tasks:
            lines.append(pair("", *foreign(task, "bad", draw.glyphs)))
    if node.suspect_reason:
        lines += sentence("suspected", f"{node.suspect_reason} It is proposed for a cordon.", "warn", draw, width)
    lines += _drain_lines(node, draw, width)
    if row.view is not None and row.view.scored:
        most = points_of(full_score(row.view.terms, row.view.weights))
        lines.append(
            pair("score", (f"{row.view.score:.1f}", "strong"), (f" of {most} for a plain shell task", "dim"))
        )
        lines += term_lines(row.view.terms, row.view.weights, draw, width, 3 if width >= 72 else 2)
    lines += resource_lines(row, draw, width)
    if inspected is not None:
        lines += use_lines(inspected.tasks, draw, width)
        lines += history_lines(inspected, span, draw, width)
    lines += offer_lines(node, draw, width)
    lines += title("DECLARED")
    capacity = _amounts(node.capacity)
    slots = ", ".join(
        f"{item.count} {types_pb2.TaskType.Name(item.type)[len('TASK_TYPE_') :].lower()}" for item in node.slots
    )
    labels = " ".join(f"{item.key}={item.value}" if item.value else item.key for item in node.labels)
    for label, text in (
        ("hostname", node.hostname),
        ("address", node.address),
        ("slots", slots),
        ("capacity", capacity),
        ("labels", labels),
        ("can", " ".join(node.capabilities)),
        ("version", node.version),
    ):
        if text:
            lines += long_text(label, text, "text", draw, width, most=3)
    for label, at_us in (("joined", node.joined_at_us), ("changed", node.changed_at_us)):
        if at_us:
            lines.append(pair(label, (clock(at_us), "text"), (f"   {age(draw.now_us - at_us)} ago", "dim")))
    return lines


def _amounts(amounts: types_pb2.Requests) -> str:
    """What reservations are counted against."""
    parts = []
    if amounts.cpu_millis:
        parts.append(f"{amounts.cpu_millis / 1000:g} cores")
    if amounts.memory_bytes:
        parts.append(f"{bytes_of(amounts.memory_bytes)} memory")
    if amounts.gpus:
        parts.append("1 GPU" if amounts.gpus == 1 else f"{amounts.gpus} GPUs")
    return ", ".join(parts)


def _drain_lines(node: types_pb2.Node, draw: Draw, width: int) -> list[Cell]:
    """The drain that it is under, or the last one that is known."""
    last = last_drain(draw.view, node.id)
    if last is None:
        return [pair("drain", *foreign(node.operation, "warn", draw.glyphs))] if node.operation else []
    spans: list[Span] = [*operation_state(last, draw), ("  ", "text"), *foreign(last.id, "dim", draw.glyphs)]
    if last.state == types_pb2.OPERATION_STATE_SCHEDULED and last.not_before_us > draw.now_us:
        spans.append((f"  begins in {age(last.not_before_us - draw.now_us + 999_999)}", "accent"))
    if drain_of(draw.view, node.id):
        how = " shows how it goes" if node.operation else " shows how it went"
        spans += [(f"   {draw.word('node', 'drain')}", "key"), (how, "dim")]
    lines = [pair("drain", *spans)]
    return [*lines, *sentence("", last.outcome, "text", draw, width)] if last.outcome else lines
