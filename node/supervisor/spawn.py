"""Starting a command: posix_spawn with file actions and setsid, and a sentence when it cannot be."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal

from node.supervisor import wire

# Whatever Python, this process or who started the daemon ignores: a command starts with the defaults.
_RESET = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
# What the machine is out of for the moment.
BACK_PRESSURE = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
_CACHE_SIZE = 256


class CannotStart(Exception):
    """This machine cannot start the command; the message says why and what to do."""


class Busy(Exception):
    """The machine is out of descriptors, processes or memory; try again later."""


class Wrapping:
    """What a command is wrapped in, and the directory that it must begin in. See wire.LIMIT_FIELDS.

    `filter_fd` is what its program reads as FILTER_FD, -1 = nothing.
    """

    __slots__ = ("_filter_fd", "_folder", "_hands_folder", "_wrap")

    def __init__(self, wrap: list[bytes], folder: str, *, hands_folder: bool = False, filter_fd: int = -1) -> None:
        self._wrap = wrap
        self._folder = folder
        self._hands_folder = hands_folder
        self._filter_fd = filter_fd

    @property
    def sandboxes(self) -> bool:
        return bool(self._wrap)

    def actions(self, folder_fd: int) -> list[tuple[int, int, int]]:
        """What the spawn does with descriptors beside the three of every command."""
        handed = ((self._filter_fd, wire.FILTER_FD), (folder_fd if self._hands_folder else -1, wire.FOLDER_FD))
        return [(os.POSIX_SPAWN_DUP2, fd, number) for fd, number in handed if fd >= 0]

    def around(
        self, path: bytes, argv: list[bytes], env: dict[bytes, bytes]
    ) -> tuple[bytes, list[bytes], dict[bytes, bytes]]:
        """Of a command that is started where this process is now. Raises CannotStart or OSError."""
        try:
            here = os.getcwdb()
        except FileNotFoundError as error:
            raise _bad_folder(self._folder or "of its own", error) from None
        if self._folder and here != os.fsencode(self._folder):
            raise CannotStart(
                f"Working directory {self._folder} is now {_shown(here)}: a link to it changed meanwhile. "
                "Name a directory that stays what it is."
            )
        if not self._wrap:
            return path, argv, env
        if not os.access(path, os.X_OK) or os.path.isdir(path):
            raise _bad_command(argv[0], path, OSError(errno.EACCES if os.path.exists(path) else errno.ENOENT, ""))
        words = [here if word == wire.FOLDER else word for word in self._wrap]
        if wire.FOLDER in env.values():
            env = {name: here if value == wire.FOLDER else value for name, value in env.items()}
        return words[0], words + argv, env


class Spawner:
    """Spawns commands with /dev/null as stdin and two pipes. Needs a process with a single thread.

    `descriptors` is how many a command may have open; 0 = as many as this process.
    """

    __slots__ = ("_descriptors", "_found", "_null")

    def __init__(self, descriptors: int = 0) -> None:
        self._descriptors = descriptors
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._found: dict[tuple[bytes, bytes], bytes] = {}

    def spawn(
        self, argv: list[bytes], env: dict[bytes, bytes], cwd: str, wrapping: Wrapping | None = None
    ) -> tuple[int, int, int]:
        """Returns pid and the reading ends of stdout and stderr. Raises CannotStart or Busy."""
        ends: list[int] = []
        try:
            ends += os.pipe2(os.O_CLOEXEC)
            ends += os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ends[0], False)
            os.set_blocking(ends[2], False)
            pid = self._spawn_in(argv, env, cwd, ends[1], ends[3], wrapping)
        except Exception as error:
            for fd in ends:
                os.close(fd)
            if isinstance(error, CannotStart):
                raise
            if isinstance(error, OSError) and error.errno in BACK_PRESSURE:
                raise Busy(f"{os.strerror(error.errno)} at spawn") from None
            raise CannotStart(
                f"The command cannot be started: {error}. Correct its arguments, environment or directory."
            ) from None
        os.close(ends[1])
        os.close(ends[3])
        if self._descriptors:
            self._limit(pid)
        return pid, ends[0], ends[2]

    def _limit(self, pid: int) -> None:
        # After the spawn: to set it in the child would need a fork instead of a vfork.
        try:
            _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (self._descriptors, hard))
        except OSError:
            pass  # it has ended, or became another user's

    def _spawn_in(
        self, argv: list[bytes], env: dict[bytes, bytes], cwd: str, out: int, err: int, wrapping: Wrapping | None
    ) -> int:
        # posix_spawn knows no working directory, and a child inherits ours: nothing else here depends on it.
        folder = _entered(cwd)
        try:
            path = self._find(argv[0], env.get(b"PATH", b""))
            actions = [
                (os.POSIX_SPAWN_DUP2, self._null, 0),
                (os.POSIX_SPAWN_DUP2, out, 1),
                (os.POSIX_SPAWN_DUP2, err, 2),
            ]
            if wrapping is not None:
                path, argv, env = wrapping.around(path, argv, env)
                actions += wrapping.actions(folder)
            kept = self._lower_own() if wrapping is not None and wrapping.sandboxes else None
            try:
                return os.posix_spawn(
                    path, argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_RESET
                )
            finally:
                if kept is not None:
                    resource.setrlimit(resource.RLIMIT_NOFILE, kept)
        except OSError as error:
            self._found.clear()
            if error.errno in BACK_PRESSURE:
                raise
            raise _bad_command(argv[0], path, error) from None
        finally:
            # Not to keep the folder's file system busy.
            os.close(folder)
            os.chdir("/")

    def _lower_own(self) -> tuple[int, int] | None:
        """Give this process as many descriptors as a command has, since _limit() does not reach into a sandbox.

        Returns what it had.
        """
        if not self._descriptors:
            return None
        kept = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._descriptors, kept[1]))
        return kept

    def _find(self, program: bytes, search: bytes) -> bytes:
        """The path of `program` by the command's own PATH. Raises CannotStart."""
        if b"/" in program:
            return program
        path = self._found.get((program, search))
        if path is not None:
            return path
        for folder in search.split(b":"):
            path = (folder or b".") + b"/" + program
            if os.access(path, os.X_OK) and os.path.isfile(path):
                if len(self._found) >= _CACHE_SIZE:
                    self._found.clear()
                if path.startswith(b"/"):
                    self._found[program, search] = path
                return path
        raise CannotStart(
            f"Command {_shown(program)} is not in PATH ({_shown(search, 80)}). "
            "Install it on this node or name it by its full path."
        )


