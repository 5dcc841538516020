"""What a node is worth for a task: weighted terms of 0-100, less penalties.

A node that has sent no sample gets no points from resources: it stays eligible for what needs no live figures,
behind every node that is known. Scores are compared in whole millionths of a point, so that the rounding of floats
never decides a tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cortex.v1.types_pb2 import Resources, ScoreTerms

CPU_WEIGHT: Final = 0.30
MEMORY_WEIGHT: Final = 0.30
DISK_WEIGHT: Final = 0.15
NETWORK_WEIGHT: Final = 0.10
GPU_WEIGHT: Final = 0.15
TASK_PENALTY: Final = 5.0
GAMING_PENALTY: Final = 40.0
PREFERRED_POINTS: Final = 5.0

MICROS: Final = 1_000_000
TASK_MICROS: Final = round(TASK_PENALTY * MICROS)
PREFERRED_MICROS: Final = round(PREFERRED_POINTS * MICROS)

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


def points(sample: Resources | None) -> Points:
    if sample is None:
        return Points()
    disk = min(_share(sample.disk_free_bytes, sample.disk_total_bytes), 100.0 - sample.disk_io_percent)
    busy_bytes = max(sample.rx_bytes_per_s, sample.tx_bytes_per_s)
    link = sample.link_bits_per_s if sample.link_bits_per_s > 0 else _UNKNOWN_LINK_BITS_PER_S
    idle_gpus = [100.0 - gpu.utilisation_percent for gpu in sample.gpus if not gpu.gaming]
    return Points(
        cpu=CPU_WEIGHT * _term(100.0 - sample.cpu_percent),
        memory=MEMORY_WEIGHT * _term(_share(sample.memory_available_bytes, sample.memory_total_bytes)),
        disk=DISK_WEIGHT * _term(disk),
        network=NETWORK_WEIGHT * _term(100.0 - 800.0 * busy_bytes / link),
        gpu=GPU_WEIGHT * _term(max(idle_gpus, default=0.0)),
        gaming=-GAMING_PENALTY if plays(sample) or sample.interactive_owner else 0.0,
    )


def plays(sample: Resources) -> bool:
    """Whether a game runs there."""
    return sample.gaming or any(gpu.gaming for gpu in sample.gpus)


def total(node: Points, assigned: int, *, gpu: bool = False, preferred: int = 0) -> float:
    """Score: the sum of terms() of the same arguments."""
    return (node.micros(gpu=gpu) + PREFERRED_MICROS * preferred - TASK_MICROS * assigned) / MICROS


def _share(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole > 0 else 0.0


def _term(value: float) -> float:
    """Within 0-100; what is no number counts as nothing."""
    return min(100.0, max(0.0, value)) if value == value else 0.0
