"""Memory of the machine."""

from __future__ import annotations

import psutil

from cortex.v1 import types_pb2


class Memory:
    name = "memory"

    def read(self, now_us: int) -> types_pb2.Resources:
        memory = psutil.virtual_memory()
        return types_pb2.Resources(memory_total_bytes=memory.total, memory_available_bytes=memory.available)
