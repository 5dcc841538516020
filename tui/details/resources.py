"""What a node measures, runs and uses, as lines. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Draw
from tui.columns.nodes import level_role
from tui.details.common import LABEL, pair, sentence, title
from tui.details.panels import gpu_line
from tui.documents.node_text import (
    battery_text,
    benchmark_text,
    gpu_process_text,
    offer_text,
    pressure_text,
    use_text,
)
from tui.documents.resources_view import level_name, network_percent
from tui.drawing.draw import Cell, Span, bar, bytes_of, clock, foreign, span_of_time, sparkline
from tui.drawing.text import clean, fit
from tui.store.nodes import NodeRow

SPANS_US = (600_000_000, 7_200_000_000, 86_400_000_000)
SPAN_WORDS = ("10 MINUTES", "2 HOURS", "24 HOURS")
POINTS_LIMIT = 120
_GPU_PROCESSES = 6
_CURVES: tuple[tuple[str, str, str], ...] = (
    ("cpu", "cpu", "cpu"),
    ("memory", "memory", "memory"),
    ("disk", "disk", "disk"),
    ("io", "disk io", "disk"),
    ("rx", "received", "network"),
    ("tx", "sent", "network"),
    ("gpu", "gpu", "gpu"),
    ("gpu_memory", "gpu memory", "gpu"),
    ("temperature", "heat", "cpu"),
    ("running", "running", "cpu"),
)
"""Name of the series, label, term whose colour it has."""


def resource_lines(row: NodeRow, draw: Draw, width: int) -> list[Cell]:
    """What is not measured is left out."""
    sampled = row.resources
    lines = title("RESOURCES")
    if sampled is None:
        return [*lines, pair("", ("nothing is known", "dim"))]
    length = max(6, min(30, width - 55))

    def gauge(label: str, share: float, text: str) -> Cell:
        return pair(
            label, (f"{share:3.0f}% ", "text"), *bar(share, 100, length, "busy", draw.glyphs), (f"  {text}", "dim")
        )

    memory, disk = sampled.memory_total_bytes, sampled.disk_total_bytes
    lines.append(gauge("cpu", sampled.cpu_percent, f"load {sampled.load_1m:.2f} on {sampled.cores} cores"))
    if memory:
        free = sampled.memory_available_bytes
        lines.append(gauge("memory", 100 * (1 - free / memory), f"{bytes_of(free)} of {bytes_of(memory)} free"))
    if swap := sampled.swap_total_bytes:
        used = sampled.swap_used_bytes
        lines.append(gauge("swap", 100 * used / swap, f"{bytes_of(used)} of {bytes_of(swap)} used"))
    if disk:
        free = sampled.disk_free_bytes
        lines.append(gauge("disk", 100 * (1 - free / disk), f"{bytes_of(free)} of {bytes_of(disk)} free"))
    lines.append(gauge("disk io", sampled.disk_io_percent, _io_text(sampled)))
    lines.append(_network_line(sampled, gauge))
    for label, text in (("pressure", pressure_text(sampled)), ("battery", battery_text(sampled))):
        if text:
            lines += sentence(label, text, "text", draw, width)
    if sampled.HasField("temperature_celsius"):
        unit = "C" if draw.glyphs.ascii_only else "°C"
        lines.append(pair("heat", (f"{sampled.temperature_celsius:.0f} {unit}", "text")))
    lines += _gpu_lines(sampled, draw, width)
    if sampled.gaming or sampled.interactive_owner:
        lines.append(pair("in use", ("a game runs" if sampled.gaming else "somebody works at it", "warn")))
    if sampled.HasField("benchmark"):
        lines += _benchmark_lines(sampled.benchmark, draw, width)
    return lines


def _io_text(sampled: types_pb2.Resources) -> str:
    if not sampled.HasField("disk_queue"):
        return "of the busiest device's time"
    read, written = bytes_of(sampled.disk_read_bytes_per_s), bytes_of(sampled.disk_written_bytes_per_s)
    return f"{sampled.disk_queue:.1f} in flight, r {read}/s w {written}/s"


def _network_line(sampled: types_pb2.Resources, gauge: Callable[[str, float, str], Cell]) -> Cell:
    said = f"rx {bytes_of(sampled.rx_bytes_per_s)}/s tx {bytes_of(sampled.tx_bytes_per_s)}/s"
    if sampled.HasField("net_drops_per_s") and sampled.net_drops_per_s >= 1:
        said += f", {sampled.net_drops_per_s:.0f} packets/s dropped"
    share = network_percent(sampled)
    if share is None:
        # A link that does not tell its speed cannot be said to be full.
        return pair("network", (said, "dim"))
    return gauge("network", share, said)


def _gpu_lines(sampled: types_pb2.Resources, draw: Draw, width: int) -> list[Cell]:
    if not sampled.gpus:
        return []
    lines = title(f"GPUS ({len(sampled.gpus)})")
    for gpu in sampled.gpus:
        lines.append(((" ", "text"), *gpu_line(gpu, draw, width)))
        for process in gpu.processes[:_GPU_PROCESSES]:
            lines.append((("     ", "text"), *foreign(gpu_process_text(process), "dim", draw.glyphs)))
        if len(gpu.processes) > _GPU_PROCESSES:
            lines.append(((f"     and {len(gpu.processes) - _GPU_PROCESSES} more", "dim"),))
    return lines


def _benchmark_lines(row: types_pb2.Benchmark, draw: Draw, width: int) -> list[Cell]:
    lines = list(sentence("bench", benchmark_text(row), "text", draw, width, most=3))
    lines.append(pair("", (f"measured {clock(row.at_us)}", "dim")))
    if row.note:
        lines += sentence("", f"To be doubted, since {row.note}.", "warn", draw, width, most=3)
    return lines


def offer_lines(node: types_pb2.Node, draw: Draw, width: int) -> list[Cell]:
    """Which tasks it runs, with what, or why not."""
    if not node.executors and not node.sandboxes:
        return []
    lines = title("RUNS")
    for item in node.executors:
        mark, role = ("completed", "ok") if item.available else ("failed", "dim")
        said = f"{draw.glyphs.of(mark)} {offer_text(node, item)}"
        lines += sentence("", said, role, draw, width, most=6)
    for level in node.sandboxes:
        why = level.detail if level.available else level.reason or level.detail
        word = level_name(level.level) + ("" if level.available else ", not here") + (f": {why}" if why else "")
        lines += sentence("sandbox", word, "text" if level.available else "dim", draw, width, most=6)
    return lines


def use_lines(uses: Sequence[types_pb2.TaskUse], draw: Draw, width: int) -> list[Cell]:
    """What each running task takes, the hungriest first."""
    if not uses:
        return []
    lines = title(f"USED BY ITS TASKS ({len(uses)})")
    heads = f" {'TASK':<16} {'CPU':>5} {'MEM':>6} {'MOST':>6} {'READ/S':>7} {'WRITTEN/S':>9} {'GPU':>6}"
    lines.append(((heads, "dim"),))
    for use in sorted(uses, key=lambda one: (-one.cpu_percent, -one.memory_bytes, one.task)):
        name = fit(clean(use.task, ascii_only=draw.glyphs.ascii_only), 16, ellipsis=draw.glyphs.ellipsis)
        moved = use.HasField("read_bytes_per_s")
        read = bytes_of(use.read_bytes_per_s) if moved else draw.glyphs.none
        written = bytes_of(use.written_bytes_per_s) if moved else draw.glyphs.none
        gpu = bytes_of(use.gpu_memory_bytes) if use.gpu_memory_bytes else draw.glyphs.none
        spans: list[Span] = [(f" {name} ", "text"), (f"{use.cpu_percent:4.0f}%", "busy")]
        spans.append((f" {bytes_of(use.memory_bytes):>6} {bytes_of(use.peak_memory_bytes):>6}", "text"))
        spans.append((f" {read:>7} {written:>9} {gpu:>6}", "dim"))
        lines.append(tuple(spans))
    return lines


def use_line(use: types_pb2.TaskUse, draw: Draw, width: int) -> list[Cell]:
    """Of one task."""
    return list(sentence("uses now", use_text(use), "text", draw, width, most=3))


def history_points(width: int) -> int:
    """Steps of a curve that fit beside its label and its numbers."""
    return max(10, min(POINTS_LIMIT, width - LABEL - 22))


def history_lines(reply: cluster_pb2.InspectNodeReply, span: int, draw: Draw, width: int) -> list[Cell]:
    """A curve for each series that has a value; gaps where nothing was measured."""
    known = {row.name: row.values for row in reply.history}
    key = draw.word("node", "history_span")
    head: list[Span] = [(f" LAST {SPAN_WORDS[span]}", "title")]
    if reply.step_us:
        head.append((f"  {span_of_time(reply.step_us)} a step", "dim"))
    head += [("   ", "text"), (key, "key"), (" another span", "dim")]
    lines: list[Cell] = [(), tuple(head)]
    for name, label, role in _CURVES:
        values = [value for value in known.get(name, ()) if not math.isnan(value)]
        if not values:
            continue
        percent = name in ("cpu", "memory", "disk", "io", "gpu", "gpu_memory")
        top = 100.0 if percent else max(values)
        curve = sparkline(known[name], top, history_points(width), draw.glyphs)
        last, most = _said(name, values[-1]), _said(name, max(values))
        shade = level_role(values[-1]) if percent else "text"
        lines.append(pair(label, (curve, f"term-{role}"), (f" {last:>7}", shade), (f" most {most}", "dim")))
    return lines if len(lines) > 2 else [*lines, pair("", ("nothing was measured yet", "dim"))]


def _said(name: str, value: float) -> str:
    if name in ("rx", "tx"):
        return f"{bytes_of(value)}/s"
    if name in ("temperature", "running"):
        return f"{value:.0f}"
    return f"{value:.0f}%"