def out_of_the_way(fd: int) -> int:
    """`fd` by a number that means nothing to any command's program. Raises OSError."""
    if fd > wire.FOLDER_FD:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, wire.FOLDER_FD + 1)
    finally:
        os.close(fd)


def _entered(cwd: str) -> int:
    """A descriptor of the directory `cwd`, where this process is from now on. Raises CannotStart or OSError."""
    fd = -1
    try:
        # Opened once: the path may mean another directory a moment later.
        fd = out_of_the_way(os.open(cwd, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        os.fchdir(fd)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        if error.errno in BACK_PRESSURE:
            raise
        raise _bad_folder(cwd, error) from None
    return fd


def _bad_folder(cwd: str, error: OSError) -> CannotStart:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        why = "does not exist" if error.errno == errno.ENOENT else "is not a directory"
        return CannotStart(f"Working directory {cwd} {why} on this node. Create it there or name another.")
    return CannotStart(
        f"Working directory {cwd} cannot be entered: {os.strerror(error.errno or 0)}. "
        "Correct its permissions or name another."
    )


def _bad_command(program: bytes, path: bytes, error: OSError) -> CannotStart:
    name = _shown(program)
    if error.errno == errno.ENOENT:
        if os.path.exists(path):
            return CannotStart(f"The interpreter that {name} names in its first line does not exist. Install it.")
        return CannotStart(f"Command {name} does not exist on this node. Install it there or correct the path.")
    if error.errno == errno.EACCES:
        if os.path.isdir(path):
            return CannotStart(f"Command {name} is a directory. Name a program.")
        return CannotStart(f"Command {name} is not executable. Make it so (chmod +x) or name its interpreter.")
    if error.errno == errno.ENOEXEC:
        return CannotStart(
            f"Command {name} is not a program for this machine. "
            "Give a script a first line such as #!/bin/sh, or install the right build."
        )
    if error.errno == errno.E2BIG:
        return CannotStart("Arguments and environment are too large for this machine. Pass them in a file.")
    return CannotStart(f"Command {name} cannot be started: {os.strerror(error.errno or 0)}. Try it by hand there.")


def _shown(text: bytes, limit: int = 200) -> str:
    whole = text.decode("utf-8", "replace")
    return whole if len(whole) <= limit else whole[:limit] + "…"
