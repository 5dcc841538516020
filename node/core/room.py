"""Room: what a node can still take and what it is worth, counted on in a pass as its tasks are placed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from cortex.v1.types_pb2 import Placement, ScoreTerms
from node.core import settings
from node.core.filters import Ask, NodeInfo, amount, type_name
from node.core.model import ASSIGNED, PREFETCH_LIMIT, RUNNING
from node.core.score import (
    MICROS,
    PREFERRED_MICROS,
    SUSPECT_PENALTY,
    TASK_MICROS,
    TASK_PENALTY,
    capability_micros,
    fairness_micros,
    load_micros,
    priority_micros,
)
from node.core.state import ClusterState, NodeUse
from node.core.weights import DEFAULT, Weights

# Where a task would land. A free slot goes before every better score without one.
SLOT: Final = 0
PREFETCH: Final = 1


class Obstacle(NamedTuple):
    reason: str
    flip: str
    kind: str = ""  # the reason without what differs from node to node; empty = the reason itself


class Room:
    """A working copy of one node's use, scored by profile `resources`."""

    __slots__ = (
        "_drafts",
        "assigned",
        "counts",
        "cpu_millis",
        "gpus",
        "info",
        "kept",
        "memory_bytes",
        "prefetch",
        "version",
        "weights",
    )

    def __init__(self, info: NodeInfo, use: NodeUse | None, prefetch: int, weights: Weights = DEFAULT) -> None:
        """`weights` are those that `info` was scored by."""
        self.info = info
        self.weights = weights
        self.prefetch = min(max(prefetch, 0), PREFETCH_LIMIT)
        self.version = 0
        self.kept = False  # what is reserved there is for one that waits longer
        self._drafts: dict[tuple[bool, int], Placement] = {}
        if use is None:
            self.counts: dict[int, int] = {}
            self.assigned = 0
            self.cpu_millis, self.memory_bytes, self.gpus = info.cpu_millis, info.memory_bytes, info.gpus
        else:
            self.counts = dict(use.counts)
            self.assigned = sum(use.counts.values())
            self.cpu_millis = info.cpu_millis - use.cpu_millis
            self.memory_bytes = info.memory_bytes - use.memory_bytes
            self.gpus = info.gpus - use.gpus

    def expect(self, coming: Mapping[int, int]) -> None:
        """Count tasks that are on their way there, by type; they reserve nothing."""
        for kind, count in coming.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
            self.assigned += count

    def open(self, kind: int) -> bool:
        """Whether it can take one more task of a type, if that may wait there."""
        slots = self.info.slots.get(kind, 0)
        return slots > 0 and self.counts.get(kind, 0) < slots + self.prefetch

    def fits(self, ask: Ask) -> bool:
        """Whether what it declares to need is free of what the node declares to have."""
        if self.kept and ask.reserves():
            return False
        return (
            (ask.cpu_millis <= 0 or ask.cpu_millis <= self.cpu_millis)
            and (ask.memory_bytes <= 0 or ask.memory_bytes <= self.memory_bytes)
            and (ask.gpus <= 0 or ask.gpus <= self.gpus)
        )

    def item(self, ask: Ask) -> RankItem | None:
        """Its place among nodes, None when it cannot take such a task now. It only gets worse within a pass."""
        info = self.info
        held, slots = self.counts.get(ask.type, 0), info.slots.get(ask.type, 0)
        if held < slots:
            tier = SLOT
        elif ask.prefetchable and slots > 0 and held < slots + self.prefetch:
            tier = PREFETCH
        else:
            return None
        if not ask.prefetchable and not self.fits(ask):
            return None
        return (tier, self.assigned if ask.target else -self.micros(ask), info.id, self.version, self)

    def shortfall(self, ask: Ask) -> int | None:
        """What is missing of what it declares to need, in millionths of that; None when there never is so much."""
        worst = 0
        for need, free, capacity in (
            (ask.cpu_millis, self.cpu_millis, self.info.cpu_millis),
            (ask.memory_bytes, self.memory_bytes, self.info.memory_bytes),
            (ask.gpus, self.gpus, self.info.gpus),
        ):
            if need > 0 and need > capacity:
                return None
            if need > 0 and need > free:
                worst = max(worst, (need - free) * MICROS // need)
        return worst

    def keep(self) -> None:
        """Let nothing more be reserved there in this pass."""
        self.kept = True
        self.version += 1

    def micros(self, ask: Ask) -> int:
        """Score in millionths of a point, but for what is the same on all nodes."""
        info = self.info
        worth = info.gpu_micros if ask.wants_gpu else info.micros
        if ask.preferred:
            worth += PREFERRED_MICROS * len(ask.preferred & info.capabilities)
        return worth - TASK_MICROS * self.assigned

    def placement(self, ask: Ask, priority: int) -> Placement:
        """Score and terms for a task now; no reason yet. The terms sum to the score."""
        preferred = len(ask.preferred & self.info.capabilities) if ask.preferred else 0
        draft = self._drafts.get((ask.wants_gpu, preferred))
        if draft is None:
            terms = self.info.points.terms(0, gpu=ask.wants_gpu, preferred=preferred)
            if self.info.row.suspect_reason:
                terms.suspect = -SUSPECT_PENALTY
            draft = self._drafts[ask.wants_gpu, preferred] = Placement(
                node=self.info.id, terms=terms, weights=self.weights.text
            )
        made = Placement()
        made.CopyFrom(draft)
        made.score = self.micros(ask) / MICROS
        if self.assigned:
            made.terms.tasks = -TASK_PENALTY * self.assigned
        return made

    def reserve(self, ask: Ask) -> bool:
        """Take up a task; whether the node is closed for its type from now on."""
        kind = ask.type
        self.version += 1
        self.assigned += 1
        self.counts[kind] = held = self.counts.get(kind, 0) + 1
        if not ask.prefetchable:
            self.cpu_millis -= ask.cpu_millis
            self.memory_bytes -= ask.memory_bytes
            self.gpus -= ask.gpus
        return held >= self.info.slots.get(kind, 0) + self.prefetch

    def obstacles(self, ask: Ask) -> list[Obstacle]:
        """What is in the way of item(), in words."""
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
            found.append(Obstacle(f"needs {text(need - free)} more {what}", flip, f"too little {what}"))
        held, slots = self.counts.get(ask.type, 0), self.info.slots.get(ask.type, 0)
        if slots > 0 and held >= slots + (self.prefetch if ask.prefetchable else 0):
            full = f"no free {type_name(ask.type)} slot"
            flip = f"wait until a task on {node} ends"
            ahead = held - slots
            behind = f", {ahead} more {'waits' if ahead == 1 else 'wait'} for one" if ahead > 0 else ""
            found.append(Obstacle(f"{full} ({min(held, slots)} of {slots} taken{behind})", flip, full))
        return found


class OrchestratedRoom(Room):
    """Scored by profile `orchestrator`. `held_by_all` tasks were on all nodes when the pass began."""

    __slots__ = ("_held_by_all",)

    def __init__(
        self, info: NodeInfo, use: NodeUse | None, prefetch: int, weights: Weights, held_by_all: int
    ) -> None:
        super().__init__(info, use, prefetch, weights)
        self._held_by_all = held_by_all

    def micros(self, ask: Ask) -> int:
        return sum(self._parts(ask)) + self.info.penalty_micros

    def _parts(self, ask: Ask) -> tuple[int, int, int]:
        """Capability, load and fairness."""
        info, weights = self.info, self.weights
        present = len(ask.preferred & info.capabilities) if ask.preferred else 0
        return (
            capability_micros(present, len(ask.preferred), weights.capability),
            load_micros(self.counts.get(ask.type, 0), info.slots.get(ask.type, 0), weights.load),
            fairness_micros(self.assigned, self._held_by_all, weights.fairness),
        )

    def placement(self, ask: Ask, priority: int) -> Placement:
        capability, load, fairness = self._parts(ask)
        first = priority_micros(priority, self.weights.priority)
        terms = ScoreTerms(
            priority=first / MICROS,
            capability=capability / MICROS,
            load=load / MICROS,
            fairness=fairness / MICROS,
            gaming=self.info.points.gaming,
            suspect=-SUSPECT_PENALTY if self.info.row.suspect_reason else 0.0,
        )
        score = (first + capability + load + fairness + self.info.penalty_micros) / MICROS
        return Placement(
            node=self.info.id, score=score, terms=terms, profile=settings.ORCHESTRATOR, weights=self.weights.text
        )


# Lower is better: tier, then score (or, for a task with a target, load), then node id; version of the room, room.
RankItem = tuple[int, int, str, int, Room]


class Rooms:
    """Makes the rooms of one state, by the profile that it sets. `without` tasks on nodes are not counted."""

    def __init__(self, state: ClusterState, without: int = 0) -> None:
        self._use = state.use
        row = state.settings.get(settings.PROFILE)
        self._orchestrated = settings.choice(row, settings.PROFILE) == settings.ORCHESTRATOR
        self.weights = settings.weights_of(state.settings.get(settings.WEIGHTS))
        self._held_by_all = state.counts.get(ASSIGNED, 0) + state.counts.get(RUNNING, 0) - without

    def make(self, info: NodeInfo, prefetch: int) -> Room:
        return self.make_with(info, self._use.get(info.id), prefetch)

    def make_with(self, info: NodeInfo, use: NodeUse | None, prefetch: int) -> Room:
        """With another use than the state's."""
        if self._orchestrated:
            return OrchestratedRoom(info, use, prefetch, self.weights, self._held_by_all)
        return Room(info, use, prefetch, self.weights)


def room_of(state: ClusterState, info: NodeInfo, prefetch: int) -> Room:
    return Rooms(state).make(info, prefetch)


def _cores(millis: int) -> str:
    return "1 core" if millis == 1000 else f"{millis / 1000:g} cores"
