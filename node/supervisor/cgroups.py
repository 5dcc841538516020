"""A control group for each confined attempt: bounds of memory, processes and CPU, and what it used of them.

Version 1 has a hierarchy per controller, each a folder of its own below the supervisor's; version 2 has one. A
command is born into its group: the supervisor enters it, spawns and leaves. Bounds are set after that, so that they
never bind the supervisor itself.
"""

from __future__ import annotations

import itertools
import os
import signal

from node.supervisor.kin import send_while

_PERIOD_US = 100_000
_KILL_ROUNDS = 50
_V1 = ("memory", "pids", "cpu")
_V2 = "+memory +pids +cpu"


class Box:
    """The group of one attempt: `folders` by controller, in version 2 all the same one."""

    __slots__ = ("_folders", "_home", "_version")

    def __init__(self, version: int, folders: dict[str, str], home: dict[str, str]) -> None:
        self._version = version
        self._folders = folders
        self._home = home

    @property
    def folders(self) -> set[str]:
        return set(self._folders.values())

    def enter(self) -> None:
        """Put this process into it. Raises OSError."""
        for folder in self.folders:
            self._move(folder)

    def leave(self) -> None:
        """Back to where this process belongs."""
        for controller in self._folders:
            try:
                self._move(self._home[controller])
            except OSError:
                continue
            if self._version == 2:
                return

    def _move(self, folder: str) -> None:
        # A single thread of its own moves without the lock that stops all forks of the machine for a moment.
        _write(f"{folder}/{'tasks' if self._version == 1 else 'cgroup.procs'}", "0")

    def bound(self, memory_bytes: int, pids: int, cpu_millis: int) -> None:
        """Set its bounds; 0 = none. Raises OSError."""
        if pids:
            _write(f"{self._folders['pids']}/pids.max", str(pids))
        if memory_bytes:
            self._bound_memory(self._folders["memory"], memory_bytes)
        if cpu_millis and "cpu" in self._folders:
            folder, quota_us = self._folders["cpu"], max(1000, cpu_millis * _PERIOD_US // 1000)
            if self._version == 2:
                _write(f"{folder}/cpu.max", f"{quota_us} {_PERIOD_US}")
            else:
                _write(f"{folder}/cpu.cfs_period_us", str(_PERIOD_US))
                _write(f"{folder}/cpu.cfs_quota_us", str(quota_us))

    def _bound_memory(self, folder: str, memory_bytes: int) -> None:
        if self._version == 2:
            _write(f"{folder}/memory.max", str(memory_bytes))
            _try(f"{folder}/memory.swap.max", "0")
            _try(f"{folder}/memory.oom.group", "1")
            return
        _write(f"{folder}/memory.limit_in_bytes", str(memory_bytes))
        _try(f"{folder}/memory.memsw.limit_in_bytes", str(memory_bytes))

    def kill(self) -> None:
        """KILL everything in it, also what forks meanwhile."""
        if self._version == 2 and _try(f"{next(iter(self.folders))}/cgroup.kill", "1"):
            return
        folder = self._folders.get("pids") or next(iter(self.folders))
        for _ in range(_KILL_ROUNDS):
            pids = self.pids(folder)
            if not pids:
                return
            for pid in pids:
                send_while(pid, signal.SIGKILL, lambda pid=pid: pid in self.pids(folder))  # type: ignore[misc]

    def pids(self, folder: str = "") -> list[int]:
        """Processes in it."""
        found = _read(f"{folder or next(iter(self.folders))}/cgroup.procs")
        return [int(word) for word in found.split() if word != "0"]

    def out_of_memory(self) -> bool:
        """Whether the kernel killed in it for want of memory."""
        folder = self._folders.get("memory", "")
        name = "memory.events" if self._version == 2 else "memory.oom_control"
        words = _read(f"{folder}/{name}").split()
        return any(word == "oom_kill" and count != "0" for word, count in itertools.pairwise(words))

    def peak_bytes(self) -> int:
        """Most memory that it had at once; 0 = not known."""
        folder = self._folders.get("memory", "")
        text = _read(f"{folder}/{'memory.peak' if self._version == 2 else 'memory.max_usage_in_bytes'}").strip()
        return int(text) if text.isdecimal() else 0

    def remove(self) -> bool:
        """False when something is left in it; the next sweep tries again."""
        gone = True
        for folder in self.folders:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
        return gone


class Cgroups:
    """Makes groups below that of this process. Where it may not, `version` is 0 and `reason` says why."""

    __slots__ = ("_folders", "_home", "_left", "_name", "_proc", "_root", "reason", "version")

    def __init__(self, name: str, root: str = "/sys/fs/cgroup", proc: str = "/proc") -> None:
        self._name = f"cortex-{name}"
        self._root = root
        self._proc = proc
        self._home: dict[str, str] = {}
        self._folders: dict[str, str] = {}
        self._left: list[Box] = []
        self.version = 0
        self.reason = ""
        self._begin()

    def _begin(self) -> None:
        own = self._own()
        try:
            if "memory" in own and "pids" in own:
                self._begin_v1(own)
            else:
                self._begin_v2(own.get("", "/"))
        except OSError as error:
            self.reason = f"no control group can be made: {_why(error)}"

    @property
    def bounds_cpu(self) -> bool:
        return bool(self.version) and "cpu" in self._folders

    def try_out(self) -> None:
        """Enter a group and leave it again; where that fails, there are none."""
        try:
            box = self.make("trial", cpu=True)
            if box is None:
                return
            try:
                box.enter()
            finally:
                box.leave()
                box.remove()
        except OSError as error:
            self.version = 0
            self.reason = f"no control group can be entered: {_why(error)}"

    def find(self, name: str, *, cpu: bool = True) -> Box | None:
        """The group of one attempt, whether it is there or not; None where there are none."""
        if not self.version:
            return None
        wanted = [each for each in self._folders if cpu or each != "cpu" or self.version == 2]
        return Box(self.version, {each: f"{self._folders[each]}/{name}" for each in wanted}, self._home)

    def make(self, name: str, *, cpu: bool) -> Box | None:
        """A group for one attempt, empty and without bounds; None where there are none. Raises OSError."""
        box = self.find(name, cpu=cpu)
        if box is None:
            return None
        self.sweep()
        try:
            self._make(box)
        except FileNotFoundError:
            self._begin()  # somebody removed the folder of all attempts
            self._make(box)
        return box

    def _make(self, box: Box) -> None:
        for folder in box.folders:
            try:
                os.mkdir(folder, 0o755)
            except FileExistsError:
                continue

    def remove(self, box: Box) -> None:
        """Its family is gone."""
        if not box.remove():
            self._left.append(box)

    def sweep(self) -> None:
        """Try again what was not empty yet."""
        if self._left:
            self._left = [box for box in self._left if not box.remove()]

    def clear(self) -> None:
        """Remove what an earlier supervisor left; its commands are gone."""
        for folder in set(self._folders.values()):
            try:
                names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
            except OSError:
                continue
            for name in names:
                try:
                    os.rmdir(f"{folder}/{name}")
                except OSError:
                    continue

    def close(self) -> None:
        """Nothing runs any more."""
        self.sweep()
        for folder in set(self._folders.values()):
            try:
                os.rmdir(folder)
            except OSError:
                continue

    def _own(self) -> dict[str, str]:
        """Where this process is, by controller; by "" in version 2."""
        found: dict[str, str] = {}
        for line in _read(f"{self._proc}/self/cgroup").split("\n"):
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            for controller in controllers.split(","):
                if path:
                    found[controller] = path
        return found

    def _begin_v1(self, own: dict[str, str]) -> None:
        for controller in _V1:
            path = own.get(controller)
            home = f"{self._root}/{controller}{path}".rstrip("/")
            if path is None or not os.path.isdir(home):
                continue
            folder = f"{home}/{self._name}"
            try:
                os.makedirs(folder, 0o755, exist_ok=True)
            except OSError:
                if controller == "cpu":
                    continue  # not delegated with the others, which are worth having without it
                raise
            self._home[controller], self._folders[controller] = home, folder
        self.version = 1 if "pids" in self._folders and "memory" in self._folders else 0
        self.reason = "" if self.version else "the controllers memory and pids are not mounted"

    def _begin_v2(self, path: str) -> None:
        own = f"{self._root}{path}".rstrip("/")
        # Beside its own group, which holds processes and so can have none below it with controllers.
        base = os.path.dirname(own) if path != "/" else own
        if not {"memory", "pids"} <= set(_read(f"{base}/cgroup.controllers").split()):
            self.reason = "the controllers memory and pids are not delegated to this daemon"
            return
        folder = f"{base}/{self._name}"
        controllers = " ".join(
            each for each in _V2.split() if each[1:] in _read(f"{base}/cgroup.controllers").split()
        )
        _write(f"{base}/cgroup.subtree_control", controllers)
        os.makedirs(folder, 0o755, exist_ok=True)
        _write(f"{folder}/cgroup.subtree_control", controllers)
        for controller in _V1:
            if f"+{controller}" in controllers:
                self._home[controller], self._folders[controller] = own, folder
        self.version = 2


def _why(error: OSError) -> str:
    said = os.strerror(error.errno or 0)
    return f"{said}; have one delegated to the daemon's user" if isinstance(error, PermissionError) else said


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _try(path: str, text: str) -> bool:
    if not os.path.exists(path):
        return False
    try:
        _write(path, text)
    except OSError:
        return False
    return True


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
