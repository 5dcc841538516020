"""Which processes belong to which attempt, also when they left its process group.

A process that was orphaned has come to the supervisor, its subreaper. It belongs to the attempt whose session or
group it is in or whose environment it has. One that hid both is ended when every attempt that lived when it was
first seen has ended.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Mapping

from node.supervisor.attempt import Attempt, boot_us
from node.supervisor.kin import IDENTITY, Kin, is_zombie, key_of, send, session_of

_EXEC_US = 40_000
# Below the first process of a sandbox: its init and a command.
_SANDBOX_PROCESSES = 2


class Family:
    """Finds the processes of attempts, and keeps in mind those that nobody owns for sure."""

    __slots__ = ("_identity", "_kin", "_suspects")

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._kin = Kin()
        self._suspects: dict[int, tuple[int, set[str]]] = {}

    def state(self) -> list[tuple[int, int, list[str]]]:
        return [(pid, seen_us, list(keys)) for pid, (seen_us, keys) in self._suspects.items()]

    def restore(self, state: list[tuple[int, int, list[str]]]) -> None:
        self._suspects = {pid: (seen_us, set(keys)) for pid, seen_us, keys in state}

    def marked(self, env: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """The environment of a command, by which it and its descendants are known."""
        return {**env, IDENTITY: self._identity.encode()}

    def orphans(self, mains: Collection[int]) -> list[int]:
        """Children of this process that it did not spawn."""
        found = [pid for pid in self._kin.own_children() if pid not in mains]
        if self._suspects:
            self._suspects = {pid: self._suspects[pid] for pid in found if pid in self._suspects}
        return found

    def of(self, attempt: Attempt, orphans: list[int], attempts: Mapping[str, Attempt]) -> list[int]:
        """All living processes of `attempt` but its own first one; `orphans` as from orphans()."""
        found, _ = self.left(attempt, orphans, attempts, boot_us())
        if attempt.pid:
            found += self._kin.descendants(attempt.pid)
        return found

    def left(
        self, attempt: Attempt, orphans: list[int], attempts: Mapping[str, Attempt], now_us: int
    ) -> tuple[list[int], bool]:
        """Of `orphans` and their descendants those of `attempt`, and whether there are some that may be later."""
        found: list[int] = []
        unsure = False
        for pid in orphans:
            if is_zombie(pid):
                continue
            owned = self._owns(attempt, pid, attempts, now_us)
            if owned:
                found += [pid, *self._kin.descendants(pid)]
            unsure = unsure or owned is None
        return found, unsure

    def signal(self, attempt: Attempt, others: list[int], number: int) -> None:
        """Signal the group and `others`; a stopped process is woken so that it can act on a TERM."""
        if attempt.order.sandboxed:
            self._signal_sandbox(attempt, others, number)
            return
        numbers = (number, signal.SIGCONT) if number == signal.SIGTERM else (number,)
        for each in numbers:
            attempt.signal_group(each)
            for pid in others:
                if session_of(pid) != attempt.group or _group_of(pid) != attempt.group:
                    send(pid, each)

    def _signal_sandbox(self, attempt: Attempt, others: list[int], number: int) -> None:
        """Its first process only reports how the command ended: a TERM is not for it.

        The next one, the init of its namespace, takes no signal but KILL. Where there are no others yet, nothing of
        the command has begun, and nothing would see a TERM.
        """
        begun = len(others) >= _SANDBOX_PROCESSES or not attempt.pid
        if number == signal.SIGKILL or not begun:
            for pid in ([attempt.pid] if attempt.pid else []) + others:
                send(pid, signal.SIGKILL)
            return
        for each in (number, signal.SIGCONT):
            for pid in others:
                send(pid, each)

    def ended(self, key: str) -> None:
        """`key` can own nothing any more."""
        for pid, (_, suspects) in list(self._suspects.items()):
            suspects.discard(key)
            if not suspects:
                del self._suspects[pid]

    def _owns(self, attempt: Attempt, pid: int, attempts: Mapping[str, Attempt], now_us: int) -> bool | None:
        """None while `pid` shows no environment, as for a moment in the middle of an exec."""
        session = session_of(pid)
        if session == attempt.group:
            return True
        key = key_of(pid, self._identity)
        if key in attempts:
            return key == attempt.order.key
        if any(session == other.group for other in attempts.values()):
            return False
        seen_us, suspects = self._suspects.setdefault(pid, (now_us, set(attempts)))
        if now_us < seen_us + _EXEC_US:
            return None
        return suspects <= {attempt.order.key}


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1
