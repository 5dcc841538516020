"""What the NVIDIA driver says of one GPU, or of the instances that it is shared out to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from cortex.v1 import types_pb2

T = TypeVar("T")

PROCESSES_LIMIT = 32
PROCESSES = Path("/proc")
# A driver, or a model, may not know of it, and a container may not be told.
_UNTOLD = (
    pynvml.NVMLError_NotSupported,
    pynvml.NVMLError_FunctionNotFound,
    pynvml.NVMLError_NoPermission,
    pynvml.NVMLLibraryMismatchError,
)
_COMPUTING = (pynvml.nvmlDeviceGetComputeRunningProcesses_v3, pynvml.nvmlDeviceGetComputeRunningProcesses_v2)
_DRAWING = (pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3, pynvml.nvmlDeviceGetGraphicsRunningProcesses_v2)
_SLOWED_BY = (
    (pynvml.nvmlClocksThrottleReasonSwThermalSlowdown | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown, "heat"),
    (pynvml.nvmlClocksThrottleReasonSwPowerCap, "its power limit"),
    (pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown, "the power supply"),
    (pynvml.nvmlClocksThrottleReasonHwSlowdown, "its hardware"),
    (pynvml.nvmlClocksThrottleReasonSyncBoost, "another GPU of its group"),
)


def read_gpu(number: int) -> list[types_pb2.Gpu]:
    """The GPU, or instead its instances where it is shared out, which may be none. What is not measured is absent.

    Raises NVMLError when the device is lost.
    """
    device = pynvml.nvmlDeviceGetHandleByIndex(number)
    mode = _told(lambda: pynvml.nvmlDeviceGetMigMode(device))
    if mode is None or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return [_whole(device)]
    return _instances(device)


def _whole(device: Any) -> types_pb2.Gpu:
    gpu = _any(device)
    _put(gpu, "utilisation_percent", _told(lambda: pynvml.nvmlDeviceGetUtilizationRates(device).gpu))
    _put(gpu, "power_watts", _told(lambda: pynvml.nvmlDeviceGetPowerUsage(device) / 1000))
    _chip(gpu, device)
    return gpu


def _instances(device: Any) -> list[types_pb2.Gpu]:
    """Memory and processes are each instance's own, chip and clocks they share; power is not told by parts."""
    parent = pynvml.nvmlDeviceGetUUID(device)
    found: list[types_pb2.Gpu] = []
    for place in range(_told(lambda: pynvml.nvmlDeviceGetMaxMigDeviceCount(device)) or 0):
        try:
            instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(device, place)
        except (pynvml.NVMLError_NotFound, pynvml.NVMLError_InvalidArgument):
            continue
        gpu = _any(instance)
        gpu.parent = parent
        _chip(gpu, device)
        found.append(gpu)
    return found


def _any(device: Any) -> types_pb2.Gpu:
    """What a GPU and an instance have alike."""
    gpu = types_pb2.Gpu(name=pynvml.nvmlDeviceGetName(device), uuid=pynvml.nvmlDeviceGetUUID(device))
    memory = _told(lambda: pynvml.nvmlDeviceGetMemoryInfo(device))
    if memory is not None:
        gpu.memory_total_bytes = memory.total
        gpu.memory_used_bytes = memory.used
    gpu.processes.extend(_processes(device))
    return gpu


def _chip(gpu: types_pb2.Gpu, device: Any) -> None:
    """What is measured of the whole chip."""
    sensor = pynvml.NVML_TEMPERATURE_GPU
    _put(gpu, "temperature_celsius", _told(lambda: pynvml.nvmlDeviceGetTemperature(device, sensor)))
    kind, since = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
    _put(gpu, "ecc_errors", _told(lambda: pynvml.nvmlDeviceGetTotalEccErrors(device, kind, since)))
    reasons = _told(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(device)) or 0
    gpu.slowed_by.extend(word for bits, word in _SLOWED_BY if reasons & bits)


def _processes(device: Any) -> list[types_pb2.GpuProcess]:
    """Those that compute and those that draw, each once; most memory first."""
    bytes_of: dict[int, int] = {}
    for versions in (_COMPUTING, _DRAWING):
        for one in _first_told(versions, device):
            bytes_of[one.pid] = max(bytes_of.get(one.pid, 0), one.usedGpuMemory or 0)
    most = sorted(bytes_of, key=lambda pid: (-bytes_of[pid], pid))[:PROCESSES_LIMIT]
    return [types_pb2.GpuProcess(pid=pid, name=_name(pid), memory_bytes=bytes_of[pid]) for pid in most]


def _name(pid: int) -> str:
    """Empty for one of another container."""
    try:
        return (PROCESSES / str(pid) / "comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""


def _first_told(versions: Iterable[Callable[[Any], list[Any]]], device: Any) -> list[Any]:
    """By the newest function that the driver knows."""
    for ask in versions:
        found = _told(partial(ask, device))
        if found is not None:
            return found
    return []


def _told(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except _UNTOLD:
        return None


def _put(gpu: types_pb2.Gpu, name: str, value: float | None) -> None:
    if value is not None:
        setattr(gpu, name, value)
