"""Real daemons on loopback, each in a process of its own, optionally each in a pid namespace like a machine."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui.warm import warm
from tui.errors import ClusterError
from tui.link.client import ClusterClient

# To try a container engine takes each daemon longer to start.
NO_ENGINE = '{"container": {"engine": "/nonexistent/podman"}}'
ENDED = ("completed", "failed", "cancelled", "skipped", "dead_letter")


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def held_port() -> socket.socket:
    """Bound to a port without listening: a daemon can bind beside it, and nobody else is given the port."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def can_unshare() -> bool:
    """Whether this user may make pid namespaces."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode == 0


@dataclass
class Node:
    id: str
    address: str
    data: Path
    process: subprocess.Popen[bytes] | None = None
    join: str = ""
    """Node through which it joins, in the place of being named among the voters."""

    @property
    def socket(self) -> Path:
        return self.data / "cortex.sock"


@dataclass
class Cluster:
    """N voters. `machines` puts each daemon, its supervisor and commands in a pid namespace of their own.

    `module` is what runs as the daemon: a measurement brings one with counters.
    """

    root: Path
    voters: int = 3
    machines: bool = False
    module: str = "node.cli"
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.secret = self.root / "secret"
        self.secret.write_text(secrets.token_hex(32))
        self.secret.chmod(0o600)
        # Theirs while they are dead, too: a port that is free could become anybody's.
        self.ports = [held_port() for _ in range(self.voters)]
        self.nodes = {
            f"n{i}": Node(f"n{i}", f"127.0.0.1:{port.getsockname()[1]}", self.root / f"n{i}")
            for i, port in enumerate(self.ports, 1)
        }

    def start(self, *ids: str) -> None:
        """Start these daemons, or all that do not run."""
        voters = ",".join(f"{node.id}={node.address}" for node in self.nodes.values())
        for node in self.nodes.values():
            if (ids and node.id not in ids) or (node.process and node.process.poll() is None):
                continue
            node.data.mkdir(exist_ok=True)
            command = [sys.executable, "-m", self.module, "run", "--id", node.id, "--data", str(node.data)]
            command += ["--listen", node.address, "--secret-file", str(self.secret)]
            command += ["--join", self.nodes[node.join].address] if node.join else ["--voters", voters]
            with (node.data / "cortexd.log").open("ab") as log:
                node.process = subprocess.Popen(
                    self._on_machine(node, command),
                    stderr=log,
                    stdout=log,
                    stdin=subprocess.DEVNULL,
                    env=self._environ(),
                )

    def _on_machine(self, _node: Node, command: list[str]) -> list[str]:
        """What runs the command where the node is."""
        own = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        return [*own, *command] if self.machines else command

    def _environ(self) -> dict[str, str]:
        return {"CORTEX_EXECUTOR": NO_ENGINE, **os.environ, **self.environment}

    def kill(self, *ids: str) -> None:
        """Kill -9 these daemons; with `machines` everything that runs under them dies too."""
        for node_id in ids or tuple(self.nodes):
            process = self.nodes[node_id].process
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()

    def close(self) -> None:
        """End daemons, supervisors and commands."""
        for node in self.nodes.values():
            if node.process is not None and node.process.poll() is None:
                # unshare passes no TERM on; killed, it takes its namespace with it.
                node.process.send_signal(signal.SIGKILL if self.machines else signal.SIGTERM)
        for node in self.nodes.values():
            if node.process is not None:
                try:
                    node.process.wait(10)
                except subprocess.TimeoutExpired:
                    node.process.kill()
                    node.process.wait()
            self.end_supervisor(node)
        for port in self.ports:
            port.close()

    def end_supervisor(self, node: Node) -> None:
        """And what runs under it."""
        try:
            pid = int((node.data / "supervisor.pid").read_text())
            os.kill(pid, signal.SIGTERM)
        except (OSError, ValueError):
            return

    def client(self, *ids: str, on_link: Callable[[object], None] | None = None) -> ClusterClient:
        targets = [self.nodes[node_id].address for node_id in ids or tuple(self.nodes)]
        return ClusterClient(targets, self.secret.read_text(), on_link=on_link)

    async def leader(self, client: ClusterClient, timeout_s: float = 60.0) -> str:
        """Id of a leader that serves. Raises AssertionError with the daemons' last words."""

        async def serving() -> str:
            status = await client.status()
            return status.leader if status.healthy else ""

        return await self._soon(serving, timeout_s)

    async def whole(self, client: ClusterClient) -> str:
        """Id of the leader, once every daemon votes and takes tasks."""

        async def all_there() -> str:
            status = await client.status()
            online = {view.node.id for view in (await client.list_nodes()).nodes if view.node.online}
            up = sum(voter.up for voter in status.voters) == self.voters
            return status.leader if status.healthy and up and online >= self.nodes.keys() else ""

        return await self._soon(all_there)

    async def _soon(self, check: Callable[[], Awaitable[str]], timeout_s: float = 60.0) -> str:
        try:
            return await eventually(check, timeout_s)
        except TimeoutError:
            raise AssertionError(f"it waited {timeout_s} s in vain\n{self.logs()}") from None

    async def caught_up(self, client: ClusterClient) -> None:
        """Return when every daemon has saved what `client` saw: then whoever is asked by others shows it, too."""
        for node in self.nodes.values():
            if node.process is None or node.process.poll() is not None:
                continue
            async with self.client(node.id) as own:
                own.saw(client.min_index)

                async def saved(own: ClusterClient = own) -> str:
                    await own.list_tasks(limit=1)
                    return "yes"

                await eventually(saved)

    def cortex(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[bytes]:
        """The real command line against this cluster."""
        return warm().complete(list(arguments), self.console_environ(), timeout_s)

    def cortexd(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[bytes]:
        """The daemon's command line, beside those that run."""
        return subprocess.run(
            [sys.executable, "-m", "node.cli", *arguments],
            capture_output=True,
            timeout=120,
            check=False,
            env=self._environ(),
            input=typed.encode(),
        )

    def console_environ(self) -> dict[str, str]:
        """The environment in which `cortex` speaks to this cluster."""
        addresses = ",".join(node.address for node in self.nodes.values())
        return {**self._environ(), "CORTEX_CLUSTER": addresses, "CORTEX_SECRET_FILE": str(self.secret)}

    def logs(self) -> str:
        """The end of every daemon's log, for a failed assertion."""
        tails = []
        for node in self.nodes.values():
            path = node.data / "cortexd.log"
            if path.exists():
                tails.append(f"--- {node.id}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-30:]))
        return "\n".join(tails)


async def eventually(check: Callable[[], Awaitable[str]], timeout_s: float = 60.0) -> str:
    """The first non-empty answer of `check`, which may raise ClusterError meanwhile."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                if found := await check():
                    return found
            except ClusterError:
                pass
            await asyncio.sleep(0.05)


def shell(command: str, **fields: object) -> cluster_pb2.TaskRequest:
    """A shell task without retries."""
    spec = types_pb2.TaskSpec(
        type=types_pb2.TASK_TYPE_SHELL,
        shell_command=command.encode(),
        retry=types_pb2.RetryPolicy(max_retries=0, retryable=False),
    )
    request = cluster_pb2.TaskRequest(spec=spec)
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def state_name(task: types_pb2.Task) -> str:
    return _state(types_pb2.TaskState.Name(task.state))


def _state(name: str) -> str:
    return name.removeprefix("TASK_STATE_").lower()


async def all_tasks(client: ClusterClient) -> list[types_pb2.Task]:
    """Every task of the cluster, page by page; what `client` reads after that is not older."""
    tasks: list[types_pb2.Task] = []
    cursor = ""
    while True:
        page = await client.list_tasks(limit=1000, cursor=cursor)
        tasks += page.tasks
        client.saw(page.index)
        cursor = page.next_cursor
        if not cursor:
            return tasks


async def wait_all_ended(client: ClusterClient, ids: set[str], timeout_s: float) -> dict[str, types_pb2.Task]:
    """The tasks `ids` once all of them have ended. Raises AssertionError with those that have not."""
    found: dict[str, types_pb2.Task] = {}
    live = [state for name, state in types_pb2.TaskState.items() if state and _state(name) not in ENDED]
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                with suppress(ClusterError):
                    # To list all of thousands again and again would take more time than they do.
                    page = await client.list_tasks(states=live, limit=20)
                    found = {task.id: task for task in page.tasks if task.id in ids}
                    if not found:
                        found = {task.id: task for task in await all_tasks(client) if task.id in ids}
                        if len(found) == len(ids) and all(state_name(task) in ENDED for task in found.values()):
                            return found
                await asyncio.sleep(0.1)
    except TimeoutError:
        left = [f"{task.id} {state_name(task)} on {task.node!r}" for task in found.values()]
        left = [text for text in left if text.split()[1] not in ENDED]
        message = f"after {timeout_s} s not all of {len(ids)} are known and ended, such as: {', '.join(left[:20])}"
        raise AssertionError(message) from None
