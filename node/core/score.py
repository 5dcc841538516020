"""What a node is worth for a task: weighted terms of 0-100, less penalties. Two profiles, whose weights may be set.

`resources`, the default, looks at what the node measured of itself. `orchestrator` looks at the task's priority, at
how many of its preferred capabilities are there, at the node's free slots and at its share of all work; no sample
is needed. The penalties for a game or owner and for a suspect node are common to both.

A node that has sent no sample gets no points from resources: it stays eligible for what needs no live figures,
behind every node that is known. Scores are compared in whole millionths of a point, so that the rounding of floats
never decides a tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cortex.v1.types_pb2 import Resources, ScoreTerms
from node.core.weights import DEFAULT, ONE, Weights

TASK_PENALTY: Final = 5.0
GAMING_PENALTY: Final = 40.0
PREFERRED_POINTS: Final = 5.0
# Of a node that is proposed for a cordon: others first, but it is still there when they are full.
SUSPECT_PENALTY: Final = 20.0

MICROS: Final = 1_000_000
TASK_MICROS: Final = round(TASK_PENALTY * MICROS)
PREFERRED_MICROS: Final = round(PREFERRED_POINTS * MICROS)
SUSPECT_MICROS: Final = round(SUSPECT_PENALTY * MICROS)
_TERM_MICROS: Final = 100 * MICROS // ONE  # of a full term, for each thousandth of its weight
_PRIORITY_STEP_MICROS: Final = 10 * MICROS // ONE

_UNKNOWN_LINK_BITS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Points:
    """Weighted points of one sample; they do not depend on the task."""

    cpu: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    network: float = 0.0
    gpu: float = 0.0
    gaming: float = 0.0

    def micros(self, *, gpu: bool) -> int:
        """Their sum in millionths; the GPU's only for a task that asks for one."""
        base = self.cpu + self.memory + self.disk + self.network + self.gaming
        return round((base + self.gpu if gpu else base) * MICROS)

    def terms(self, assigned: int, *, gpu: bool = False, preferred: int = 0) -> ScoreTerms:
        """Terms with `assigned` tasks assigned to or running on the node."""
        return ScoreTerms(
            cpu=self.cpu,
            memory=self.memory,
            disk=self.disk,
            network=self.network,
            gpu=self.gpu if gpu else 0.0,
            tasks=-TASK_PENALTY * assigned if assigned else 0.0,
            gaming=self.gaming,
            preferred=PREFERRED_POINTS * preferred,
        )


def points(sample: Resources | None, weights: Weights = DEFAULT) -> Points:
    if sample is None:
        return Points()
    disk = min(_share(sample.disk_free_bytes, sample.disk_total_bytes), 100.0 - sample.disk_io_percent)
    busy_bytes = max(sample.rx_bytes_per_s, sample.tx_bytes_per_s)
    link = sample.link_bits_per_s if sample.link_bits_per_s > 0 else _UNKNOWN_LINK_BITS_PER_S
    idle_gpus = [100.0 - gpu.utilisation_percent for gpu in sample.gpus if not gpu.gaming]
    return Points(
        cpu=weights.cpu / ONE * _term(100.0 - sample.cpu_percent),
        memory=weights.memory / ONE * _term(_share(sample.memory_available_bytes, sample.memory_total_bytes)),
        disk=weights.disk / ONE * _term(disk),
        network=weights.network / ONE * _term(100.0 - 800.0 * busy_bytes / link),
        gpu=weights.gpu / ONE * _term(max(idle_gpus, default=0.0)),
        gaming=-GAMING_PENALTY if plays(sample) or sample.interactive_owner else 0.0,
    )


def plays(sample: Resources) -> bool:
    """Whether a game runs there."""
    return sample.gaming or any(gpu.gaming for gpu in sample.gpus)


def priority_micros(priority: int, weight: int = DEFAULT.priority) -> int:
    """Profile orchestrator: a tenth of the term for each step from 0 to 10. The same on all nodes."""
    return _PRIORITY_STEP_MICROS * weight * priority


def capability_micros(present: int, preferred: int, weight: int = DEFAULT.capability) -> int:
    """Share of the preferred capabilities that the node has; all of it when the task prefers none."""
    full = _TERM_MICROS * weight
    return full * present // preferred if preferred else full


def load_micros(held: int, slots: int, weight: int = DEFAULT.load) -> int:
    """1 - load, where load is what the node holds of the task's type over its slots for that type.

    It goes below 0 where more is assigned than runs, so that what waits spreads as well.
    """
    return _TERM_MICROS * weight * (slots - held) // slots if slots > 0 else 0


def fairness_micros(held: int, held_by_all: int, weight: int = DEFAULT.fairness) -> int:
    """1 - the node's share of all tasks that are assigned or run in the cluster; all of it when none is."""
    full = _TERM_MICROS * weight
    return full * max(0, held_by_all - held) // held_by_all if held_by_all > 0 else full


def _share(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole > 0 else 0.0


def _term(value: float) -> float:
    """Within 0-100; what is no number counts as nothing."""
    return min(100.0, max(0.0, value)) if value == value else 0.0
