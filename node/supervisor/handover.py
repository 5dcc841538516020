"""Becoming another program in place, such as the next release, while commands run.

Only their parent can reap commands and learn how they ended, so no second process could take them over: this one
executes the other program. It stays the commands' parent and keeps its number, its lock and its descriptors; all
else goes along as a state in memory. Because there is no way back from that, the other program first tries to read
the state in a process of its own. Pipes hold what commands write meanwhile.
"""

from __future__ import annotations

import marshal
import os
import signal

from node.supervisor.attempt import boot_us

# A state is a dict by names: what a reader does not know is passed over. This number rises when it must not be.
STATE = 1
TRIAL_US = 30_000_000
_WHY_BYTES = 1000
_HELD_BACK = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class NoHandOver(Exception):
    """Why this program goes on."""


class Trial:
    """Another program that is trying to read a state, as the child `pid`. Raises NoHandOver."""

    __slots__ = ("_why", "deadline_us", "pid", "program")

    def __init__(self, program: list[str], state: dict[str, object]) -> None:
        self.program = program
        self.deadline_us = boot_us() + TRIAL_US
        fds: list[int] = []
        try:
            fds.append(_in_memory(state, os.MFD_CLOEXEC))
            fds.append(os.memfd_create("why", os.MFD_CLOEXEC))
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            fds.append(null)
            actions = [(os.POSIX_SPAWN_DUP2, fd, number) for fd, number in ((fds[0], 0), (null, 1), (fds[1], 2))]
            self.pid = os.posix_spawn(
                program[0], [*program, "--try"], _environment(), file_actions=actions, setsigmask=()
            )
        except (OSError, LookupError, TypeError, ValueError) as error:
            for fd in fds:
                os.close(fd)
            raise NoHandOver(f"the program cannot be tried: {error}") from None
        os.close(fds[0])
        os.close(null)
        self._why = fds[1]

    def conclude(self, status: int) -> None:
        """It has ended with `status` of wait. Raises NoHandOver unless it can take over."""
        size = os.fstat(self._why).st_size
        text = os.pread(self._why, _WHY_BYTES, max(0, size - _WHY_BYTES)).decode("utf-8", "replace").strip()
        os.close(self._why)
        if status:
            raise NoHandOver(f"the program cannot take over: {text or f'it ended with status {status}'}")


def become(program: list[str], data: str, state: dict[str, object], descriptors: list[int]) -> None:
    """Does not return. Raises NoHandOver, with everything as it was."""
    fd = -1
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)  # they wait for the next program
    try:
        fd = _in_memory(state, 0)
        for each in descriptors:
            os.set_inheritable(each, True)
        os.execv(program[0], [*program, "--data", data, "--resume", str(fd)])
    except (OSError, TypeError, ValueError) as error:
        for each in descriptors:
            os.set_inheritable(each, False)
        if fd >= 0:
            os.close(fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise NoHandOver(f"the program cannot be executed: {error}") from None


def read_state(fd: int) -> dict[str, object]:
    """The state that `fd` holds, which is closed. Raises NoHandOver or OSError."""
    with open(fd, "rb") as file:
        try:
            found = marshal.load(file)
            number = found["state"]
        except (ValueError, EOFError, TypeError, LookupError) as error:
            raise NoHandOver(f"the state does not decode: {error!r}") from None
    if number != STATE:
        raise NoHandOver(f"the state has number {number}, this program reads {STATE}")
    return dict(found)


def _in_memory(state: dict[str, object], flags: int) -> int:
    """A descriptor from which `state` can be read."""
    fd = os.memfd_create("state", flags)
    view = memoryview(marshal.dumps({**state, "state": STATE}, 2))
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _environment() -> dict[bytes, bytes]:
    """What this process was started with."""
    with open("/proc/self/environ", "rb") as file:
        return dict(entry.split(b"=", 1) for entry in file.read().split(b"\0") if b"=" in entry)
