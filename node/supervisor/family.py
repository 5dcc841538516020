"""Which processes belong to which attempt, also when they left its process group.

A process that was orphaned has come to the supervisor, its subreaper. It belongs to the attempt whose session or
group it is in or whose environment it has. One that hid both is ended when every attempt that lived when it was
first seen has ended.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Mapping

from node.supervisor.attempt import Attempt
from node.supervisor.kin import Kin, is_zombie, key_of, send, session_of


class Family:
    __slots__ = ("_identity", "_kin", "_suspects")

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._kin = Kin()
        self._suspects: dict[int, set[str]] = {}

    def orphans(self, mains: Collection[int]) -> list[int]:
        """Children of this process that it did not spawn."""
        return [pid for pid in self._kin.own_children() if pid not in mains]

    def of(self, attempt: Attempt, mains: Collection[int], attempts: Mapping[str, Attempt]) -> list[int]:
        """All living processes of `attempt` but its own first one."""
        found = self.left(attempt, self.orphans(mains), attempts)
        if attempt.pid:
            found += self._kin.descendants(attempt.pid)
        return found

    def left(self, attempt: Attempt, orphans: list[int], attempts: Mapping[str, Attempt]) -> list[int]:
        """Of `orphans` and their descendants those that belong to `attempt`."""
        found: list[int] = []
        for pid in orphans:
            if not is_zombie(pid) and self._owns(attempt, pid, attempts):
                found += [pid, *self._kin.descendants(pid)]
        return found

    def signal(self, attempt: Attempt, others: list[int], number: int) -> None:
        """Signal the group and `others`; a stopped process is woken so that it can act on a TERM."""
        numbers = (number, signal.SIGCONT) if number == signal.SIGTERM else (number,)
        for each in numbers:
            attempt.signal_group(each)
            for pid in others:
                if session_of(pid) != attempt.group or _group_of(pid) != attempt.group:
                    send(pid, each)

    def ended(self, key: str) -> None:
        """`key` can own nothing any more."""
        for pid, suspects in list(self._suspects.items()):
            suspects.discard(key)
            if not suspects:
                del self._suspects[pid]

    def _owns(self, attempt: Attempt, pid: int, attempts: Mapping[str, Attempt]) -> bool:
        if session_of(pid) == attempt.group:
            return True
        key = key_of(pid, self._identity)
        if key:
            return key == attempt.order.key or (key not in attempts and self._is_last(attempt, pid, attempts))
        return self._is_last(attempt, pid, attempts)

    def _is_last(self, attempt: Attempt, pid: int, attempts: Mapping[str, Attempt]) -> bool:
        """Whether, of the attempts that may have started this stray, only `attempt` is left."""
        if any(session_of(pid) == other.group for other in attempts.values()):
            return False
        suspects = self._suspects.setdefault(pid, set(attempts))
        return suspects <= {attempt.order.key}


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1
