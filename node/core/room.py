"""Room: what a node can still take, counted on in a pass as its tasks are placed."""

from __future__ import annotations

from typing import Final, NamedTuple

from node.core.filters import Ask, NodeInfo, amount, type_name
from node.core.score import PREFERRED_MICROS, TASK_MICROS
from node.core.state import ClusterState, NodeUse

# Assignments that a node may hold beyond its slots, whatever the leader would like.
PREFETCH_MAX = 512


# Where a task would land. A free slot goes before every better score without one.
SLOT: Final = 0
PREFETCH: Final = 1

# Lower is better: tier, then score (or, for a task with a target, load), then node id.
RankKey = tuple[int, int, str]


class Obstacle(NamedTuple):
    reason: str
    flip: str


class Room:
    """A working copy of one node's use."""

    __slots__ = ("assigned", "counts", "cpu_millis", "gpus", "info", "memory_bytes", "prefetch")

    def __init__(self, info: NodeInfo, use: NodeUse | None, prefetch: int) -> None:
        self.info = info
        self.prefetch = min(max(prefetch, 0), PREFETCH_MAX)
        self.counts: dict[int, int] = dict(use.counts) if use is not None else {}
        self.assigned = sum(self.counts.values())
        self.cpu_millis = info.cpu_millis - (use.cpu_millis if use is not None else 0)
        self.memory_bytes = info.memory_bytes - (use.memory_bytes if use is not None else 0)
        self.gpus = info.gpus - (use.gpus if use is not None else 0)

    def open(self) -> bool:
        """Whether it can take one more task of any kind."""
        counts, more = self.counts, self.prefetch
        return any(slots > 0 and counts.get(kind, 0) < slots + more for kind, slots in self.info.slots.items())

    def fits(self, ask: Ask) -> bool:
        """Whether what it declares to need is free of what the node declares to have."""
        return (
            (ask.cpu_millis <= 0 or ask.cpu_millis <= self.cpu_millis)
            and (ask.memory_bytes <= 0 or ask.memory_bytes <= self.memory_bytes)
            and (ask.gpus <= 0 or ask.gpus <= self.gpus)
        )

    def key(self, ask: Ask) -> RankKey | None:
        """Its place among nodes, None when it cannot take such a task now. It only gets worse within a pass."""
        info, held = self.info, self.counts.get(ask.type, 0)
        slots = info.slots.get(ask.type, 0)
        if held < slots:
            tier = SLOT
        elif ask.prefetchable and slots > 0 and held < slots + self.prefetch:
            tier = PREFETCH
        else:
            return None
        if not ask.prefetchable and not self.fits(ask):
            return None
        if ask.target:
            return (tier, self.assigned, info.id)
        return (tier, -self.micros(ask), info.id)

    def free_slot(self, ask: Ask) -> bool:
        return self.counts.get(ask.type, 0) < self.info.slots.get(ask.type, 0)

    def micros(self, ask: Ask) -> int:
        """Score in millionths of a point."""
        worth = self.info.gpu_micros if ask.wants_gpu else self.info.micros
        if ask.preferred:
            worth += PREFERRED_MICROS * self.preferred(ask)
        return worth - TASK_MICROS * self.assigned

    def preferred(self, ask: Ask) -> int:
        """How many of the preferred capabilities the node has."""
        return len(ask.preferred & self.info.capabilities) if ask.preferred else 0

    def reserve(self, ask: Ask) -> None:
        self.assigned += 1
        self.counts[ask.type] = self.counts.get(ask.type, 0) + 1
        self.cpu_millis -= ask.cpu_millis
        self.memory_bytes -= ask.memory_bytes
        self.gpus -= ask.gpus

    def obstacles(self, ask: Ask) -> list[Obstacle]:
        """What is in the way of key(), in words."""
        node = self.info.id
        found: list[Obstacle] = []
        for need, free, capacity, what, text in (
            (ask.cpu_millis, self.cpu_millis, self.info.cpu_millis, "CPU", _cores),
            (ask.memory_bytes, self.memory_bytes, self.info.memory_bytes, "reserved memory", amount),
            (ask.gpus, self.gpus, self.info.gpus, "GPU", str),
        ):
            if need <= 0 or need <= free:
                continue
            if need > capacity:
                flip = f"request at most {text(max(capacity, 0))} of {what}"
            else:
                flip = f"wait until tasks on {node} end that reserve {text(need - free)} of {what}"
            found.append(Obstacle(f"needs {text(need - free)} more {what}", flip))
        held, slots = self.counts.get(ask.type, 0), self.info.slots.get(ask.type, 0)
        if slots > 0 and held >= slots + (self.prefetch if ask.prefetchable else 0):
            found.append(
                Obstacle(
                    f"no free {type_name(ask.type)} slot ({held} of {slots} taken)",
                    f"wait until a task on {node} ends",
                )
            )
        return found


def room_of(state: ClusterState, info: NodeInfo, prefetch: int) -> Room:
    return Room(info, state.use.get(info.id), prefetch)


def _cores(millis: int) -> str:
    return "1 core" if millis == 1000 else f"{millis / 1000:g} cores"
