"""What /proc says of processes, and signals that reach the one that was meant.

A number alone is given again once its process is reaped. A child of this process keeps its own until this process
reaps it, a group as long as it has members; all others are known by number and start, in ticks since boot.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

Process = tuple[int, int]
"""A number and the start of whose number it is."""

# Environment variable by which a supervisor knows its own: task ids of two clusters may be equal.
IDENTITY = b"CORTEX_SUPERVISOR"
# Deeper or wider families are found in the next pass, after these have died.
_MAX_FOUND = 10_000
# Places in what _stat() gives.
_PARENT, _THREADS, _START = 1, 17, 19


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

    def descendants(self, pid: int) -> list[Process]:
        """All below `pid`, which is a child of this process, without itself."""
        found: list[Process] = []
        waiting = [identified(pid)]
        while waiting and len(found) < _MAX_FOUND:
            parent = waiting.pop()
            below = [child for pid in children(parent[0]) if (child := _child(pid, parent)) is not None]
            # Else its number may have changed hands, and its children's parent is this process by now.
            if is_same(parent):
                found += below
                waiting += below
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
    """Whether `pid` is dead, reaped or not: all its threads are."""
    fields = _stat(pid)
    return not fields or (fields[0] in (b"Z", b"X") and int(fields[_THREADS]) <= 1)


def start_ticks(pid: int) -> int:
    """When `pid` started, in clock ticks since boot; -1 when it is not there."""
    fields = _stat(pid)
    return int(fields[_START]) if fields else -1


def identified(pid: int) -> Process:
    """Who has the number `pid` now."""
    return pid, start_ticks(pid)


def is_same(process: Process) -> bool:
    """Whether it is there, if only as a zombie."""
    return process[1] >= 0 and start_ticks(process[0]) == process[1]


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def send(process: Process, number: int) -> None:
    """Signal `process`, which may be gone, and nobody else."""
    send_while(process[0], number, lambda: is_same(process))


def send_while(pid: int, number: int, is_meant: Callable[[], bool]) -> None:
    """Signal `pid` if it is meant. What is asked after a descriptor of it was opened holds for that as it lives."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:
        # No descriptor is left, and what runs out of bounds must be ended all the same: right after a look.
        if is_meant():
            _kill(pid, number)
        return
    try:
        if is_meant():
            signal.pidfd_send_signal(fd, number)
    except OSError:
        pass  # it has ended, or became another user's
    finally:
        os.close(fd)


def send_to_child(pid: int, number: int) -> None:
    """Signal a child of this process that it has not reaped, so that the number is still its own."""
    _kill(pid, number)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass


def _child(pid: int, parent: Process) -> Process | None:
    """Who has the number `pid`, if that is a child of `parent`'s number."""
    fields = _stat(pid)
    return (pid, int(fields[_START])) if fields and int(fields[_PARENT]) == parent[0] else None


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
