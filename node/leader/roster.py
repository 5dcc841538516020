"""What a leader knows of the nodes beside their rows: who is connected, when last heard, what was sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from cortex.v1.types_pb2 import Node, Resources
from cortex.v1.worker_pb2 import Attached
from node.core.state import ClusterState
from node.leader.session import Session

_PACE_WINDOW_US = 250_000


@dataclass(slots=True)
class Pace:
    """Ends per second on a node, weighted towards the last quarter of a second."""

    weight: float = 0.0
    at_us: int = 0

    def ended(self, count: int, now_us: int) -> None:
        self.weight = self._decayed(now_us) + count
        self.at_us = now_us

    def rate(self, now_us: int) -> float:
        return self._decayed(now_us) * 1_000_000 / _PACE_WINDOW_US

    def prefetch(self, now_us: int, slots: int, limit: int) -> int:
        """Assignments worth holding beyond the slots: what ends in the window, far more than one round trip.

        Nothing while slots turn over less than once in it: such tasks do not wait for round trips.
        """
        return min(limit, max(0, int(self._decayed(now_us)) - slots))

    def _decayed(self, now_us: int) -> float:
        return self.weight * math.exp(-max(0, now_us - self.at_us) / _PACE_WINDOW_US)


@dataclass(slots=True)
class Known:
    """One node. Times are of the leader's boot clock, microseconds."""

    heard_us: int
    session: Session | None = None
    hello: int = 0
    resources: Resources | None = None
    sampled_us: int = 0
    attached: Sequence[Attached] = ()
    suspected: bool = False
    pace: Pace = field(default_factory=Pace)


class Roster:
    """Kept while leading only."""

    def __init__(self) -> None:
        self.nodes: dict[str, Known] = {}

    def known(self, node_id: str, now_us: int) -> Known:
        """The record of a node, made when it is not there."""
        known = self.nodes.get(node_id)
        if known is None:
            known = self.nodes[node_id] = Known(heard_us=now_us)
        return known

    def session(self, node_id: str) -> Session | None:
        known = self.nodes.get(node_id)
        return known.session if known is not None else None

    def sessions(self) -> list[Session]:
        return [known.session for known in self.nodes.values() if known.session is not None]

    def samples(self) -> dict[str, Resources]:
        """The last sample of each node."""
        return {node_id: known.resources for node_id, known in self.nodes.items() if known.resources is not None}


def slots_of(node: Node) -> dict[int, int]:
    """Tasks that a node runs at once, by task type."""
    return {slots.type: slots.count for slots in node.slots}


def used(state: ClusterState, node_id: str, kind: int) -> int:
    """Tasks of a type that are assigned to a node or run there."""
    use = state.use.get(node_id)
    return use.counts.get(kind, 0) if use is not None else 0
