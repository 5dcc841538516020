"""Deliberate bugs in the life of the log, each a patch over the sound engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from node.consensus.port import Committed
from node.consensus.raftos.journal import Base, Journal
from node.consensus.raftos.log import Log
from node.consensus.raftos.progress import Progress
from node.consensus.raftos.records import Replay
from node.consensus.raftos.sending import Sending
from node.consensus.raftos.wire import Data
from tests.sim.disk import SimFile


@contextmanager
def snapshot_before_sync() -> Iterator[None]:
    """A snapshot counts, and the log is cut behind it, before its file is on the disk."""
    sound = SimFile.sync

    def sync(self: SimFile) -> None:
        names = self._disk._names
        if not any(inode is self._inode and ".snap" in name for name, inode in names.items()):
            sound(self)

    with patch.object(SimFile, "sync", sync):
        yield


@contextmanager
def drop_segments_too_early() -> Iterator[None]:
    """The journal drops segments that hold more than the snapshot."""
    sound = Journal.truncate

    def truncate(self: Journal, upto: int) -> bool:
        self._sealed = [(number, min(highest, upto)) for number, highest in self._sealed]
        return sound(self, upto)

    with patch.object(Journal, "truncate", truncate):
        yield


@contextmanager
def keep_log_behind_installed() -> Iterator[None]:
    """A follower whose log ends elsewhere than the installed snapshot begins its log there, but not its journal."""
    sound = Replay.log_behind

    def log_behind(self: Replay, snapshot: Base, where: str) -> tuple[Base, list[Committed], bool]:
        base, entries, _ = sound(self, snapshot, where)
        return base, entries, False

    with patch.object(Replay, "log_behind", log_behind):
        yield


@contextmanager
def match_before_installed() -> Iterator[None]:
    """The leader counts a snapshot as installed as soon as the peer has begun to receive it."""
    sound = Sending.answered

    def answered(self: Sending, progress: Progress, data: Data) -> None:
        sound(self, progress, {**data, "installed": True})

    with patch.object(Sending, "answered", answered):
        yield


@contextmanager
def trim_ahead_of_snapshot() -> Iterator[None]:
    """The log forgets whatever is committed, not only what the snapshot holds."""

    def keep_point(self: Log, _upto: int, _entries: int, _bytes: int) -> int:
        return self.commit_index

    with patch.object(Log, "keep_point", keep_point):
        yield


BUGS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    bug.__name__: bug
    for bug in (
        snapshot_before_sync,
        drop_segments_too_early,
        keep_log_behind_installed,
        match_before_installed,
        trim_ahead_of_snapshot,
    )
}
