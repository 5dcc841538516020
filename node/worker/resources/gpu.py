"""NVIDIA GPUs through the driver's own library. No driver means no GPUs; a driver may come, die and come back."""

from __future__ import annotations

from contextlib import suppress

import pynvml

from cortex.v1 import types_pb2
from node.worker.resources.gpu_read import read_gpu
from node.worker.resources.port import Say

RETRY_EVERY_US = 30_000_000
ABSENT = frozenset({pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED})


class Gpus:
    name = "GPU"

    def __init__(self, say: Say) -> None:
        self._say = say
        self._ready = False
        self._retry_at_us = 0
        self._afresh_at_us: int | None = None
        """When to begin anew with the driver, for the sake of those that cannot be read."""
        self._state = ""

    def read(self, now_us: int) -> types_pb2.Resources:
        """Never raises for what the driver says: a GPU that cannot be read is left out; the log says it once."""
        if not self._ready and now_us < self._retry_at_us:
            return types_pb2.Resources()
        if self._afresh_at_us is not None and now_us >= self._afresh_at_us:
            self._shut()
        try:
            if not self._ready:
                pynvml.nvmlInit()
                self._ready = True
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self._lose(error, now_us)
            return types_pb2.Resources()
        gpus: list[types_pb2.Gpu] = []
        failure: pynvml.NVMLError | None = None
        failed = empty = 0
        for number in range(count):
            try:
                found = read_gpu(number)
            except pynvml.NVMLError as error:
                failure = error
                failed += 1
            else:
                gpus += found
                empty += not found
        if failure is not None and not gpus:
            self._lose(failure, now_us)
        elif failure is not None:
            # One that was reset, or put back, is lost to who knew it before.
            self._afresh_at_us = self._afresh_at_us or now_us + RETRY_EVERY_US
            self._turn(f"{failed} of {count} GPUs cannot be read: {failure}. They are left out.")
        elif empty:
            self._turn(
                f"{empty} of {count} GPUs are to be shared out and have no instances: nothing can run there. "
                "Make some with `nvidia-smi mig -cgi`, or switch MIG off."
            )
        else:
            self._turn(f"GPUs: {', '.join(gpu.name for gpu in gpus)}" if gpus else "The NVIDIA driver sees no GPU.")
        if failure is None:
            self._afresh_at_us = None
        return types_pb2.Resources(gpus=gpus)

    def _lose(self, error: pynvml.NVMLError, now_us: int) -> None:
        """A library that was initialised before its driver went stays useless until it is initialised anew."""
        self._shut()
        self._retry_at_us = now_us + RETRY_EVERY_US
        if error.value in ABSENT:
            self._turn("No NVIDIA driver here: this node has no GPUs.")
        else:
            self._turn(f"The NVIDIA driver fails: {error}. Until it answers again this node has no GPUs.")

    def _shut(self) -> None:
        self._afresh_at_us = None
        if self._ready:
            self._ready = False
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def _turn(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._say(state)
