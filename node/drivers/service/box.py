"""How a service's command is started: as it stands, or in a sandbox, whose making the daemon decided.

The sandbox is around the command alone: what asks it whether it is ready, and restarts it, stays outside.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

_OUTPUTS = (1, 2)
_WORDS = 300
_UPDATE = b"CORTEX_CONTEXT_UPDATE"
# What stands between this driver and a command in a sandbox, and what those exit with when it never began.
_STARTERS = ("bwrap", "setpriv", "prlimit", "env")
_REFUSALS = frozenset({1, 126, 127})
# Above those that a sandbox's program is handed.
_OUT_OF_THE_WAY = 10


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox, as the executor lays it down. Bytes go by base64."""

    wrap: tuple[bytes, ...]  # program and arguments before the command's
    folder: bytes  # what stands for the working directory in those and in `env`
    env: Mapping[str, bytes] = {}  # what the command finds in the place of this driver's
    filter: bytes = b""  # of system calls, read by the program
    filter_fd: int = -1
    folder_fd: int = -1  # where that program finds the working directory open
    owner: tuple[int, int] | None = None  # uid and gid of the command
    refusals: Mapping[str, str] = {}  # sentences for what its program may begin to say


class Start:
    """Starts a command, again and again."""

    def __init__(self, argv: Sequence[bytes], box: Box | None = None) -> None:
        self._argv = list(argv)
        self._box = box
        self.boxed = box is not None
        self._refusals = box.refusals if box is not None else {}
        here = os.getcwdb()
        self._env = dict(os.environb)
        if box is not None:
            changed = ((name.encode(), value) for name, value in box.env.items())
            self._env |= {name: here if value == box.folder else value for name, value in changed}
            wrap = [here if word == box.folder else word for word in box.wrap]
            self._wrap = _sharing(wrap, self._env.get(_UPDATE, b""), box.owner)
            # The supervisor has checked that this is the one which was meant.
            self._folder = _moved(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def spawn(self) -> tuple[int, list[int]]:
        """In a session of its own; its pid and the pipes of its output. Raises OSError when it cannot start."""
        opened: list[int] = []
        kept: list[int] = []
        try:
            actions = []
            for number in _OUTPUTS:
                source, sink = os.pipe()
                opened += (source, sink)
                kept.append(source)
                actions.append((os.POSIX_SPAWN_DUP2, sink, number))
            argv, reset = self._argv, [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM]
            if self._box is not None:
                _find(argv[0], self._env)
                argv = [*self._wrap, *argv]
                actions.append((os.POSIX_SPAWN_DUP2, self._folder, self._box.folder_fd))
                if self._box.filter:
                    opened.append(reading := _filled(self._box.filter))
                    actions.append((os.POSIX_SPAWN_DUP2, reading, self._box.filter_fd))
            pid = os.posix_spawnp(
                argv[0], argv, self._env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=reset
            )
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        for fd in opened:
            if fd not in kept:
                os.close(fd)
        return pid, kept

    def refusal(self, code: int, out: bytes, err: bytes) -> str:
        """Why a command that ended so never began in its sandbox, by its first words; empty when it did."""
        line = err.split(b"\n", 1)[0].decode("utf-8", "replace")
        program, _, why = line.partition(": ")
        if not self.boxed or code not in _REFUSALS or out or program.rpartition("/")[2] not in _STARTERS:
            return ""
        for begin, sentence in self._refusals.items():
            if why.startswith(begin):
                return sentence
        shown = "It has only what its level shows it of the node."
        return f"The command cannot start in its sandbox: {why[:_WORDS]}. {shown}"


def _find(program: bytes, env: Mapping[bytes, bytes]) -> None:
    """Raises OSError when the machine has no such program to be run."""
    folders = [b""] if b"/" in program else env.get(b"PATH", b"").split(b":")
    for folder in folders:
        if os.access(os.path.join(folder, program), os.X_OK):
            return
    raise FileNotFoundError(2, os.strerror(2))


def _sharing(wrap: list[bytes], path: bytes, owner: tuple[int, int] | None) -> list[bytes]:
    """`wrap`, in which the command may write the file of its workflow's context, where it has one."""
    if not path:
        return wrap
    with suppress(OSError):
        Path(os.fsdecode(path)).touch(mode=0o600)
        if owner is not None:
            os.chown(path, *owner)
        at = wrap.index(b"--chdir")
        return [*wrap[:at], b"--dir", os.path.dirname(path), b"--bind", path, path, *wrap[at:]]
    return wrap


def _filled(data: bytes) -> int:
    """A descriptor that `data` can be read from."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return _moved(reading)


def _moved(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
    finally:
        os.close(fd)
