"""A cluster on this machine: its folder, its daemons, how they start and how they end.

DIR/cluster.json names the daemons, DIR/secret is the cluster's secret, DIR/<id>/ each daemon's own folder.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tui.errors import ClusterError, usage
from tui.link.target import (
    CLUSTER_FILE,
    MAX_SOCKET_PATH_BYTES,
    SECRET_FILE,
    daemon_environment,
    read_cluster_file,
)
from tui.machine.process import all_pids, arguments_of, descendants, is_alive, parent_of

LOOPBACK = "127.0.0.1"
LOG_FILE = "cortexd.log"
SETTINGS_FILE = "cortexd.toml"
"""Further settings of all its daemons, where it is there."""
# A shutdown in all, and of it: until commands that were told to end have ended; longest for each kind of process.
DOWN_S = 14.5
GIVEN_BACK_S = 5.5
DAEMONS_END_S = 7.0
SUPERVISORS_END_S = 6.5
KILLED_S = 1.0
POOLS_END_S = 2.0
POLL_S = 0.05
MAX_LOG_TAIL_BYTES = 64 * 1024
# A log that is larger at a start is put aside; the one that was put aside before goes.
MAX_LOG_BYTES = 10 * 1000 * 1000
OLD_LOG_FILE = f"{LOG_FILE}.1"


@dataclass(frozen=True)
class LocalNode:
    """One daemon as cluster.json has it; pids are None when it does not run."""

    id: str
    address: str
    socket: str
    pid: int | None
    supervisor_pid: int | None
    role: str


class LocalCluster:
    """The daemons of one folder."""

    def __init__(self, folder: Path, nodes: Sequence[LocalNode]) -> None:
        self.folder = folder
        self.nodes = list(nodes)

    @classmethod
    def create(cls, folder: Path, voters: int, workers: int) -> LocalCluster:
        """Chooses ports and writes secret and cluster.json; starts nothing. Raises ClusterError."""
        longest = len(os.fsencode(folder / f"n{voters + workers}" / "cortex.sock"))
        if longest > MAX_SOCKET_PATH_BYTES:
            raise usage(
                f"{folder} is {longest - MAX_SOCKET_PATH_BYTES} bytes too long for the sockets in it.",
                "Name a shorter folder with --data.",
            )
        ports = free_ports(voters + workers)
        nodes = []
        for number, port in enumerate(ports, 1):
            name = f"n{number}"
            role = "voter" if number <= voters else "worker"
            socket_path = str(folder / name / "cortex.sock")
            nodes.append(LocalNode(name, f"{LOOPBACK}:{port}", socket_path, None, None, role))
        cluster = cls(folder, nodes)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(folder / SECRET_FILE, secrets.token_hex(32) + "\n")
            cluster.save()
        except OSError as error:
            raise cannot_write(folder, error) from None
        return cluster

    @classmethod
    def load(cls, folder: Path) -> LocalCluster:
        """The cluster that the folder has. Raises ClusterError."""
        document = read_cluster_file(folder)
        return cls(folder, [_node_of(folder, item) for item in document["nodes"]])

    def save(self) -> None:
        document = {"nodes": [asdict(node) for node in self.nodes]}
        write_private(self.folder / CLUSTER_FILE, json.dumps(document, indent=2) + "\n")

    def runs(self, node: LocalNode) -> bool:
        """Whether the node's daemon runs: its pid, and not another program's since."""
        return node.pid is not None and self._is(node, "run", node.pid)

    def any_runs(self) -> bool:
        return any(self.runs(node) for node in self.nodes)

    def check_ports(self) -> None:
        """Raises ClusterError naming the ports that other programs hold."""
        taken = [node for node in self.nodes if not self.runs(node) and not _is_free(node.address)]
        if taken:
            named = ", ".join(f"{node.address} of {node.id}" for node in taken)
            raise ClusterError(
                "port_in_use",
                f"Another program listens on {named}.",
                f"End it (`ss -ltnp` shows which), or start a new cluster with --data; {self.folder} is unharmed.",
            )

    def start(self) -> list[str]:
        """Starts the daemons that do not run; returns their ids. Raises ClusterError."""
        self.check_ports()
        started = []
        try:
            for number, node in enumerate(self.nodes):
                if not self.runs(node):
                    pid = self._spawn(node)
                    # Written at once, so that `down` finds it whatever happens next.
                    self.nodes[number] = replace(node, pid=pid, supervisor_pid=None)
                    self.save()
                    started.append(node.id)
        except OSError as error:
            raise cannot_write(self.folder, error) from None
        return started

    def check_started(self) -> None:
        """Raises ClusterError when a daemon has ended, with the last words of its log."""
        for node in self.nodes:
            if not self.runs(node):
                log = self.folder / node.id / LOG_FILE
                raise ClusterError(
                    "failed",
                    f"{node.id} ended: {_last_words(log)}",
                    f"See {log}; what else was started ends with `cortex down --data {self.folder}`.",
                )

    def note_supervisors(self) -> bool:
        """Writes the supervisors' pids, as the daemons left them, into cluster.json; False while one is missing."""
        self.nodes = [replace(node, supervisor_pid=self._supervisor_of(node)) for node in self.nodes]
        self.save()
        return all(node.supervisor_pid is not None for node in self.nodes)

    def stop(self, *, keep_running: bool, say: Callable[[str], None], within_s: float = DOWN_S) -> None:
        """Ends the daemons, then the supervisors with their commands unless `keep_running`. In about `within_s`."""
        end = time.monotonic() + within_s
        patience_s = min(DAEMONS_END_S, within_s - SUPERVISORS_END_S)
        # By their arguments, not by cluster.json: an interrupted start may have left some that it does not name.
        daemons = [pid for pid, _ in self._processes("run")]
        killed = end_processes(daemons, patience_s)
        for pid in killed:
            say(f"daemon {pid} did not stop in time and was killed")
        by_node = {name: pid for pid, name in self._processes("supervisor")}
        supervisors = list(by_node.values())
        if not keep_running:
            commands = [pid for supervisor in supervisors for pid in descendants(supervisor)]
            left_s = end - time.monotonic() - KILLED_S
            killed = end_processes(supervisors, min(SUPERVISORS_END_S, left_s))
            for pid in killed:
                say(f"supervisor {pid} did not stop in time and was killed with its commands")
            if killed:
                _signal_all(commands, signal.SIGKILL)
            # Without drivers nothing runs in them.
            end_processes([pid for pid, _ in self._processes("host")], POOLS_END_S)
        kept = by_node if keep_running else {}
        self.nodes = [replace(node, pid=None, supervisor_pid=kept.get(node.id)) for node in self.nodes]
        self.save()

    def _spawn(self, node: LocalNode) -> int:
        folder = self.folder / node.id
        folder.mkdir(mode=0o700, exist_ok=True)
        _put_aside(folder / LOG_FILE)
        with open(folder / LOG_FILE, "ab") as log:
            process = subprocess.Popen(
                self._arguments(node),
                cwd=folder,
                env=daemon_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return process.pid

    def _arguments(self, node: LocalNode) -> list[str]:
        voters = ",".join(f"{item.id}={item.address}" for item in self.nodes if item.role == "voter")
        joined = [flag for item in self.nodes if item.role == "voter" for flag in ("--join", item.address)]
        own = ["--voters", voters] if node.role == "voter" else [*joined, "--worker"]
        settings = self.folder / SETTINGS_FILE
        if settings.exists():
            own += ["--config", str(settings)]
        return [
            *cortexd(),
            "run",
            "--id",
            node.id,
            "--data",
            str(self.folder / node.id),
            "--listen",
            node.address,
            *own,
            "--secret-file",
            str(self.folder / SECRET_FILE),
        ]

    def _supervisor_of(self, node: LocalNode) -> int | None:
        """The pid in the daemon's own file, else the one of cluster.json, if it is still a supervisor's."""
        try:
            written = (self.folder / node.id / "supervisor.pid").read_text().split()
        except OSError:
            written = []
        candidates = [int(word) for word in written[:1] if word.isdigit()] + [node.supervisor_pid]
        return next((pid for pid in candidates if pid is not None and self._is(node, "supervisor", pid)), None)

    def _processes(self, word: str) -> list[tuple[int, str]]:
        """Pids and node ids of this cluster's daemons (`run`), supervisors (`supervisor`) or pools (`host`)."""
        found = {pid: node.id for pid in all_pids() for node in self.nodes if self._is(node, word, pid)}
        # Who is just being started by one of them has its arguments still.
        return [(pid, node_id) for pid, node_id in found.items() if parent_of(pid) not in found]

    def _is(self, node: LocalNode, word: str, pid: int) -> bool:
        """Whether the process has the node's folder and the word, or a path that ends with it, as arguments."""
        arguments = arguments_of(pid)
        return str(self.folder / node.id) in arguments and any(Path(part).name == word for part in arguments)


def cortexd() -> list[str]:
    """How to start cortexd: the script beside this interpreter, else its module. Raises ClusterError."""
    script = Path(sys.executable).parent / "cortexd"
    if os.access(script, os.X_OK):
        return [str(script)]
    if importlib.util.find_spec("node") is not None:
        return [sys.executable, "-m", "node.cli"]
    found = shutil.which("cortexd")
    if found is None:
        raise ClusterError("failed", "cortexd is not installed.", "Install it: pip install cortex-cluster.")
    return [found]


def free_ports(count: int) -> list[int]:
    """That many loopback ports which nobody listens on now, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind((LOOPBACK, 0))
        return [item.getsockname()[1] for item in sockets]


def end_processes(pids: Sequence[int], patience_s: float) -> list[int]:
    """TERM, then KILL to those that live on after `patience_s`; returns these. Waits until all are gone."""
    _signal_all(pids, signal.SIGTERM)
    left = _wait_gone(pids, patience_s)
    _signal_all(left, signal.SIGKILL)
    _wait_gone(left, KILLED_S)
    return left


def write_private(path: Path, text: str) -> None:
    """Writes a 0600 file whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def cannot_write(folder: Path, error: OSError) -> ClusterError:
    return ClusterError(
        "failed", f"The data folder {folder} cannot be written: {error.strerror}.", "Name another one with --data."
    )


def _node_of(folder: Path, item: dict[str, Any]) -> LocalNode:
    name = str(item["id"])
    return LocalNode(
        id=name,
        address=str(item["address"]),
        socket=str(item.get("socket") or folder / name / "cortex.sock"),
        pid=item.get("pid"),
        supervisor_pid=item.get("supervisor_pid"),
        role=str(item.get("role") or "voter"),
    )


def _is_free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        # As the daemon binds: a connection that only lingers does not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
    return True


def _signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _wait_gone(pids: Sequence[int], patience_s: float) -> list[int]:
    """Waits at most that long; returns those that still live."""
    deadline = time.monotonic() + patience_s
    left = [pid for pid in pids if is_alive(pid)]
    while left and time.monotonic() < deadline:
        time.sleep(POLL_S)
        left = [pid for pid in left if is_alive(pid)]
    return left


def _put_aside(log: Path) -> None:
    """Begin a new log where this one is large. One that cannot be moved is written on."""
    with suppress(OSError):
        if log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_name(OLD_LOG_FILE))


def _last_words(log: Path) -> str:
    """What the daemon said at its end: its own sentence among the lines of JSON, else its last line."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith("cortexd: "):
            return " ".join(line.strip() for line in lines[number:])[9:500]
    return lines[-1][-500:] if lines else "it wrote nothing."
