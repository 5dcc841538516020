"""One node as lines of plain text: what it is, what it measures, what it runs and why not. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.documents import json_view, resources_view
from tui.drawing.draw import ASCII, UNICODE, sparkline
from tui.drawing.format import duration, rfc3339, size
from tui.drawing.text import clean, fit
from tui.store.score import full_score, points_of, points_text

SPARK_STEPS = 60
OFFER_LINES_LIMIT = 40
SERIES_FULL = {"cpu": 100.0, "memory": 100.0, "disk": 100.0, "io": 100.0, "gpu": 100.0, "gpu_memory": 100.0}
"""Series that are percentages; all others are drawn against their own highest value."""


def node_lines(view: cluster_pb2.NodeView, uses: Sequence[types_pb2.TaskUse] = ()) -> Iterator[str]:
    """Everything but its events."""
    facts = _cluster_facts(view) if view.node.kind else (*_facts(view), *_measured(view), *_benchmark(view))
    for name, value in facts:
        if value:
            yield f"{name + ':':<10}{clean(value)}"
    yield from _gpu_lines(view.resources)
    yield from _offer_lines(view.node)
    for use in uses:
        yield f"{'uses:':<10}{clean(use.task)}  {use_text(use)}"


def score_text(score: float, terms: types_pb2.ScoreTerms, weights: str) -> str:
    """A score with what it is made of, each of the most that `weights` give it."""
    gpu = terms.gpu > 0
    return f"{score:.1f} of {points_of(full_score(terms, weights, gpu=gpu))} ({points_text(terms, weights)})"


def _facts(view: cluster_pb2.NodeView) -> list[tuple[str, str]]:
    row = view.node
    return [
        ("id", row.id),
        ("hostname", row.hostname),
        ("address", row.address),
        ("kind", row.kind),
        ("state", json_view.node_state(row) + (f" ({row.message})" if row.message else "")),
        ("alarm", row.alarm),
        ("suspect", row.suspect_reason),
        ("drain", row.operation),
        ("role", json_view.node_role(row.role) + (", leads" if view.leader else "")),
        ("score", score_text(view.score, view.terms, view.weights) if view.scored else ""),
        ("tasks", f"{view.running} running on {json_view.slots(row)} slots, {view.assigned} more held"),
        ("labels", ", ".join(json_view.label(item) for item in row.labels)),
        ("can", ", ".join(row.capabilities)),
        ("version", row.version),
        ("joined", rfc3339(row.joined_at_us) if row.joined_at_us else ""),
    ]


def _cluster_facts(view: cluster_pb2.NodeView) -> list[tuple[str, str]]:
    """Of what is behind a node, which has no daemon of its own."""
    row, sample = view.node, view.resources
    room = f"{row.capacity.cpu_millis / 1000:g} cores, {size(row.capacity.memory_bytes)} of memory"
    used = f"{sample.cpu_percent:.0f} % of the cores, {size(sample.memory_available_bytes)} of memory free"
    return [
        ("id", row.id),
        ("kind", row.kind),
        ("address", row.address),
        ("state", json_view.node_state(row) + (f" ({row.message})" if row.message else "")),
        ("tasks", f"{view.running} running, {view.assigned} more held"),
        ("labels", ", ".join(json_view.label(item) for item in row.labels)),
        ("version", row.version),
        ("room", f"{room}, {row.capacity.gpus} GPUs" if row.HasField("capacity") else ""),
        ("used", f"{used}, {view.age_us / 1e6:.0f} s ago" if view.HasField("resources") else ""),
    ]


def _measured(view: cluster_pb2.NodeView) -> list[tuple[str, str]]:
    """What is not measured is left out."""
    if not view.HasField("resources"):
        return []
    sample = view.resources
    memory = f"{size(sample.memory_available_bytes)} of {size(sample.memory_total_bytes)} available"
    if sample.swap_total_bytes:
        memory += f", {size(sample.swap_used_bytes)} of {size(sample.swap_total_bytes)} swap used"
    return [
        ("cpu", f"{sample.cpu_percent:.0f} % of {sample.cores} cores, load {sample.load_1m:.2f}{_warm(sample)}"),
        ("memory", memory),
        ("disk", f"{size(sample.disk_free_bytes)} of {size(sample.disk_total_bytes)} free{_disk(sample)}"),
        ("network", _network(sample)),
        ("pressure", pressure_text(sample)),
        ("battery", battery_text(sample)),
        ("in use", ("a game runs" if sample.gaming else "somebody works at it") if _claimed(sample) else ""),
    ]


def _claimed(sample: types_pb2.Resources) -> bool:
    return sample.gaming or sample.interactive_owner


def _warm(sample: types_pb2.Resources) -> str:
    return f", {sample.temperature_celsius:.0f} °C" if sample.HasField("temperature_celsius") else ""


def _disk(sample: types_pb2.Resources) -> str:
    said = f", {sample.disk_io_percent:.0f} % busy"
    if sample.HasField("disk_queue"):
        said += f", {sample.disk_queue:.1f} requests in flight"
        said += f", {size(round(sample.disk_read_bytes_per_s))}/s read"
        said += f", {size(round(sample.disk_written_bytes_per_s))}/s written"
    return said


def _network(sample: types_pb2.Resources) -> str:
    said = f"{size(round(sample.rx_bytes_per_s))}/s in, {size(round(sample.tx_bytes_per_s))}/s out"
    share = resources_view.network_percent(sample)
    if share is not None:
        said += f", {share:.0f} % of its links"
    if sample.HasField("net_drops_per_s") and sample.net_drops_per_s > 0:
        said += f", {sample.net_drops_per_s:.0f} packets/s dropped"
    return said


def pressure_text(sample: types_pb2.Resources) -> str:
    """Empty where the kernel does not count it."""
    told = [
        f"{name} {getattr(sample, f'{kind}_pressure_percent'):.0f} %"
        for kind, name in (("cpu", "cores"), ("memory", "memory"), ("io", "disk"))
        if sample.HasField(f"{kind}_pressure_percent")  # type: ignore[arg-type]
    ]
    return f"something waited for {', '.join(told)} of the last 10 s" if told else ""


def battery_text(sample: types_pb2.Resources) -> str:
    """Empty without a battery."""
    if not sample.HasField("battery_percent"):
        return ""
    said = f"{sample.battery_percent:.0f} %"
    return said + (", no mains power" if sample.on_battery else "")


def gpu_text(gpu: types_pb2.Gpu) -> str:
    parts = [gpu.name + (f" (a part of {gpu.parent})" if gpu.parent else "")]
    if gpu.HasField("utilisation_percent"):
        parts.append(f"{gpu.utilisation_percent:.0f} % busy")
    if gpu.memory_total_bytes:
        parts.append(f"{size(gpu.memory_used_bytes)} of {size(gpu.memory_total_bytes)} used")
    if gpu.temperature_celsius:
        parts.append(f"{gpu.temperature_celsius:.0f} °C")
    if gpu.power_watts:
        parts.append(f"{gpu.power_watts:.0f} W")
    if gpu.slowed_by:
        parts.append(f"slowed down by {' and '.join(gpu.slowed_by)}")
    if gpu.ecc_errors:
        parts.append(f"{gpu.ecc_errors} memory errors not corrected")
    if gpu.gaming:
        parts.append("a game uses it")
    return ", ".join(parts)


def gpu_process_text(process: types_pb2.GpuProcess) -> str:
    said = f"{process.name or 'a process'} ({process.pid})"
    if process.memory_bytes:
        said += f" {size(process.memory_bytes)}"
    return said + (f", task {process.task}" if process.task else "")


def _gpu_lines(sample: types_pb2.Resources) -> Iterator[str]:
    for gpu in sample.gpus:
        yield f"{'gpu:':<10}{clean(gpu_text(gpu))}"
        for process in gpu.processes:
            yield f"{'':<10}  {clean(gpu_process_text(process))}"


def _offer_lines(row: types_pb2.Node) -> Iterator[str]:
    offers = sorted(list(row.executors)[:OFFER_LINES_LIMIT], key=lambda item: not item.available)
    for item in offers:
        yield f"{'runs:' if item.available else 'runs not:':<10}{clean(offer_text(row, item))}"
    for level in row.sandboxes:
        name = resources_view.level_name(level.level) + ("" if level.available else ", not here")
        yield f"{'sandbox:':<10}{clean(name + _because(level.available, level.detail, level.reason))}"


def offer_text(row: types_pb2.Node, item: types_pb2.ExecutorOffer) -> str:
    """What runs a type and how many at once, or why not."""
    name = resources_view.type_name(item.type)
    if not item.available:
        return name + _because(False, item.detail, item.reason)
    count = resources_view.slots_of(row, item.type)
    return f"{name}, {count} at once" + _because(True, item.detail, "")


def _because(available: bool, detail: str, reason: str) -> str:
    said = detail if available else reason or detail
    return f": {said}" if said else ""


def _benchmark(view: cluster_pb2.NodeView) -> list[tuple[str, str]]:
    if not view.resources.HasField("benchmark"):
        return []
    row = view.resources.benchmark
    return [("bench", f"{benchmark_text(row)} ({rfc3339(row.at_us)[:19]}Z)"), ("doubtful", row.note)]


def benchmark_text(row: types_pb2.Benchmark) -> str:
    parts = [
        f"{row.core_flops / 1e9:.2f} GFLOPS a core",
        f"{row.node_flops / 1e9:.2f} on {row.cores}",
        f"memory {size(round(row.memory_bytes_per_s))}/s",
    ]
    if row.write_bytes_per_s:
        parts += [f"disk {size(round(row.write_bytes_per_s))}/s written", f"{row.read_iops:.0f} random reads/s"]
    return ", ".join(parts)


def use_text(use: types_pb2.TaskUse) -> str:
    """What a running task takes now, and the most that it took."""
    parts = [f"{use.cpu_percent / 100:.2f} cores", size(use.memory_bytes)]
    if use.gpu_memory_bytes:
        parts.append(f"{size(use.gpu_memory_bytes)} of GPUs")
    if use.HasField("read_bytes_per_s"):
        parts.append(f"{size(round(use.read_bytes_per_s))}/s read")
        parts.append(f"{size(round(use.written_bytes_per_s))}/s written")
    parts.append(f"{use.processes} processes" if use.processes != 1 else "1 process")
    return f"{', '.join(parts)} (most: {use.peak_cpu_percent / 100:.2f} cores, {size(use.peak_memory_bytes)})"


def used_text(usage: types_pb2.Usage) -> str:
    """What an attempt that has ended took; empty when it never ran."""
    if not usage.wall_us:
        return ""
    parts = [f"{duration(usage.cpu_user_us + usage.cpu_system_us)} of CPU time in {duration(usage.wall_us)}"]
    if usage.peak_memory_bytes or usage.max_rss_bytes:
        parts.append(f"{size(usage.peak_memory_bytes or usage.max_rss_bytes)} of memory at most")
    if usage.peak_gpu_memory_bytes:
        parts.append(f"{size(usage.peak_gpu_memory_bytes)} of GPUs at most")
    if usage.read_bytes or usage.written_bytes:
        parts.append(f"{size(usage.read_bytes)} read, {size(usage.written_bytes)} written")
    return ", ".join(parts)


def history_lines(reply: cluster_pb2.InspectNodeReply, *, unicode: bool) -> Iterator[str]:
    """A curve for each series that has any value, with gaps where nothing was measured."""
    glyphs = UNICODE if unicode else ASCII
    steps = max((len(row.values) for row in reply.history), default=0)
    if not steps:
        return
    span, step = duration(steps * reply.step_us), duration(reply.step_us)
    yield f"the last {span}, each step {step}, until {rfc3339(reply.until_us)[:19]}Z"
    for row in reply.history:
        known = [value for value in row.values if not math.isnan(value)]
        if not known:
            continue
        top = SERIES_FULL.get(row.name, max(known))
        curve = sparkline(row.values, top, len(row.values), glyphs)
        told = (("least", min(known)), ("mean", sum(known) / len(known)), ("most", max(known)))
        numbers = ", ".join(f"{word} {_value(row.name, value)}" for word, value in told)
        yield f"{fit(row.name.replace('_', ' '), 12)}{curve}  {numbers}"


def _value(name: str, value: float) -> str:
    if name in ("rx", "tx"):
        return f"{size(round(value))}/s"
    if name == "temperature":
        return f"{value:.0f} °C"
    return f"{value:.1f}" if name == "running" else f"{value:.0f} %"
