"""What processes have cost: CPU time and context switches, over all their threads, from /proc."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.harness import Cluster


@dataclass(frozen=True, slots=True)
class Cost:
    """Sums over the threads of one process, and of its ended children where `children_s` says so."""

    cpu_s: float
    children_s: float
    switches: int

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.cpu_s - other.cpu_s, self.children_s - other.children_s, self.switches - other.switches)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu_s + other.cpu_s, self.children_s + other.children_s, self.switches + other.switches)


def cost(pid: int) -> Cost:
    """What `pid` has cost so far. Raises OSError when it is gone."""
    cpu_ns = switches = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        folder = Path(f"/proc/{pid}/task/{thread}")
        try:
            cpu_ns += int((folder / "schedstat").read_text().split()[0])
            for line in (folder / "status").read_text().splitlines():
                if "ctxt_switches" in line:
                    switches += int(line.split()[1])
        except FileNotFoundError:
            continue
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children_s = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    return Cost(cpu_ns / 1e9, children_s, switches)


def processes(cluster: Cluster) -> dict[str, int]:
    """Pids of a cluster's daemons and supervisors, by a name."""
    found: dict[str, int] = {}
    for node in cluster.nodes.values():
        if node.process is not None:
            found[f"{node.id} daemon"] = node.process.pid
        found[f"{node.id} supervisor"] = int((node.data / "supervisor.pid").read_text())
    return found


def costs(pids: Mapping[str, int]) -> dict[str, Cost]:
    return {name: cost(pid) for name, pid in pids.items()}


def peak_memory_mb(pid: int) -> float:
    """The largest resident size so far."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1000


def memory_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1000


def counted(cluster: Cluster, timeout_s: float = 10.0) -> dict[str, dict[str, Any]]:
    """Counts and moments of each daemon since the last call, when it runs as bench._counted."""
    found: dict[str, dict[str, Any]] = {}
    for node in cluster.nodes.values():
        path = node.data / "counted.json"
        path.unlink(missing_ok=True)
        if node.process is not None:
            node.process.send_signal(signal.SIGUSR2)
        end = time.monotonic() + timeout_s
        while not path.exists():
            if time.monotonic() > end:
                raise TimeoutError(f"{node.id} does not tell its counts")
            time.sleep(0.01)  # nothing is timed here: the counts were taken at the signal
        found[node.id] = json.loads(path.read_text())
    return found


def load_text() -> str:
    """How busy the machine is besides, for the head of a table."""
    one, five, _ = os.getloadavg()
    return f"{os.cpu_count()} cores, load {one:.1f} (1 min), {five:.1f} (5 min)"
