"""Working directories of commands that name none: each has one to itself while it runs.

One that is left as it was is used again, for making and removing one costs as much as a quarter of a short command.
One in which something was left stays, with a link to it that bears the attempt's name.
"""

from __future__ import annotations

import os

from node.supervisor.spawn import Busy

_MODE = 0o700
_KEPT = 64


class Folders:
    """Directories below `root`."""

    __slots__ = ("_free", "_next", "_root")

    def __init__(self, root: str, state: tuple[list[str], int] | None = None) -> None:
        """`state` is that of an object that goes on in this one."""
        self._root = root
        self._free: list[str] = []
        self._next = 1
        if state is not None:
            self._free, self._next = state
        else:
            self._name_leftovers()

    def state(self) -> tuple[list[str], int]:
        return self._free, self._next

    def take(self) -> str:
        """An empty directory. Raises Busy."""
        while self._free:
            path = self._free.pop()
            if os.path.isdir(path):
                return path
        while True:
            path = f"{self._root}/{self._next}"
            self._next += 1
            try:
                os.mkdir(path, _MODE)
            except FileExistsError:
                if not self._is_clean(path):
                    continue  # an earlier supervisor's, with something in it
            except OSError as error:
                raise Busy(f"no working directory could be made: {error.strerror}") from None
            return path

    def give_back(self, path: str, name: str) -> None:
        """The command called `name`, to which it was given, has ended or did not start; empty = it had none."""
        if not path:
            return
        if self._is_clean(path):
            if len(self._free) < _KEPT:
                self._free.append(path)
                return
            try:
                os.rmdir(path)
                return
            except OSError:
                pass  # something came into it since, as from a command that cannot be killed
        try:
            os.symlink(os.path.basename(path), f"{self._root}/{name}")
        except OSError:
            pass  # found by its number only

    def _name_leftovers(self) -> None:
        """What an earlier supervisor could not name, since it was killed: whose it was is not known any more."""
        try:
            names = os.listdir(self._root)
            links = [path for name in names if os.path.islink(path := f"{self._root}/{name}")]
            named = {os.readlink(path) for path in links}
            for name in names:
                path = f"{self._root}/{name}"
                if name.isdecimal() and name not in named and not self._is_clean(path):
                    os.symlink(name, f"{self._root}/unknown.{name}")
        except OSError:
            pass  # they stay, and are never used again

    def _is_clean(self, path: str) -> bool:
        """Whether it is as it was made: an empty directory of ours with its mode."""
        try:
            status = os.lstat(path)
            return status.st_mode == 0o040000 | _MODE and status.st_uid == os.geteuid() and not os.listdir(path)
        except OSError:
            return False
