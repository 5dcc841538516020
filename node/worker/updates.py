"""What commands of workflows write for the context of theirs: a file for each attempt, read when it has ended."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from node.worker.output import OutputStore
from node.worker.port import AttemptKey, Limits
from node.worker.sandbox.arguments import share

# One more than a context takes, so that what is too long is refused there, and said.
_READ_BYTES = 16 * 1024 + 1


class Updates:
    """Files of one folder. Short reads and removals of what was just written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self, key: AttemptKey, limits: Limits | None) -> tuple[str, Limits | None]:
        """Path of the file that the command may make, and its limits: a sandbox shows it that file, which it finds.

        Raises OSError when there is no place for it.
        """
        # A simulated machine has no folders at all.
        with suppress(FileExistsError, FileNotFoundError):
            self._folder.mkdir(mode=0o700)
        path = self._path(key)
        if limits is None or not limits.wrap:
            return str(path), limits
        path.touch(mode=0o600)
        if limits.owner is not None:
            os.chown(path, *limits.owner)
        return str(path), replace(limits, wrap=share(limits.wrap, str(path)))

    def read(self, key: AttemptKey) -> bytes:
        """What the command wrote; empty when that is nothing, or no plain file."""
        try:
            # A pipe must not hold up the daemon.
            fd = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return b""
        try:
            return os.pread(fd, _READ_BYTES, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        except OSError:
            return b""
        finally:
            os.close(fd)

    def forget(self, keys: Iterable[AttemptKey]) -> None:
        for key in keys:
            with suppress(OSError):
                self._path(key).unlink()

    def _path(self, key: AttemptKey) -> Path:
        return self._folder / OutputStore.name(key).replace("/", "-")
