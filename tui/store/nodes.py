"""Nodes as replicated, with what the leader relays of them every second. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple

from cortex.v1 import cluster_pb2, types_pb2
from tui.lists.rows import Rows

HISTORY_SAMPLES = 60

_NUMBER = Struct("d")
_GAP = _NUMBER.pack(float("nan"))
_KEPT_BYTES = HISTORY_SAMPLES * _NUMBER.size


class NodeRow(NamedTuple):
    """A node as replicated, with the last sample that the leader relayed.

    A tuple, for a thousand of them are made every second.
    """

    node: types_pb2.Node
    view: cluster_pb2.NodeView | None = None
    received_s: float = 0.0
    packed: bytes = b""
    """The history as doubles, NaN where no sample came: bytes, for the collector looks through all tuples."""
    leader: bool = False
    seconds: int = 0
    """How many the history ever had."""

    @property
    def resources(self) -> types_pb2.Resources | None:
        return self.view.resources if self.view is not None and self.view.HasField("resources") else None

    @property
    def history(self) -> tuple[float | None, ...]:
        """CPU percent per second, oldest first; None where no sample came."""
        known = memoryview(self.packed).cast("d").tolist()
        if (total := sum(known)) == total:
            return tuple(known)
        return tuple([cpu if cpu == cpu else None for cpu in known])


class NodeRows(Rows[NodeRow]):
    """The rows of all nodes, by id."""

    def __init__(self) -> None:
        super().__init__(_text, same_text=_same_node)

    def put_node(self, node: types_pb2.Node, leader: str) -> None:
        """Keep a replicated row unless a newer one is known; what was sampled of it stays."""
        known = self.get(node.id)
        if known is None:
            self.put(node.id, NodeRow(node, leader=node.id == leader))
        elif known.node.modified_index <= node.modified_index:
            self.put(node.id, known._replace(node=node, leader=node.id == leader))

    def take(self, samples: Iterable[cluster_pb2.NodeView], now_s: float, leader: str, *, led: bool) -> None:
        """Samples that came at `now_s`; `led`: by word of a leader."""
        slots, rows, columns = self._slots, self.rows, self._columns
        pack, make = _NUMBER.pack, tuple.__new__
        taken: list[int] = []
        for view in samples:
            node = view.node
            key = node.id
            slot = slots.get(key)
            known = None if slot is None else rows[slot]
            modified = node.modified_index
            if (
                slot is None
                or known is None
                or not view.HasField("resources")
                or now_s - known.received_s >= 1.5
                or not modified
                or modified != known.node.modified_index
            ):
                self._sample(view, now_s, leader, led=led)
                continue
            # The usual one, a thousand times a second: the next sample of a row that is the same.
            packed = known.packed[_NUMBER.size - _KEPT_BYTES :] + pack(view.resources.cpu_percent)
            leads = view.leader and key == (leader or key)
            row = make(NodeRow, (known.node, view, now_s, packed, leads, known.seconds + 1))
            rows[slot] = row
            for sort, (keys, _) in columns.items():
                keys[slot] = sort(row)
            taken.append(slot)
        self._tell_all(taken)

    def _sample(self, view: cluster_pb2.NodeView, now_s: float, leader: str, *, led: bool) -> None:
        node = view.node
        key = node.id
        known = self.get(key)
        measured = view.HasField("resources")
        cpu = _NUMBER.pack(view.resources.cpu_percent) if measured else _GAP
        leads = view.leader and key == (leader or key)
        if known is None:
            self.put(key, NodeRow(node, view, now_s, cpu, leads, 1))
            return
        if known.node.modified_index > node.modified_index or known.node == node:
            # The very object, so that what was made of it stays.
            node = known.node
        if not measured and known.resources is not None:
            # Without a leader, or before the next one has heard it: what is known grows old, it does not go away.
            self.put(key, known._replace(node=node, view=_kept(known, view, led), leader=leads))
            return
        missed = min(HISTORY_SAMPLES, max(0, int(now_s - known.received_s + 0.5) - 1)) if known.received_s else 0
        packed = (known.packed + _GAP * missed + cpu)[-_KEPT_BYTES:]
        self.put(key, NodeRow(node, view, now_s, packed, leads, known.seconds + missed + 1))

    def lead(self, leader: str) -> None:
        """Another node leads, or none."""
        for row in list(self.values()):
            if row.leader != (row.node.id == leader):
                self.put(row.node.id, row._replace(leader=row.node.id == leader))


def _kept(known: NodeRow, view: cluster_pb2.NodeView, led: bool) -> cluster_pb2.NodeView:
    """The last sample, with what is counted now by word of a leader: without one all of it stands still."""
    kept = cluster_pb2.NodeView()
    if known.view is not None:
        kept.CopyFrom(known.view)
    if led:
        kept.running, kept.assigned, kept.scored = view.running, view.assigned, False
    return kept


def _text(row: NodeRow) -> str:
    node = row.node
    labels = " ".join(f"{label.key}={label.value}" for label in node.labels)
    return "\n".join((node.id, node.hostname, node.address, labels, node.message))


def _same_node(before: NodeRow, after: NodeRow) -> bool:
    return before.node is after.node
