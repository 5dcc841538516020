"""What the parts of a sample have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cortex.v1 import types_pb2

Say = Callable[[str], None]
"""Takes one sentence for the operator's log."""


class Part(Protocol):
    """Measures one thing. Reading blocks, may raise anything, and fills only the fields that are its own."""

    @property
    def name(self) -> str: ...

    def read(self, now_us: int) -> types_pb2.Resources:
        """`now_us` is the boot clock in microseconds; rates are taken since the call before."""
