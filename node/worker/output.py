"""Output of attempts, kept on the worker in files that the supervisor writes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from node.worker.port import AttemptKey

STDOUT = "out"
STDERR = "err"

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_READ_BYTES = 1024 * 1024
_FIRST_LOOK_S = 0.02
_LONGEST_LOOK_S = 0.25


@dataclass(slots=True)
class _Live:
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class OutputStore:
    """Files of one folder, a pair per attempt, made at the first byte. Reads are short and from the page cache."""

    def __init__(
        self,
        folder: Path,
        *,
        max_age_us: int = 7 * 86_400_000_000,
        max_bytes: int = 10 * 10**9,
    ) -> None:
        self._folder = folder
        self._max_age_us = max_age_us
        self._max_bytes = max_bytes
        self._live: dict[AttemptKey, _Live] = {}

    @staticmethod
    def name(key: AttemptKey) -> str:
        """Path below the folder, without suffix; safe for any task id."""
        task = key.task
        if not _PLAIN.fullmatch(task):
            task = "x" + hashlib.sha256(task.encode()).hexdigest()[:32]
        shard = hashlib.blake2b(task.encode(), digest_size=1).hexdigest()
        return f"{shard}/{task}.{key.fence}"

    def begin(self, key: AttemptKey) -> None:
        """The attempt may write from now on."""
        self._live.setdefault(key, _Live())

    def end(self, key: AttemptKey) -> None:
        """The attempt has written everything; followers are told."""
        live = self._live.pop(key, None)
        if live is not None:
            live.ended.set()

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

    async def wait(self, task: str, fence: int, stdout_offset: int, stderr_offset: int) -> bool:
        """Return once there is more than these offsets, or the attempt has ended. True when it has ended.

        Ended is judged before the reader's next read, so it reads once more after True.
        """
        key = AttemptKey(task, fence)
        live = self._live.get(key)
        delay_s = _FIRST_LOOK_S
        while live is not None and not live.ended.is_set():
            if self.size(task, fence, STDOUT) > stdout_offset or self.size(task, fence, STDERR) > stderr_offset:
                return False
            try:
                async with asyncio.timeout(delay_s):
                    await live.ended.wait()
            except TimeoutError:
                delay_s = min(delay_s * 1.5, _LONGEST_LOOK_S)
        return True

    def trim(self, now_us: int) -> int:
        """Remove what is too old, and the oldest beyond the size limit. Blocks; returns how many files went."""
        live = {self.name(key) for key in list(self._live)}
        files: list[tuple[int, int, str]] = []
        for shard in _folders(self._folder):
            for entry in os.scandir(shard):
                name = f"{os.path.basename(shard)}/{entry.name.rpartition('.')[0]}"
                if name not in live and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    files.append((status.st_mtime_ns // 1000, status.st_blocks * 512, entry.path))
        files.sort(reverse=True)
        kept = removed = 0
        for modified_us, size, path in files:
            kept += size
            if kept > self._max_bytes or now_us - modified_us > self._max_age_us:
                os.unlink(path)
                removed += 1
        return removed

    def _path(self, key: AttemptKey, stream: str) -> str:
        if stream not in (STDOUT, STDERR):
            raise ValueError(f"no stream {stream!r}")
        return f"{self._folder}/{self.name(key)}.{stream}"


def _folders(folder: Path) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
