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
# Then nothing more can be asked of the device. Whatever else keeps a single value back (a model or a driver that
# does not know it, a container that may not, a list that grows as it is read) costs that value alone.
_GONE = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_RESET_REQUIRED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
_NO_SHARING = frozenset(
    {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NO_PERMISSION}
)
# The newest first: a driver may not have it yet, or no longer.
_COMPUTING = (pynvml.nvmlDeviceGetComputeRunningProcesses_v3, pynvml.nvmlDeviceGetComputeRunningProcesses_v2)
_BY_A_SERVER = (
    pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3,
    pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v2,
)
_DRAWING = (pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3, pynvml.nvmlDeviceGetGraphicsRunningProcesses_v2)
_REASONS = (
    pynvml.nvmlDeviceGetCurrentClocksEventReasons,
    pynvml.nvmlDeviceGetCurrentClocksThrottleReasons,
)
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
    return _instances(device) if _is_shared_out(device) else [_whole(device)]


def _is_shared_out(device: Any) -> bool:
    try:
        mode = pynvml.nvmlDeviceGetMigMode(device)
    except pynvml.NVMLError as error:
        if error.value in _NO_SHARING:
            return False
        raise  # not to take the parts for a whole
    return bool(mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE)


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
    thermometers = (pynvml.nvmlDeviceGetTemperatureV, pynvml.nvmlDeviceGetTemperature)
    _put(gpu, "temperature_celsius", _first_told([partial(ask, sensor=sensor) for ask in thermometers], device))
    kind, since = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
    _put(gpu, "ecc_errors", _told(lambda: pynvml.nvmlDeviceGetTotalEccErrors(device, kind, since)))
    reasons = _first_told(_REASONS, device) or 0
    gpu.slowed_by.extend(word for bits, word in _SLOWED_BY if reasons & bits)


def _processes(device: Any) -> list[types_pb2.GpuProcess]:
    """Those that compute, also through a server (MPS), and those that draw, each once; most memory first."""
    bytes_of: dict[int, int] = {}
    for versions in (_COMPUTING, _BY_A_SERVER, _DRAWING):
        for one in _first_told(versions, device) or ():
            bytes_of[one.pid] = max(bytes_of.get(one.pid, 0), one.usedGpuMemory or 0)
    most = sorted(bytes_of, key=lambda pid: (-bytes_of[pid], pid))[:PROCESSES_LIMIT]
    return [types_pb2.GpuProcess(pid=pid, name=_name(pid), memory_bytes=bytes_of[pid]) for pid in most]


def _name(pid: int) -> str:
    """Empty for one of another container."""
    try:
        return (PROCESSES / str(pid) / "comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""


def _first_told(versions: Iterable[Callable[[Any], T]], device: Any) -> T | None:
    """By the first function that the driver knows."""
    for ask in versions:
        found = _told(partial(ask, device))
        if found is not None:
            return found
    return None


def _told(ask: Callable[[], T]) -> T | None:
    """None when the driver does not say. Raises NVMLError when the device is lost."""
    try:
        return ask()
    except pynvml.NVMLLibraryMismatchError:
        return None
    except pynvml.NVMLError as error:
        if error.value in _GONE:
            raise
        return None


def _put(gpu: types_pb2.Gpu, name: str, value: float | None) -> None:
    if value is not None:
        setattr(gpu, name, value)
