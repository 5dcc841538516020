"""Whether what clients saw could have come from one object that does one thing at a time (Herlihy and Wing, 1990).

Every operation says which version of its object it made or saw. So the one order that could explain a history is
known, and there is nothing to search for: it is linearizable if no operation that began after another had ended has
an older version, and if all that have seen one version saw the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter


@dataclass(slots=True)
class Operation:
    """One call of a client on one object, from when it asked to when it was answered."""

    object: str
    what: str
    begun_s: float
    ended_s: float = 0.0
    version: int = 0
    content: bytes = b""
    """What a read saw; empty for a write, or where it was not looked at."""


class History:
    """Operations that were answered. What ended unanswered may have happened or not, and is left out."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._operations: dict[str, list[Operation]] = {}

    def begin(self, name: str, what: str) -> Operation:
        return Operation(name, what, self._now_s())

    def end(self, operation: Operation, version: int, content: bytes = b"") -> None:
        operation.ended_s, operation.version, operation.content = self._now_s(), version, content
        self._operations.setdefault(operation.object, []).append(operation)

    @property
    def count(self) -> int:
        return sum(map(len, self._operations.values()))

    def violations(self) -> Iterator[str]:
        """A sentence for each operation that no order explains."""
        for operations in self._operations.values():
            yield from _out_of_order(operations)
            yield from _ambiguous(operations)


def _out_of_order(operations: list[Operation]) -> Iterator[str]:
    ended: list[tuple[float, int]] = []
    """Of those begun so far, by their ends."""
    newest = 0
    for operation in sorted(operations, key=attrgetter("begun_s")):
        while ended and ended[0][0] < operation.begun_s:
            newest = max(newest, heapq.heappop(ended)[1])
        if operation.version < newest:
            yield (
                f"not linearizable: {operation.what} of {operation.object} begun at {operation.begun_s:.3f} s has "
                f"version {operation.version}, another had ended with {newest} before"
            )
        heapq.heappush(ended, (operation.ended_s, operation.version))


def _ambiguous(operations: list[Operation]) -> Iterator[str]:
    seen: dict[int, bytes] = {}
    for operation in operations:
        if operation.content and seen.setdefault(operation.version, operation.content) != operation.content:
            yield f"not linearizable: two reads of version {operation.version} of {operation.object} differ"
