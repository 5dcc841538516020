"""Real daemons, each on a network of its own, that can be cut off, frozen, killed, and left without room."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.ground import PORT, Ground, SmallDisk
from tests.e2e.harness import Cluster, Node
from tui.link.client import ClusterClient

_DISK_MIB = 192


@dataclass
class ChaosCluster(Cluster):
    """Voters on a Ground; clients reach them by their sockets, whatever becomes of the network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ground = Ground(list(self.nodes))
        self.skew_s: dict[str, int] = {}
        """How far the wall clock of a node's next life is off."""
        for node in self.nodes.values():
            node.address = f"{self.ground.addresses[node.id]}:{PORT}"
        first = next(iter(self.nodes.values()))
        self.disk = SmallDisk(first.data, _DISK_MIB)
        """Of the first node."""

    def _on_machine(self, node: Node, command: list[str]) -> list[str]:
        skew_s = self.skew_s.get(node.id, 0)
        # Only the wall clock: leases count on the other one, and so do this process's time-outs.
        clock = ["env", "FAKETIME_DONT_FAKE_MONOTONIC=1", f"FAKETIME={skew_s:+d}s", f"LD_PRELOAD={library()}"]
        return [*self.ground.prefix(node.id), *(clock if skew_s else ()), *command]

    def client(self, *ids: str, **options: object) -> ClusterClient:
        targets = [f"unix:{self.nodes[node_id].socket}" for node_id in ids or tuple(self.nodes)]
        return ClusterClient(targets, self.secret.read_text(), **options)  # type: ignore[arg-type]

    def freeze(self, node_id: str) -> None:
        self._signal(node_id, signal.SIGSTOP)

    def thaw(self, node_id: str) -> None:
        self._signal(node_id, signal.SIGCONT)

    def close(self) -> None:
        for node_id in self.nodes:
            self.thaw(node_id)
        super().close()
        self.ground.close()
        self.disk.close()

    def _signal(self, node_id: str, number: signal.Signals) -> None:
        process = self.nodes[node_id].process
        if process is not None and process.poll() is None:
            process.send_signal(number)


def library() -> str | None:
    """libfaketime of Debian's package, None where it is not installed."""
    found = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    return str(found[0]) if found and shutil.which("env") else None
