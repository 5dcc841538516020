"""Whether a SIGKILL came from the kernel for want of memory: its counters of processes that it ended for that.

The machine's counter (/proc/vmstat) must have risen since the command began, and where the counter of the dead
process's own memory cgroup can be read, that one, too: another cgroup's trouble is not taken for this one's.
"""

from __future__ import annotations

_SAMPLE_US = 1_000_000
_PATHS_KEPT = 256


class OutOfMemory:
    """Reads below `proc` and `cgroups`; what cannot be read is no evidence."""

    __slots__ = ("_cgroups", "_count", "_known", "_proc", "_sampled_us")

    def __init__(self, proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._known: dict[str, int] = {}
        self._sampled_us = 0
        self._count = -1
        self._note_own()

    def state(self) -> dict[str, int]:
        """How often each counter rose that this process has looked at."""
        return self._known

    def restore(self, state: dict[str, int]) -> None:
        self._known = state

    def begin(self, now_us: int) -> int:
        """The machine's count for a command that begins now, at most a second old; -1 = not known."""
        if self._count < 0 or now_us >= self._sampled_us + _SAMPLE_US:
            self._count = _field(f"{self._proc}/vmstat", "oom_kill")
            self._sampled_us = now_us
        return self._count

    def ended(self, pid: int, since: int) -> bool:
        """Whether the kernel ended processes where `pid` was, which waits to be reaped, since the count `since`."""
        count = _field(f"{self._proc}/vmstat", "oom_kill")
        if 0 <= count <= since:
            return False
        where = self._file_of(pid)
        if not where:
            return count > since >= 0
        found = _field(where, "oom_kill")
        before = self._known.get(where, 0)
        if len(self._known) >= _PATHS_KEPT:
            self._known.clear()
        self._known[where] = found
        return found > before

    def _note_own(self) -> None:
        where = self._file_of(-1)
        if where:
            self._known[where] = _field(where, "oom_kill")

    def _file_of(self, pid: int) -> str:
        """The file that counts for the memory cgroup of `pid`, -1 = this process; empty when it cannot be read."""
        try:
            with open(f"{self._proc}/{'self' if pid < 0 else pid}/cgroup") as file:
                lines = file.read().split("\n")
        except OSError:
            return ""
        for line in lines:
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            places: list[str] = []
            if "memory" in controllers.split(",") and path != "/":  # where version 1 puts the dead
                places = [f"{self._cgroups}/memory{path}/memory.oom_control"]
            elif line.startswith("0::"):
                places = [f"{self._cgroups}{path}/memory.events", f"{self._cgroups}/unified{path}/memory.events"]
            for place in places:
                if _field(place, "oom_kill") >= 0:
                    return place
        return ""


def _field(path: str, name: str) -> int:
    """The number after `name` in a file of such pairs; -1 when there is none."""
    try:
        with open(path) as file:
            for line in file:
                word, _, number = line.partition(" ")
                if word == name:
                    return int(number)
    except (OSError, ValueError):
        pass
    return -1
