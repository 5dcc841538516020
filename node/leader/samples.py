"""What nodes measured of themselves lately, so that a past placement can be judged as it was.

Each node has two rings. The fine one has a record every 10 s, and each second while tasks are placed: so it reaches
back 12 minutes to 2 hours. The coarse one has a record a minute of the last day. A record has 73 bytes, a node
after a day 158 kB, the NODES_LIMIT nodes of which they are kept 63 MB. A new leader has none.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cortex.v1.types_pb2 import Gpu, Resources, Task
from node.core.model import ASSIGNED, Change, Table
from node.leader.planner import Planner
from node.leader.port import Replica
from node.leader.roster import Roster

FINE_US = 10_000_000
COARSE_US = 60_000_000
PLACED_US = 1_000_000
FINE_LIMIT = 720
COARSE_LIMIT = 1440
NODES_LIMIT = 400

# time, memory total and available, disk total and free, link; CPU, I/O, received, sent, best GPU; prefetch; GPUs,
# those in gaming use, flags
_RECORD = struct.Struct("<6q5fH3B")
_LARGEST = 3e38
_GAMING, _OWNER, _REACHABLE = 1, 2, 4


class Then(NamedTuple):
    """A node as the leader knew it then."""

    resources: Resources | None
    prefetch: int
    reachable: bool


@dataclass(slots=True)
class Series:
    """Records of one node in the order of their times, which only grow."""

    fine: bytearray = field(default_factory=bytearray)
    coarse: bytearray = field(default_factory=bytearray)

    def record(self, at_us: int, then: Then) -> None:
        packed = _pack(at_us, then)
        if at_us - _last_us(self.coarse) >= COARSE_US:
            _append(self.coarse, packed, COARSE_LIMIT)
        if at_us - _last_us(self.fine) >= PLACED_US:
            _append(self.fine, packed, FINE_LIMIT)

    def at(self, at_us: int) -> Then | None:
        """The record nearest to a time; None when none is near enough."""
        found = _nearest(self.fine, at_us, FINE_US) or _nearest(self.coarse, at_us, COARSE_US)
        return _unpack(found) if found is not None else None


class Samples:
    """Kept while leading only. Times are leader time."""

    def __init__(self, replica: Replica, roster: Roster, planner: Planner) -> None:
        self._replica = replica
        self._roster = roster
        self._planner = planner
        self._series: dict[str, Series] = {}
        self._recorded_us = 0

    def observe(self, changes: Sequence[Change]) -> None:
        """What a placement was based on is recorded with it."""
        complete = len(self._series) >= min(len(self._roster.nodes), NODES_LIMIT)
        if complete and self._replica.now_us() - self._recorded_us < PLACED_US:
            return
        for change in changes:
            if change.table is Table.TASKS and isinstance(change.new, Task) and change.new.state == ASSIGNED:
                self.record()
                return

    async def run(self) -> None:
        """A record of every node each 10 s. Runs until cancelled."""
        while True:
            self.record()
            await asyncio.sleep(FINE_US / 1e6)

    def record(self) -> None:
        """What is known now."""
        state, at_us = self._replica.state, self._replica.now_us()
        self._recorded_us = at_us
        for gone in [node_id for node_id in self._series if node_id not in state.nodes]:
            del self._series[gone]
        for node_id, known in self._roster.nodes.items():
            if node_id not in self._series and len(self._series) >= NODES_LIMIT:
                continue
            reachable = known.session is not None and not known.suspected
            then = Then(known.resources, self._planner.prefetch(state, node_id), reachable)
            self._series.setdefault(node_id, Series()).record(at_us, then)

    def at(self, at_us: int) -> dict[str, Then]:
        """Nodes of which something is known at about that time."""
        found = {node_id: series.at(at_us) for node_id, series in self._series.items()}
        return {node_id: then for node_id, then in found.items() if then is not None}


def _pack(at_us: int, then: Then) -> bytes:
    seen = then.resources
    if seen is None:
        return _RECORD.pack(at_us, *[-1] * 5, *[0.0] * 5, then.prefetch, 0, 0, _REACHABLE * then.reachable)
    idle = [100.0 - gpu.utilisation_percent for gpu in seen.gpus if not gpu.gaming]
    flags = _GAMING * seen.gaming | _OWNER * seen.interactive_owner | _REACHABLE * then.reachable
    return _RECORD.pack(
        at_us,
        seen.memory_total_bytes,
        seen.memory_available_bytes,
        seen.disk_total_bytes,
        seen.disk_free_bytes,
        seen.link_bits_per_s,
        *map(_single, (seen.cpu_percent, seen.disk_io_percent, seen.rx_bytes_per_s, seen.tx_bytes_per_s)),
        _single(100.0 - max(idle, default=0.0)),
        then.prefetch,
        min(255, len(seen.gpus)),
        min(255, len(seen.gpus) - len(idle)),
        flags,
    )


def _single(value: float) -> float:
    """What fits into single precision, whatever a worker sent."""
    return min(max(value, -_LARGEST), _LARGEST)


def _unpack(packed: bytes) -> Then:
    _, total, available, disk, free, link, cpu, io, rx, tx, best, prefetch, gpus, played, flags = _RECORD.unpack(
        packed
    )
    if total < 0:
        return Then(None, prefetch, bool(flags & _REACHABLE))
    # Only the best of the GPUs that no game uses counts in a score.
    cards = [Gpu(gaming=True)] * played + [Gpu(utilisation_percent=best)] * (gpus - played)
    resources = Resources(
        memory_total_bytes=total,
        memory_available_bytes=available,
        disk_total_bytes=disk,
        disk_free_bytes=free,
        link_bits_per_s=link,
        cpu_percent=cpu,
        disk_io_percent=io,
        rx_bytes_per_s=rx,
        tx_bytes_per_s=tx,
        gpus=cards,
        gaming=bool(flags & _GAMING),
        interactive_owner=bool(flags & _OWNER),
    )
    return Then(resources, prefetch, bool(flags & _REACHABLE))


def _append(ring: bytearray, packed: bytes, limit: int) -> None:
    ring += packed
    if len(ring) > limit * _RECORD.size:
        del ring[: _RECORD.size]


def _time_us(ring: bytearray, place: int) -> int:
    return int.from_bytes(ring[place * _RECORD.size : place * _RECORD.size + 8], "little", signed=True)


def _last_us(ring: bytearray) -> int:
    return _time_us(ring, len(ring) // _RECORD.size - 1) if ring else -COARSE_US


def _nearest(ring: bytearray, at_us: int, tolerance_us: int) -> bytes | None:
    low, high = 0, len(ring) // _RECORD.size
    while low < high:
        middle = (low + high) // 2
        if _time_us(ring, middle) < at_us:
            low = middle + 1
        else:
            high = middle
    near = [place for place in (low - 1, low) if 0 <= place < len(ring) // _RECORD.size]
    best = min(near, key=lambda place: abs(_time_us(ring, place) - at_us), default=None)
    if best is None or abs(_time_us(ring, best) - at_us) > tolerance_us:
        return None
    return bytes(ring[best * _RECORD.size : (best + 1) * _RECORD.size])
