"""Named places at which a test, or a daemon that was told so, ends or fails: around each step to the disk.

A name is PLACE.STEP.before or PLACE.STEP.after. Places on a disk follow from its files: journal, journal_draft,
snapshot, snapshot_draft, snapshot_part, else the name of their folder; steps from what is done to them, and
folder.sync. The state machine has apply, acknowledge, copy and install; the store save.begin, save.rows and
save.commit.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from node.core.faults import Code, Fault
from node.env import Disk, Env, File

Hit = Callable[[str], None]
_WITHOUT_END = frozenset({"kill", "hang"})
_PLACES = {
    ".log.new": "journal_draft",
    ".log": "journal",
    ".snap.new": "snapshot_draft",
    ".snap.part": "snapshot_part",
    ".snap": "snapshot",
}


@dataclass(frozen=True, slots=True)
class Action:
    """What happens at the `at`-th time: "kill", "hang", or the name of an errno, which is raised."""

    what: str
    at: int


def parse(text: str) -> dict[str, Action]:
    """`NAME=kill`, `NAME=hang` or `NAME=EIO`, with `@N` for the N-th time, separated by commas. Raises Fault."""
    found: dict[str, Action] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, rest = part.partition("=")
        what, _, at = rest.partition("@")
        if not name or not (what in _WITHOUT_END or hasattr(errno, what)) or not (at or "1").isdigit() or at == "0":
            message = f"CORTEX_FAILPOINTS has {part!r}, which is no failpoint."
            raise Fault(Code.INVALID, message, "Write NAME=kill, NAME=hang or NAME=EIO, with @N for the N-th time.")
        found[name] = Action(what, int(at or 1))
    return found


class Failpoints:
    """hit() is called at each place; most often nothing happens."""

    def __init__(self, armed: Mapping[str, Action]) -> None:
        self._armed = dict(armed)
        self._counts: Counter[str] = Counter()

    def hit(self, name: str) -> None:
        """Raises the OSError that this place is armed with; does not return where that is "kill" or "hang"."""
        action = self._armed.get(name)
        if action is None:
            return
        self._counts[name] += 1
        if self._counts[name] != action.at:
            return
        if action.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action.what == "hang":
            threading.Event().wait()
        number = getattr(errno, action.what)
        raise OSError(number, os.strerror(number), name)


def armed(env: Env, text: str) -> Env:
    """The same, that ends or fails where `text` says; see parse(). Raises Fault."""
    return watched(env, Failpoints(parse(text)).hit) if text else env


def watched(env: Env, hit: Hit) -> Env:
    """The same, that calls `hit` at every place."""
    return replace(env, open_disk=lambda name: WatchedDisk(env.open_disk(name), name, hit), failpoint=hit)


class WatchedDisk:
    """Implements node.env.Disk over another one, and tells `hit` of every step."""

    def __init__(self, disk: Disk, folder: str, hit: Hit) -> None:
        self._disk = disk
        self._folder = folder
        self._hit = hit
        self._files: dict[str, WatchedFile] = {}
        """The last one opened of each name."""

    def open(self, name: str, *, create: bool = False) -> File:
        place = self._place_of(name)
        if create:
            self._hit(f"{place}.create.before")
        file = self._files[name] = WatchedFile(self._disk.open(name, create=create), place, self._hit)
        if create:
            self._hit(f"{place}.create.after")
        return file

    def _place_of(self, name: str) -> str:
        return next((place for suffix, place in _PLACES.items() if name.endswith(suffix)), self._folder)

    def names(self) -> list[str]:
        return self._disk.names()

    def rename(self, old: str, new: str) -> None:
        self._hit(f"{self._place_of(old)}.rename.before")
        self._disk.rename(old, new)
        if file := self._files.pop(old, None):
            file.place, self._files[new] = self._place_of(new), file
        self._hit(f"{self._place_of(old)}.rename.after")

    def remove(self, name: str) -> None:
        self._hit(f"{self._place_of(name)}.remove.before")
        self._disk.remove(name)
        self._files.pop(name, None)
        self._hit(f"{self._place_of(name)}.remove.after")

    def sync_folder(self) -> None:
        self._hit("folder.sync.before")
        self._disk.sync_folder()
        self._hit("folder.sync.after")


class WatchedFile:
    """Implements node.env.File likewise."""

    def __init__(self, file: File, place: str, hit: Hit) -> None:
        self._file = file
        self.place = place
        self._hit = hit

    def read(self, offset: int, size: int) -> bytes:
        return self._file.read(offset, size)

    def write(self, offset: int, data: bytes) -> None:
        self._hit(f"{self.place}.write.before")
        self._file.write(offset, data)
        self._hit(f"{self.place}.write.after")

    def size(self) -> int:
        return self._file.size()

    def truncate(self, size: int) -> None:
        self._hit(f"{self.place}.truncate.before")
        self._file.truncate(size)
        self._hit(f"{self.place}.truncate.after")

    def preallocate(self, size: int) -> None:
        self._hit(f"{self.place}.preallocate.before")
        self._file.preallocate(size)
        self._hit(f"{self.place}.preallocate.after")

    def sync(self) -> None:
        self._hit(f"{self.place}.sync.before")
        self._file.sync()
        self._hit(f"{self.place}.sync.after")

    def close(self) -> None:
        self._file.close()
