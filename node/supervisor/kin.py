"""What /proc says of processes: children, descendants, environment, age."""

from __future__ import annotations

import os

# Environment variable by which a supervisor knows its own: task ids of two clusters may be equal.
IDENTITY = b"CORTEX_SUPERVISOR"
# Deeper or wider families are found in the next pass, after these have died.
_MAX_FOUND = 10_000


class Kin:
    """Finds the processes of an attempt. Every answer may be out of date when it arrives."""

    __slots__ = ("_children_fd", "_self")

    def __init__(self) -> None:
        self._self = os.getpid()
        try:
            self._children_fd = os.open(f"/proc/self/task/{self._self}/children", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._children_fd = -1

    def own_children(self) -> list[int]:
        """Children of this process, zombies among them."""
        if self._children_fd < 0:
            return _scan_children(self._self)
        parts = []
        offset = 0
        while part := os.pread(self._children_fd, 65536, offset):
            parts.append(part)
            offset += len(part)
        return [int(word) for word in b"".join(parts).split()]

    def descendants(self, pid: int) -> list[int]:
        """All below `pid`, without itself."""
        found: list[int] = []
        seen = {pid}
        waiting = [pid]
        while waiting and len(found) < _MAX_FOUND:
            for child in children(waiting.pop()):
                if child not in seen:
                    seen.add(child)
                    found.append(child)
                    waiting.append(child)
        return found


def children(pid: int) -> list[int]:
    """Children of all threads of `pid`."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += [int(word) for word in file.read().split()]
        except FileNotFoundError:
            if not os.path.exists("/proc/self/task/self/children") and os.path.exists(f"/proc/{pid}/stat"):
                return _scan_children(pid)
        except OSError:
            continue
    return found


def key_of(pid: int, identity: str) -> str:
    """Key of the attempt by whose environment `pid` was started, if it was one of the supervisor `identity`."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return ""
    if b"%s=%s" % (IDENTITY, identity.encode()) not in entries:
        return ""
    task = fence = b""
    for entry in entries:
        if entry.startswith(b"CORTEX_TASK="):
            task = entry[12:]
        elif entry.startswith(b"CORTEX_FENCE="):
            fence = entry[13:]
    return f"{task.decode('utf-8', 'replace')}.{fence.decode('utf-8', 'replace')}"


def session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def is_zombie(pid: int) -> bool:
    """Whether `pid` is dead, reaped or not."""
    fields = _stat(pid)
    return not fields or fields[0] in (b"Z", b"X")


def start_ticks(pid: int) -> int:
    """When `pid` started, in clock ticks since boot; -1 when it is not there."""
    fields = _stat(pid)
    return int(fields[19]) if fields else -1


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def send(pid: int, number: int) -> None:
    """Signal a process that was just found; it may be gone."""
    try:
        os.kill(pid, number)
    except OSError:
        pass


def _stat(pid: int) -> list[bytes]:
    """Fields of /proc/pid/stat from the third on, or nothing."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _scan_children(parent: int) -> list[int]:
    """For kernels without the children files."""
    found = []
    for pid in all_pids():
        fields = _stat(pid)
        if fields and int(fields[1]) == parent:
            found.append(pid)
    return found
