"""Env: the only door to clock, randomness, disk and threads. The simulator brings its own."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
_Job = tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]


class Clock(Protocol):
    """Two clocks. Waiting is done through the running event loop, which the simulator replaces too."""

    def wall_us(self) -> int:
        """Unix time in microseconds; may jump."""

    def boot_us(self) -> int:
        """Microseconds since boot, suspend included; never goes back within one boot."""


class File(Protocol):
    """An open file of a Disk. Every method may raise OSError."""

    def read(self, offset: int, size: int) -> bytes: ...

    def write(self, offset: int, data: bytes) -> None: ...

    def size(self) -> int: ...

    def truncate(self, size: int) -> None: ...

    def preallocate(self, size: int) -> None:
        """Reserve blocks up to `size` bytes and make that the file's size; new bytes read as zero."""

    def sync(self) -> None:
        """Return once what was written is on the disk. Blocks: call it through Offload."""

    def close(self) -> None: ...


class Disk(Protocol):
    """One flat folder, seen through what a crash may do to it."""

    def open(self, name: str, *, create: bool = False) -> File:
        """Raises FileNotFoundError when it is not there and `create` is False."""

    def names(self) -> list[str]: ...

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def sync_folder(self) -> None:
        """Make creations, renames and removals durable."""


class Offload(Protocol):
    """Runs a blocking function elsewhere. Calls of one Offload run in the order in which they were made."""

    async def __call__(self, function: Callable[[], T], /) -> T: ...


@dataclass(frozen=True, slots=True)
class Env:
    """What a daemon may know of the world beside messages."""

    clock: Clock
    random: random.Random
    data: Path
    open_disk: Callable[[str], Disk]
    make_offload: Callable[[str], Offload]
    failpoint: Callable[[str], None] = lambda _name: None
    """Called at the places of node.failpoints that are not on a disk."""

    def new_id(self) -> str:
        """A short lowercase id that sorts by creation time: 9 digits of milliseconds, 7 random, base 32."""
        return _base32(self.clock.wall_us() // 1000, 9) + _base32(self.random.getrandbits(35), 7)

    @staticmethod
    def real(data: Path) -> Env:
        return Env(
            clock=RealClock(),
            random=random.SystemRandom(),
            data=data,
            open_disk=lambda name: RealDisk(data / name),
            make_offload=ThreadOffload,
        )


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)


def _base32(value: int, digits: int) -> str:
    text = ""
    while len(text) < digits:
        text = _PAIRS[value & 1023] + text
        value >>= 10
    return text[-digits:]


class RealClock:
    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def boot_us(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class RealFile:
    def __init__(self, path: Path, *, create: bool) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)

    def read(self, offset: int, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0 and (part := os.pread(self._fd, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            offset += written
            view = view[written:]

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def preallocate(self, size: int) -> None:
        os.posix_fallocate(self._fd, 0, size)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class RealDisk:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    def open(self, name: str, *, create: bool = False) -> RealFile:
        return RealFile(self._folder / name, create=create)

    def names(self) -> list[str]:
        return sorted(entry.name for entry in self._folder.iterdir())

    def rename(self, old: str, new: str) -> None:
        (self._folder / old).rename(self._folder / new)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink()

    def sync_folder(self) -> None:
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class ThreadOffload:
    """One thread, so that calls keep their order. It ends with this object, or with the process, whatever it does.

    A call takes half the time that one takes through an executor, which commits are made of.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started = False

    async def __call__(self, function: Callable[[], T], /) -> T:
        """What is cancelled before its turn is not run."""
        loop = asyncio.get_running_loop()
        if not self._started:
            self._started = True
            threading.Thread(target=_run, args=(self._jobs,), name=self._name, daemon=True).start()
            weakref.finalize(self, self._jobs.put, None)
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((function, future, loop))
        return await future


def _run(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        function, future, loop = job
        if not future.cancelled():
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:
                error = raised
            # A loop that is closed has nobody who waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, future, result, error)
            del result, error
        # Nothing is kept alive while this waits for the next one.
        del job, function, future, loop


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
