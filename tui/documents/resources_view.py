"""What nodes measure, as the JSON documents that scripts rely on: absent = not measured = null. Pure."""

from __future__ import annotations

import math
from typing import Any

from cortex.v1 import cluster_pb2, types_pb2
from tui.drawing.format import rfc3339

Document = dict[str, Any]

_PLAIN = (
    "cpu_percent",
    "cores",
    "load_1m",
    "memory_total_bytes",
    "memory_available_bytes",
    "disk_total_bytes",
    "disk_free_bytes",
    "disk_io_percent",
    "rx_bytes_per_s",
    "tx_bytes_per_s",
)
_MEASURED = (
    "disk_queue",
    "disk_read_bytes_per_s",
    "disk_written_bytes_per_s",
    "net_drops_per_s",
    "temperature_celsius",
    "battery_percent",
    "on_battery",
    "cpu_pressure_percent",
    "memory_pressure_percent",
    "io_pressure_percent",
    "swap_total_bytes",
    "swap_used_bytes",
)
_BENCHMARK = (
    "cores",
    "core_flops",
    "core_spread_percent",
    "node_flops",
    "node_spread_percent",
    "memory_bytes_per_s",
    "memory_spread_percent",
)
_BENCHMARK_OF_DISK = ("write_bytes_per_s", "write_spread_percent", "read_iops", "read_spread_percent")


def network_percent(row: types_pb2.Resources) -> float | None:
    """Of the links' speed in the busier direction; None where no link tells its speed."""
    if not row.link_bits_per_s:
        return None
    return min(100.0, 800.0 * max(row.rx_bytes_per_s, row.tx_bytes_per_s) / row.link_bits_per_s)


def resources(row: types_pb2.Resources) -> Document:
    return {
        "sampled_at": rfc3339(row.sampled_at_us) if row.sampled_at_us else None,
        **{name: getattr(row, name) for name in _PLAIN},
        "link_bits_per_s": row.link_bits_per_s or None,
        "network_percent": network_percent(row),
        **{name: getattr(row, name) if row.HasField(name) else None for name in _MEASURED},  # type: ignore[arg-type]
        "gpus": [gpu(item) for item in row.gpus],
        "gaming": row.gaming,
        "interactive_owner": row.interactive_owner,
    }


def gpu(row: types_pb2.Gpu) -> Document:
    return {
        "name": row.name,
        "uuid": row.uuid,
        "memory_total_bytes": row.memory_total_bytes,
        "memory_used_bytes": row.memory_used_bytes,
        "utilisation_percent": row.utilisation_percent if row.HasField("utilisation_percent") else None,
        "gaming": row.gaming,
        "temperature_celsius": row.temperature_celsius or None,
        "power_watts": row.power_watts or None,
        "parent": row.parent or None,
        "slowed_by": list(row.slowed_by),
        "ecc_errors": row.ecc_errors if row.HasField("ecc_errors") else None,
        "processes": [
            {
                "pid": item.pid,
                "name": item.name or None,
                "memory_bytes": item.memory_bytes or None,
                "task": item.task or None,
            }
            for item in row.processes
        ],
    }


def benchmark(row: types_pb2.Benchmark) -> Document:
    disk = bool(row.write_bytes_per_s)
    return {
        "at": rfc3339(row.at_us) if row.at_us else None,
        **{name: getattr(row, name) for name in _BENCHMARK},
        **{name: getattr(row, name) if disk else None for name in _BENCHMARK_OF_DISK},
        "others_percent": row.others_percent,
        "note": row.note or None,
    }


def executors(row: types_pb2.Node) -> list[Document]:
    """What tasks the node runs, with what, or why not."""
    return [
        {
            "type": type_name(item.type),
            "available": item.available,
            "slots": slots_of(row, item.type),
            "detail": item.detail or None,
            "reason": item.reason or None,
        }
        for item in row.executors
    ]


def sandboxes(row: types_pb2.Node) -> list[Document]:
    """At which levels the node runs commands, or why not."""
    return [
        {
            "level": level_name(item.level),
            "available": item.available,
            "detail": item.detail or None,
            "reason": item.reason or None,
        }
        for item in row.sandboxes
    ]


def task_use(row: types_pb2.TaskUse) -> Document:
    return {
        "task": row.task,
        "fence": row.fence,
        "processes": row.processes,
        "cpu_percent": row.cpu_percent,
        "memory_bytes": row.memory_bytes,
        "read_bytes_per_s": row.read_bytes_per_s if row.HasField("read_bytes_per_s") else None,
        "written_bytes_per_s": row.written_bytes_per_s if row.HasField("written_bytes_per_s") else None,
        "gpu_memory_bytes": row.gpu_memory_bytes,
        "peak_cpu_percent": row.peak_cpu_percent,
        "peak_memory_bytes": row.peak_memory_bytes,
        "peak_gpu_memory_bytes": row.peak_gpu_memory_bytes,
    }


def history(reply: cluster_pb2.InspectNodeReply) -> Document:
    """Null in a series is a step in which nothing was measured."""
    return {
        "step_s": reply.step_us / 1e6,
        "until": rfc3339(reply.until_us),
        "series": {
            row.name: [None if math.isnan(value) else round(value, 3) for value in row.values]
            for row in reply.history
        },
    }


def type_name(kind: types_pb2.TaskType.ValueType) -> str:
    return types_pb2.TaskType.Name(kind).removeprefix("TASK_TYPE_").lower()


def level_name(level: types_pb2.SandboxLevel.ValueType) -> str:
    return types_pb2.SandboxLevel.Name(level).removeprefix("SANDBOX_LEVEL_").lower()


def slots_of(row: types_pb2.Node, kind: types_pb2.TaskType.ValueType) -> int:
    return sum(item.count for item in row.slots if item.type == kind)
