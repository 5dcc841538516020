"""Blocks of lines about one thing: a node's score terms, a task's facts, its placement. Pure."""

from __future__ import annotations

from cortex.v1 import types_pb2
from tui.columns.base import Draw
from tui.columns.nodes import OLD_SAMPLE_US, level_role, sample_age_us
from tui.drawing.draw import Cell, Span, age, bar, bytes_of, cell_width, foreign
from tui.drawing.text import clean, fit, width_of
from tui.store.nodes import NodeRow
from tui.store.score import TERMS, full_score, most_points, penalty_of, points_of, terms_in

HOT_C = 85.0
"""GPUs slow themselves down from about there on."""


def term_lines(terms: types_pb2.ScoreTerms, weights: str, draw: Draw, width: int, columns: int) -> list[Cell]:
    """Every term as a bar with its points of the most by `weights`, in columns, then what is taken off."""
    each = max(18, min(40, (width - 1) // columns - 3))
    cells: list[Cell] = []
    named = terms_in(terms)
    label = 1 + max(len(title) for _, title, _ in named)
    for (name, title, usual), (role, _, _) in zip(named, TERMS, strict=False):
        value, most = float(getattr(terms, name)), most_points(name, usual, weights)
        points = f"{value:4.1f}/{points_of(most):<2}"
        line = bar(max(0.0, value), most, max(2, each - label - len(points) - 1), f"term-{role}", draw.glyphs)
        cells.append(((fit(title.lower(), label), "dim"), *line, (f" {points}", "text")))
    penalty = penalty_of(terms)
    taken = f"tasks {terms.tasks + 0.0:.0f}" + "".join(
        f"  {name} {getattr(terms, name):.0f}" for name in ("gaming", "suspect") if getattr(terms, name)
    )
    cells.append(((fit(taken, each), "warn" if penalty < 0 else "dim"),))
    lines: list[Cell] = []
    rows = -(-len(cells) // columns)
    for y in range(rows):
        spans: list[Span] = [(" ", "text")]
        for x in range(columns):
            at = x * rows + y
            if at < len(cells):
                spans += [*cells[at], ("   ", "text")]
        lines.append(tuple(spans))
    return lines


def gpu_line(gpu: types_pb2.Gpu, draw: Draw, width: int) -> Cell:
    """A GPU as it was sampled: utilisation, memory, temperature and power; what it does not measure is left out."""
    glyphs = draw.glyphs
    length = max(4, min(20, width // 8))
    memory, used = gpu.memory_total_bytes, gpu.memory_used_bytes
    busy, warm = gpu.utilisation_percent, gpu.temperature_celsius
    spans: list[Span] = [("gpu ", "dim"), (f"{busy:3.0f}% ", level_role(busy))]
    spans += bar(busy, 100, length, "term-gpu", glyphs)
    if memory:
        spans += [("  mem ", "dim"), (f"{bytes_of(used)} of {bytes_of(memory)} ", "text")]
        spans += bar(used, memory, max(4, length // 2), "term-memory", glyphs)
    if warm:
        unit = "C" if glyphs.ascii_only else "°C"
        spans.append((f"  {warm:.0f} {unit}", "warn" if warm >= HOT_C else "text"))
    if gpu.power_watts:
        spans.append((f"  {gpu.power_watts:.0f} W", "text"))
    spans += [("  ", "text"), *foreign(gpu.name, "dim", glyphs)]
    if gpu.gaming:
        spans.append(("  gaming", "warn"))
    return tuple(spans)


def score_panel(row: NodeRow, draw: Draw, width: int, gpus: int = 1) -> list[Cell]:
    """Four lines on the node under the cursor, up to `gpus` more on its GPUs; the last says how many are left."""
    glyphs = draw.glyphs
    sampled = row.resources
    head: list[Span] = [(" ", "text"), *foreign(row.node.id, "strong", glyphs)]
    if row.node.message:
        said = clean(row.node.message, ascii_only=glyphs.ascii_only)
        head += [
            ("  ", "text"),
            (fit(said, min(width_of(said), max(8, width // 3)), ellipsis=glyphs.ellipsis), "warn"),
        ]
    if row.view is None or not row.view.scored:
        old = sample_age_us(row, draw.now_s)
        why = "nothing is known of its resources" if old is None else f"the leader last heard of it {age(old)} ago"
        head.append((f"  no score: {why}", "dim"))
        return [(), tuple(head)]
    head += [
        ("  score ", "dim"),
        (f"{row.view.score:.1f}", "strong"),
        (f" of {points_of(full_score(row.view.terms, row.view.weights))}", "dim"),
    ]
    if sampled is not None:
        used = sampled.memory_total_bytes - sampled.memory_available_bytes
        facts = [
            f"load {sampled.load_1m:.2f} on {sampled.cores} cores",
            f"mem {bytes_of(used)} of {bytes_of(sampled.memory_total_bytes)}",
            f"disk free {bytes_of(sampled.disk_free_bytes)}",
            f"io {sampled.disk_io_percent:.0f}%",
            f"rx {bytes_of(sampled.rx_bytes_per_s)}/s tx {bytes_of(sampled.tx_bytes_per_s)}/s",
        ]
        old = sample_age_us(row, draw.now_s)
        if old is not None and old >= OLD_SAMPLE_US:
            head.append((f"  sampled {age(old)} ago", "warn"))
        gap = "  " if width >= 100 else " "
        for fact in facts:
            told = [(f"{gap}{glyphs.dot} ", "track"), *foreign(fact, "dim", glyphs)]
            if cell_width((*head, *told)) > width:
                break  # half a number would be read as another one
            head += told
    lines = [(), tuple(head), *term_lines(row.view.terms, row.view.weights, draw, width, 3 if width >= 72 else 2)]
    cards = list(sampled.gpus) if sampled is not None else []
    for at, gpu in enumerate(cards[:gpus]):
        left = len(cards) - gpus if at == gpus - 1 else 0
        more: Cell = ((f"   and {left} more", "dim"),) if left > 0 else ()
        lines.append(((" ", "text"), *gpu_line(gpu, draw, width), *more))
    return lines
