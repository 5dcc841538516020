"""Output of attempts, kept on the worker in files that the supervisor writes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cortex.v1.types_pb2 import TaskResult
from cortex.v1.worker_pb2 import Assignment
from node.worker.output_index import INDEX, OLD_INDEX, Entry, append, entries, rotate
from node.worker.output_watch import CHUNK_BYTES, Watch
from node.worker.port import AttemptKey

STDOUT = "out"
STDERR = "err"

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_READ_BYTES = 1024 * 1024
# A trim is worth its while when a part of what may be kept was written since the last.
_TRIMS = 20


@dataclass(slots=True)
class _Live:
    run: int
    attempt: int
    begun_us: int
    watch: Watch | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What there is of one attempt's output on this machine."""

    fence: int
    run: int  # from 1
    attempt: int  # from 0
    live: bool  # it may still write
    stdout_bytes: int  # there, or that were before they were removed
    stderr_bytes: int
    dropped_bytes: int
    trimmed: bool  # something of it was removed
    at_us: int  # of its end, of its start while it lives


class OutputStore:
    """Files of one folder, a pair per attempt, made at the first byte. Reads are short and from the page cache."""

    def __init__(
        self,
        folder: Path,
        *,
        max_age_us: int = 7 * 86_400_000_000,
        max_bytes: int = 10 * 10**9,
        max_task_bytes: int = 10**9,
    ) -> None:
        self._folder = folder
        self._max_age_us = max_age_us
        self._max_bytes = max_bytes
        self._max_task_bytes = max_task_bytes
        self._live: dict[AttemptKey, _Live] = {}
        self._grown_bytes = 0
        self.grown = asyncio.Event()
        """Set when much was written since the last trim."""

    @staticmethod
    def name(key: AttemptKey) -> str:
        """Path below the folder, without suffix; safe for any task id."""
        task = key.task
        if not _PLAIN.fullmatch(task):
            task = "x" + hashlib.sha256(task.encode()).hexdigest()[:32]
        return f"{_shard_of(key.task)}/{task}.{key.fence}"

    def begin(self, key: AttemptKey, assignment: Assignment, now_us: int) -> None:
        """The attempt may write from now on."""
        self._live.setdefault(key, _Live(assignment.run, assignment.attempt, now_us))

    def end(self, key: AttemptKey) -> None:
        """The attempt has written everything; followers are told."""
        live = self._live.pop(key, None)
        if live is not None and live.watch is not None:
            live.watch.end()

    def finish(self, key: AttemptKey, assignment: Assignment, result: TaskResult | None) -> None:
        """As end(); what it wrote is kept in mind. `result` says how much that is, None = nobody knows."""
        self.end(key)
        if result is None:
            out, err, dropped = self.size(*key, STDOUT), self.size(*key, STDERR), 0
        else:
            lost = result.stdout.dropped_bytes, result.stderr.dropped_bytes
            out, err = result.stdout.total_bytes - lost[0], result.stderr.total_bytes - lost[1]
            dropped = sum(lost)
        if not (out or err or dropped):
            return
        ended_us = result.ended_at_us if result is not None else 0
        entry = Entry(key.fence, assignment.run, assignment.attempt, out, err, dropped, ended_us)
        # A simulated machine has no folders; without a line its output is there all the same.
        with suppress(OSError):
            append(self._shard(key.task), key.task, entry)
        self._grown_bytes += out + err
        if self._grown_bytes > self._max_bytes // _TRIMS:
            self.grown.set()

    def attempts(self, task: str) -> list[Kept]:
        """Those of `task` that wrote something here or may still, oldest first. Reads a file."""
        found = [self._kept(task, entry) for entry in entries(self._shard(task), task)]
        for key, live in list(self._live.items()):  # the loop may change it meanwhile
            if key.task == task:
                out, err = self.size(*key, STDOUT), self.size(*key, STDERR)
                found.append(Kept(key.fence, live.run, live.attempt, True, out, err, 0, False, live.begun_us))
        return sorted(found, key=lambda kept: kept.fence)

    def _kept(self, task: str, entry: Entry) -> Kept:
        out, err = (self.size(task, entry.fence, stream) for stream in (STDOUT, STDERR))
        trimmed = out < entry.stdout_bytes or err < entry.stderr_bytes
        return Kept(
            entry.fence, entry.run, entry.attempt, False,
            entry.stdout_bytes, entry.stderr_bytes, entry.dropped_bytes, trimmed, entry.ended_us,
        )  # fmt: skip

    def ended(self, task: str, fence: int) -> bool:
        """Whether the attempt can write no more on this machine; also True for one that was never here."""
        return AttemptKey(task, fence) not in self._live

    def size(self, task: str, fence: int, stream: str) -> int:
        """Bytes kept of `stream` so far."""
        try:
            return os.stat(self._path(AttemptKey(task, fence), stream)).st_size
        except FileNotFoundError:
            return 0

    def read(self, task: str, fence: int, stream: str, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes, at most 1 MiB, from `offset` of `stream` (STDOUT or STDERR); empty at its end."""
        try:
            fd = os.open(self._path(AttemptKey(task, fence), stream), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(fd, min(limit, _MAX_READ_BYTES), offset)
        finally:
            os.close(fd)

    def chunk(self, task: str, fence: int, stream: str, offset: int) -> bytes:
        """For those who follow: what is known to be there from `offset` on, at most 64 KiB; empty = nothing yet."""
        live = self._live.get(AttemptKey(task, fence))
        if live is None:
            return self.read(task, fence, stream, offset, CHUNK_BYTES)
        return self._watch(AttemptKey(task, fence), live).chunk(stream, offset)

    async def wait(self, task: str, fence: int, offsets: Mapping[str, int]) -> bool:
        """Return once there is more than these offsets, or the attempt has ended. True when it has ended.

        Ended is judged before the reader's next read, so it reads once more after True.
        """
        key = AttemptKey(task, fence)
        live = self._live.get(key)
        if live is None:
            return True
        watch = self._watch(key, live)
        await watch.beyond(offsets)
        return watch.ended

    def _watch(self, key: AttemptKey, live: _Live) -> Watch:
        if live.watch is None:
            live.watch = Watch(
                lambda: {stream: self.size(*key, stream) for stream in (STDOUT, STDERR)},
                lambda stream, offset, limit: self.read(*key, stream, offset, limit),
            )
        return live.watch

    def trim(self, now_us: int) -> int:
        """Remove what is too old, and the oldest beyond the size limits of all and of one task.

        Blocks; returns how many files went.
        """
        self._grown_bytes = 0
        live = {self.name(key) for key in list(self._live)}
        files: list[tuple[int, int, str]] = []
        for shard in _folders(self._folder):
            rotate(shard, now_us - self._max_age_us)
            for entry in os.scandir(shard):
                name = f"{os.path.basename(shard)}/{entry.name.rpartition('.')[0]}"
                ours = entry.name not in (INDEX, OLD_INDEX) and entry.is_file(follow_symlinks=False)
                if ours and name not in live:
                    status = entry.stat(follow_symlinks=False)
                    files.append((status.st_mtime_ns // 1000, status.st_blocks * 512, entry.path))
        files.sort(reverse=True)
        kept = removed = 0
        of_task: dict[str, int] = {}
        for modified_us, size, path in files:
            task = path.rsplit(".", 2)[0]
            of_task[task] = of_task.get(task, 0) + size
            alone = of_task[task] > self._max_task_bytes
            kept += 0 if alone else size
            if alone or kept > self._max_bytes or now_us - modified_us > self._max_age_us:
                os.unlink(path)
                removed += 1
        return removed

    def _shard(self, task: str) -> Path:
        return self._folder / _shard_of(task)

    def _path(self, key: AttemptKey, stream: str) -> str:
        if stream not in (STDOUT, STDERR):
            raise ValueError(f"no stream {stream!r}")
        return f"{self._folder}/{self.name(key)}.{stream}"


def _shard_of(task: str) -> str:
    return hashlib.blake2b(task.encode(), digest_size=1).hexdigest()


def _folders(folder: Path) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
