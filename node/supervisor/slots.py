"""The order in which accepted work starts: by priority, then age, within the slots of its kind."""

from __future__ import annotations

from heapq import heappop, heappush


class SlotQueue:
    """Which key may start next. Pure: the supervisor and the simulator share it."""

    __slots__ = ("_busy", "_heaps", "_slots", "_waiting")

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}
        self._busy: dict[int, int] = {}
        self._heaps: dict[int, list[tuple[int, int, str]]] = {}
        self._waiting: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    def configure(self, slots: dict[int, int]) -> None:
        """Set how many of each kind run at once; a kind that is not named has one slot."""
        self._slots = dict(slots)

    @property
    def slots(self) -> dict[int, int]:
        return self._slots

    def occupy(self, kind: int) -> None:
        """A slot is taken by what started before this queue was made."""
        self._busy[kind] = self._busy.get(kind, 0) + 1

    def add(self, key: str, kind: int, priority: int, created_us: int) -> None:
        self._waiting[key] = kind
        heappush(self._heaps.setdefault(kind, []), (-priority, created_us, key))

    def remove(self, key: str) -> bool:
        """Whether it was waiting; it is not any more."""
        return self._waiting.pop(key, None) is not None

    def free(self, kind: int) -> int:
        return self._slots.get(kind, 1) - self._busy.get(kind, 0)

    def pop(self) -> str | None:
        """The next key for which a slot is free; the slot is taken. None when nothing can start."""
        for kind, heap in self._heaps.items():
            while heap and not self._is_current(heap[0][2], kind):
                heappop(heap)
            if heap and self.free(kind) > 0:
                key = heappop(heap)[2]
                del self._waiting[key]
                self._busy[kind] = self._busy.get(kind, 0) + 1
                return key
        return None

    def release(self, kind: int) -> None:
        """Give a slot back."""
        self._busy[kind] -= 1

    def _is_current(self, key: str, kind: int) -> bool:
        return self._waiting.get(key) == kind
