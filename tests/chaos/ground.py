"""A network for daemons on one machine: a namespace and a wire for each, on one bridge, cut frame by frame.

Their addresses are of 127.0.0.0/8, so that the daemons may speak without TLS; the kernel is told to route them.
"""

from __future__ import annotations

import secrets
import subprocess
from contextlib import suppress
from pathlib import Path

_NOWHERE = "02:00:00:00:00:01"
"""A station that is not there: frames to it are lost without a word."""
PORT = 7001


def run(*command: str) -> None:
    """Raises CalledProcessError with what it said."""
    subprocess.run(command, check=True, capture_output=True, text=True)


def why_not() -> str:
    """Why no network can be made here; empty when it can."""
    try:
        ground = Ground(["a", "b"])
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip()
        return f"network namespaces cannot be made here: {said}"
    ground.close()
    return ""


class Ground:
    """Names of nodes to addresses; close() takes it all away. Needs root and iproute2."""

    def __init__(self, names: list[str]) -> None:
        self._tag = f"cx{secrets.token_hex(3)}"
        self.addresses = {name: f"127.77.0.{number}" for number, name in enumerate(names, 1)}
        self._cut: set[tuple[str, str]] = set()
        self._spaces: list[str] = []
        try:
            self._add_space(self._bridge)
            run("ip", "-n", self._bridge, "link", "add", "bridge", "type", "bridge")
            run("ip", "-n", self._bridge, "link", "set", "bridge", "up")
            for name in names:
                self._connect(name)
        except BaseException:
            self.close()
            raise

    def space(self, name: str) -> str:
        return f"{self._tag}{name}"

    def prefix(self, name: str) -> list[str]:
        """What runs a command there, with the rest of this machine as it is."""
        return ["nsenter", f"--net=/run/netns/{self.space(name)}"]

    def cut(self, source: str, target: str) -> None:
        """Nothing of `source` reaches `target` any more; the other way it does."""
        self._neighbour("replace", source, target, "lladdr", _NOWHERE, "nud", "permanent")
        self._cut.add((source, target))

    def isolate(self, name: str) -> None:
        for other in self.addresses.keys() - {name}:
            self.cut(name, other)
            self.cut(other, name)

    def heal(self) -> None:
        for source, target in sorted(self._cut):
            self._neighbour("del", source, target)
        self._cut.clear()

    def close(self) -> None:
        while self._spaces:
            with suppress(subprocess.CalledProcessError):
                run("ip", "netns", "del", self._spaces.pop())

    @property
    def _bridge(self) -> str:
        return self.space("bridge")

    def _add_space(self, space: str) -> None:
        run("ip", "netns", "add", space)
        self._spaces.append(space)

    def _connect(self, name: str) -> None:
        space = self.space(name)
        self._add_space(space)
        port = f"to-{name}"
        run("ip", "-n", space, "link", "add", "wire", "type", "veth", "peer", "name", port, "netns", self._bridge)
        run("ip", "-n", self._bridge, "link", "set", "dev", port, "master", "bridge", "up")
        routed = "for each in all wire; do echo 1 > /proc/sys/net/ipv4/conf/$each/route_localnet; done"
        run("ip", "netns", "exec", space, "sh", "-c", routed)
        run("ip", "-n", space, "link", "set", "lo", "up")
        run("ip", "-n", space, "link", "set", "wire", "up")
        run("ip", "-n", space, "addr", "add", f"{self.addresses[name]}/24", "dev", "wire")
        run("ip", "-n", space, "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local")

    def _neighbour(self, what: str, source: str, target: str, *how: str) -> None:
        run("ip", "-n", self.space(source), "neigh", what, self.addresses[target], *how, "dev", "wire")


class SmallDisk:
    """A file system in memory at `folder`, which fill() leaves without room."""

    def __init__(self, folder: Path, size_mib: int) -> None:
        self._ballast = folder / "ballast"
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder))

    def fill(self) -> None:
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(65536))
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(b"\0")

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):
            run("umount", "--lazy", str(self._folder))
