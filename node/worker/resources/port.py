"""What the parts of a sample have in common, and what a daemon asks of all of them together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from cortex.v1 import types_pb2
from node.worker.port import AttemptKey

Say = Callable[[str], None]
"""Takes one sentence for the operator's log."""


class Part(Protocol):
    """Measures one thing. Reading blocks, may raise anything, and fills only the fields that are its own."""

    @property
    def name(self) -> str: ...

    def read(self, now_us: int) -> types_pb2.Resources:
        """`now_us` is the boot clock in microseconds; rates are taken since the call before."""


class Gauge(Protocol):
    """What a machine knows of its own use. None of these blocks."""

    def follow(self, running: Callable[[], Collection[AttemptKey]]) -> None:
        """Measure these attempts from now on, asked for before each reading."""

    def latest(self) -> types_pb2.Resources:
        """The latest picture, a copy."""

    def uses(self) -> list[types_pb2.TaskUse]:
        """What running attempts use, by task; those that began a moment ago are missing."""

    def use_of(self, key: AttemptKey) -> types_pb2.TaskUse | None:
        """What an attempt used that has just ended; None when it was too short to be measured."""

    def history(self, span_us: int, points: int) -> tuple[list[types_pb2.Series], int, int]:
        """Series of the last `span_us`, `points` values each at most (0 = as they are kept), with the step and the
        end of the last one in microseconds, unix time."""

    async def bench(self) -> types_pb2.Benchmark:
        """Measure what the machine can do, and keep it. Raises Fault."""
