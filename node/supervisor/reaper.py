"""Taking the dead: whose process ended how, and whether for want of memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection

from node.supervisor.attempt import Attempt
from node.supervisor.kin import session_of
from node.supervisor.memory import OutOfMemory

_KILLED = signal.SIGKILL.value
# How a shell reports that its child was killed.
_CHILD_KILLED = 128 + _KILLED


class Reaper:
    """Waits for all children of this process, its own commands and orphans that came to it."""

    __slots__ = ("_helpers", "_sandboxed", "memory")

    def __init__(self) -> None:
        self.memory = OutOfMemory()
        self._helpers: dict[int, int | None] = {}
        self._sandboxed: dict[int, Attempt] = {}

    @property
    def helpers(self) -> Collection[int]:
        """Children of this process that are neither commands nor orphans."""
        return self._helpers

    def expect(self, pid: int) -> None:
        """`pid` is a helper."""
        self._helpers[pid] = None

    def ended_helper(self, pid: int) -> int | None:
        """How it ended, once it has; said once."""
        return None if self._helpers.get(pid) is None else self._helpers.pop(pid)

    def began(self, attempt: Attempt) -> None:
        """Note what the kernel's counters say at its start."""
        attempt.memory_count = self.memory.begin(attempt.spawned_us)
        self.follow(attempt)

    def follow(self, attempt: Attempt) -> None:
        """A sandbox's first process ends before the one that waits for its command, which comes to this one."""
        if attempt.order.sandboxed:
            self._sandboxed[attempt.group] = attempt

    def leave(self, attempt: Attempt) -> None:
        """It has no processes any more."""
        self._sandboxed.pop(attempt.group, None)

    def reap(self, by_pid: dict[int, Attempt], now_us: int) -> list[Attempt]:
        """Attempts whose own process has ended; they are taken from `by_pid`."""
        ended: list[Attempt] = []
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if dead is None:
                    break
                attempt = by_pid.pop(dead.si_pid, None)
                if attempt is not None and not attempt.stopping and _was_killed(dead):
                    # Before it is reaped: then nobody knows its cgroup any more.
                    attempt.out_of_memory = self.memory.ended(dead.si_pid, attempt.memory_count)
                owner = attempt or (self._sandboxed and self._sandboxed.get(session_of(dead.si_pid))) or None
                _, status, usage = os.wait4(dead.si_pid, 0)
            except ChildProcessError:
                break
            if dead.si_pid in self._helpers:
                self._helpers[dead.si_pid] = status
                continue
            if owner is not None:
                owner.used(usage)
            if attempt is not None:
                attempt.reaped(status, now_us)
                ended.append(attempt)
        return ended


def _was_killed(dead: os.waitid_result) -> bool:
    if dead.si_code == os.CLD_EXITED:
        return dead.si_status == _CHILD_KILLED
    return dead.si_status == _KILLED
