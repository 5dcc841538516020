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
from node.supervisor.kin import (
    IDENTITY,
    Kin,
    Process,
    identified,
    is_zombie,
    key_of,
    send,
    send_to_child,
    session_of,
)

_EXEC_US = 40_000
# Below the first process of a sandbox: its init and a command.
_SANDBOX_PROCESSES = 2


class Family:
    """Finds the processes of attempts, and keeps in mind those that nobody owns for sure."""

    __slots__ = ("_identity", "_kin", "_suspects")

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._kin = Kin()
        self._suspects: dict[Process, tuple[int, set[str]]] = {}

    def state(self) -> list[tuple[Process, int, list[str]]]:
        return [(process, seen_us, list(keys)) for process, (seen_us, keys) in self._suspects.items()]

    def restore(self, state: list[tuple[Process, int, list[str]]]) -> None:
        self._suspects = {process: (seen_us, set(keys)) for process, seen_us, keys in state}

    def marked(self, env: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """The environment of a command, by which it and its descendants are known."""
        return {**env, IDENTITY: self._identity.encode()}

    def orphans(self, mains: Collection[int]) -> list[int]:
        """Children of this process that it did not spawn."""
        found = [pid for pid in self._kin.own_children() if pid not in mains]
        if self._suspects:
            there = set(found)
            self._suspects = {process: kept for process, kept in self._suspects.items() if process[0] in there}
        return found

    def of(self, attempt: Attempt, orphans: list[int], attempts: Mapping[str, Attempt]) -> list[Process]:
        """All living processes of `attempt` but its own first one; `orphans` as from orphans()."""
        found, _ = self.left(attempt, orphans, attempts, boot_us())
        if attempt.pid:
            found += self._kin.descendants(attempt.pid)
        return found

    def left(
        self, attempt: Attempt, orphans: list[int], attempts: Mapping[str, Attempt], now_us: int
    ) -> tuple[list[Process], bool]:
        """Of `orphans` and their descendants those of `attempt`, and whether there are some that may be later."""
        found: list[Process] = []
        unsure = False
        for pid in orphans:
            if is_zombie(pid):
                # Its children, if it had some, came to this process after `orphans` was asked for.
                unsure = unsure or self._may_own(attempt, pid, attempts)
                continue
            process = identified(pid)
            owned = self._owns(attempt, process, attempts, now_us)
            if owned:
                found += [process, *self._kin.descendants(pid)]
            elif process in self._suspects:
                found += [each for each in self._kin.descendants(pid) if session_of(each[0]) == attempt.group]
            unsure = unsure or owned is None
        return found, unsure

    def signal(self, attempt: Attempt, others: list[Process], number: int) -> None:
        """Signal the group and `others`; a stopped process is woken so that it can act on a TERM."""
        if attempt.order.sandboxed:
            self._signal_sandbox(attempt, others, number)
            return
        numbers = (number, signal.SIGCONT) if number == signal.SIGTERM else (number,)
        whole = self._holds_group(attempt)
        for each in numbers:
            if whole:
                _signal_group(attempt.group, each)
            for process in others:
                if not whole or _group_of(process[0]) != attempt.group:
                    send(process, each)

    def _holds_group(self, attempt: Attempt) -> bool:
        """Whether the number of its group cannot be another's: it is that of a child that is not reaped yet."""
        return bool(attempt.pid) or any(_group_of(pid) == attempt.group for pid in self._kin.own_children())

    def _signal_sandbox(self, attempt: Attempt, others: list[Process], number: int) -> None:
        """Its first process only reports how the command ended: a TERM is not for it.

        The next one, the init of its namespace, takes no signal but KILL. Where there are no others yet, nothing of
        the command has begun, and nothing would see a TERM.
        """
        begun = len(others) >= _SANDBOX_PROCESSES or not attempt.pid
        if number == signal.SIGKILL or not begun:
            if attempt.pid:
                send_to_child(attempt.pid, signal.SIGKILL)
            for process in others:
                send(process, signal.SIGKILL)
            return
        for each in (number, signal.SIGCONT):
            for process in others:
                send(process, each)

    def ended(self, key: str) -> None:
        """`key` can own nothing any more."""
        for process, (_, suspects) in list(self._suspects.items()):
            suspects.discard(key)
            if not suspects:
                del self._suspects[process]

    def _may_own(self, attempt: Attempt, pid: int, attempts: Mapping[str, Attempt]) -> bool:
        """Whether `pid`, which is dead and tells only its session, may have been one of `attempt`."""
        session = session_of(pid)
        return session == attempt.group or all(session != other.group for other in attempts.values())

    def _owns(
        self, attempt: Attempt, process: Process, attempts: Mapping[str, Attempt], now_us: int
    ) -> bool | None:
        """None while it shows no environment, as for a moment in the middle of an exec."""
        pid = process[0]
        session = session_of(pid)
        if session == attempt.group:
            return True
        key = key_of(pid, self._identity)
        if key in attempts:
            return key == attempt.order.key
        if any(session == other.group for other in attempts.values()):
            return False
        seen_us, suspects = self._suspects.setdefault(process, (now_us, set(attempts)))
        if now_us < seen_us + _EXEC_US:
            return None
        return suspects <= {attempt.order.key}


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except OSError:
        pass  # it has ended, or became another user's


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1
