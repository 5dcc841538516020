"""What this machine can do, measured: `python benchmark.py FOLDER` prints JSON with the fields of
cortex.v1.Benchmark.

What is timed runs in the C library, not in the interpreter, so that the figure is the machine's:

- floating point: the Bessel function jn(n, x) for n < x is one loop of n steps, each a multiplication, a division
  and a subtraction in double precision that wait for each other. It is what plain compiled code reaches, not the
  peak of the vector units; it compares machines with each other, not with their data sheets.
- memory: copies between buffers far larger than a cache; what is read and what is written both count.
- disk: a file that is there already written from its begin to its end, 1 MiB at a time, then 4 KiB reads at random
  places of it; both past the page cache, so that neither the memory of the machine nor a file system that
  allocates is measured. Where that cannot be, what is written counts once fsync returns.

All are measured in turn in short slices, round after round, after one round that does not count. What disturbs a
slice only ever makes it slower, so the best tell what the machine can do: a figure is the median of the five best,
its spread the distance between the first and the last of them. It goes on until these agree for every figure, or
the time is over; how far they agree, and how busy the machine was, is told. Cores and memory count by the CPU time
of each thread, the disk by the median of how long one block of a slice takes. A process of its own, with nothing
but the standard library.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import mmap
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

ROUNDS = 12
"""At least, unless the time is over before."""
PATIENCE_S = 20.0
"""For rounds: on a machine where they do not agree."""
LEAST_ROUNDS = 3
BEST = 5
AGREED_PERCENT = 3.0
SLICE_S = 0.06
OPERATIONS_PER_STEP = 3
COPY_BYTES = 256 << 20
COPY_BYTES_SMALL = 32 << 20
FREE_BYTES = 4 << 30
"""With less memory free the small buffers do, which a server's cache may hold."""
FILE_BYTES = 64 << 20
BLOCK_BYTES = 1 << 20
READ_BYTES = 4096
SLICES = 12
"""In one round, of either."""
SLICE_BLOCKS = 5
SLICE_READS = 100
DISK_PATIENCE_S = 0.4
"""A round of either lasts hardly longer, however slow the disk."""
ROOM_BYTES = 1 << 30
DOUBTFUL_SPREAD_PERCENT = 10.0
DOUBTFUL_OTHERS_PERCENT = 10.0
FILE = "benchmark.tmp"

Part = Callable[[], list[float]]
"""Measures in short slices: the figure of each."""


class Compute:
    """Steps of the recurrence, on one core or on as many as there are threads."""

    def __init__(self, cores: int, pool: ThreadPoolExecutor) -> None:
        library = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
        self._jn = library.jn
        self._jn.restype, self._jn.argtypes = ctypes.c_double, (ctypes.c_int, ctypes.c_double)
        self._cores = cores
        self._pool = pool
        # Not by the clock of the first try alone: a core that wakes up is slow.
        self._steps = 100_000
        while (took_s := self._timed()) < SLICE_S / 4 and self._steps < 1 << 28:
            self._steps *= 2
        self._steps = min(1 << 29, max(1, round(self._steps * SLICE_S / took_s)))

    def core(self) -> list[float]:
        """Operations per second of CPU time of one core: time that others take does not count."""
        return [OPERATIONS_PER_STEP * self._steps / self._run(0)]

    def node(self) -> list[float]:
        """Operations per second of CPU time of all cores at once: what they take from each other counts."""
        took_s = self._pool.map(self._run, range(self._cores))
        return [sum(OPERATIONS_PER_STEP * self._steps / seconds for seconds in took_s)]

    def _timed(self) -> float:
        begun = time.perf_counter()
        self._run(0)
        return max(time.perf_counter() - begun, 1e-6)

    def _run(self, _number: int) -> float:
        """Seconds of CPU time that it took."""
        begun = time.thread_time()
        self._jn(self._steps, 2.0 * self._steps)
        return max(time.thread_time() - begun, 1e-9)


class Copies:
    """Bytes read and written per second of CPU time, by all cores at once, each with a part of the buffers."""

    def __init__(self, cores: int, pool: ThreadPoolExecutor) -> None:
        self._cores = cores
        self._pool = pool
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        wanted = COPY_BYTES if free > FREE_BYTES else COPY_BYTES_SMALL
        self._part = max(1 << 20, wanted // cores)
        total = self._part * cores
        self._from, self._to = _buffer(total), _buffer(total)
        self._source = ctypes.addressof(ctypes.c_char.from_buffer(self._from))
        self._target = ctypes.addressof(ctypes.c_char.from_buffer(self._to))
        # Pages are there once they were written to.
        for address in (self._source, self._target):
            ctypes.memset(address, 1, total)
        self._repeats = 1
        while max(self._seconds()) < SLICE_S / 4 and self._repeats < 1 << 12:
            self._repeats *= 2

    def measure(self) -> list[float]:
        return [sum(2.0 * self._part * self._repeats / seconds for seconds in self._seconds()) for _ in range(2)]

    def _seconds(self) -> list[float]:
        """CPU time of each core, waiting for memory included."""
        return list(self._pool.map(self._copy, range(self._cores)))

    def _copy(self, number: int) -> float:
        at = number * self._part
        begun = time.thread_time()
        for _ in range(self._repeats):
            ctypes.memmove(self._target + at, self._source + at, self._part)
        return max(time.thread_time() - begun, 1e-9)


def _buffer(size: int) -> mmap.mmap:
    """In large pages where there are some: how the small ones lie in memory differs from run to run."""
    found = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError, AttributeError):
        found.madvise(mmap.MADV_HUGEPAGE)
    return found


class Disk:
    """A file in `folder`, removed in any case."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, FILE)
        self._block = mmap.mmap(-1, BLOCK_BYTES)
        self._block.write(random.Random(1).randbytes(BLOCK_BYTES))
        # Page-aligned, as reads past the cache want it.
        self._buffer = mmap.mmap(-1, READ_BYTES)
        self._places = random.Random(2)
        self._blocks = max(1, FILE_BYTES // BLOCK_BYTES)
        self._made = False
        self._next = 0
        self.direct = True

    def write(self) -> list[float]:
        """Bytes per second of each slice, by the median of how long a block takes: a pause that others cause does
        not count. The first call makes the file, shorter on a slow disk."""
        fd = self._open(os.O_RDWR | os.O_CREAT)
        try:
            if not self._made:
                self._made = True
                self._blocks = len(self._timed(fd, range(self._blocks)))
            begun = time.perf_counter()
            if not self.direct:
                written = len(self._timed(fd, range(self._blocks)))
                return [written * BLOCK_BYTES / max(time.perf_counter() - begun, 1e-9)]
            found: list[float] = []
            while len(found) < SLICES and (not found or time.perf_counter() - begun < DISK_PATIENCE_S):
                slice_ = [number % self._blocks for number in range(self._next, self._next + SLICE_BLOCKS)]
                self._next = slice_[-1] + 1
                found.append(BLOCK_BYTES / max(statistics.median(self._timed(fd, slice_)), 1e-9))
            return found
        finally:
            os.close(fd)

    def _timed(self, fd: int, numbers: Iterable[int]) -> list[float]:
        """Seconds that each block took, of as many as there was time for; without direct IO all are on the disk."""
        took_s: list[float] = []
        begun = last = time.perf_counter()
        for number in numbers:
            os.pwrite(fd, self._block, number * BLOCK_BYTES)
            now = time.perf_counter()
            took_s.append(now - last)
            last = now
            if now - begun > DISK_PATIENCE_S:
                break
        if not self.direct:
            os.fsync(fd)
            whole_s = time.perf_counter() - begun
            if whole_s > DISK_PATIENCE_S:
                self._blocks = max(1, int(len(took_s) * DISK_PATIENCE_S / whole_s))
        return took_s

    def read(self) -> list[float]:
        """Reads per second of each slice, one after the other, by the median of how long one takes."""
        fd = self._open(os.O_RDONLY)
        try:
            size = os.fstat(fd).st_size // READ_BYTES
            found: list[float] = []
            begun = last = time.perf_counter()
            while len(found) < SLICES and (not found or last - begun < DISK_PATIENCE_S):
                took_s: list[float] = []
                last = time.perf_counter()
                for _ in range(SLICE_READS):
                    place = self._places.randrange(size) * READ_BYTES
                    if not self.direct:
                        os.posix_fadvise(fd, place, READ_BYTES, os.POSIX_FADV_DONTNEED)
                    os.preadv(fd, [self._buffer], place)
                    now = time.perf_counter()
                    took_s.append(now - last)
                    last = now
                    if now - begun > DISK_PATIENCE_S:
                        break
                found.append(1 / max(statistics.median(took_s), 1e-9))
            return found
        finally:
            os.close(fd)

    def remove(self) -> None:
        with suppress(OSError):
            os.unlink(self._path)

    def _open(self, flags: int) -> int:
        if self.direct:
            with suppress(OSError):
                fd = os.open(self._path, flags | os.O_DIRECT | os.O_CLOEXEC, 0o600)
                try:
                    os.preadv(fd, [self._buffer], 0)
                    return fd
                except OSError:
                    os.close(fd)
            # Some file systems have no way past the cache.
            self.direct = False
        return os.open(self._path, flags | os.O_CLOEXEC, 0o600)


def measure(folder: str, rounds: int = ROUNDS, patience_s: float = PATIENCE_S) -> dict[str, object]:
    """Fields of cortex.v1.Benchmark but for its time."""
    cores = len(os.sched_getaffinity(0))
    notes: list[str] = []
    with ThreadPoolExecutor(cores) as pool:
        compute, copies = Compute(cores, pool), Copies(cores, pool)
        parts: dict[str, tuple[str, Part]] = {
            "core_flops": ("core", compute.core),
            "node_flops": ("node", compute.node),
            "memory_bytes_per_s": ("memory", copies.measure),
        }
        disk = Disk(folder)
        if os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize > ROOM_BYTES:
            parts |= {"write_bytes_per_s": ("write", disk.write), "read_iops": ("read", disk.read)}
        else:
            notes.append("its disk is not measured, for it has less than 1 GiB of room")
        try:
            busy, own = cpu_seconds(), time.process_time()
            values = repeat({name: part for name, (_, part) in parts.items()}, rounds, patience_s)
            busy_after, own_after = cpu_seconds(), time.process_time()
        finally:
            disk.remove()
    if "read_iops" in parts and not disk.direct:
        notes.append("its file system has no way past the page cache, so reads may not have reached a disk")
    total = busy_after[1] - busy[1]
    others = 100.0 * max(0.0, (busy_after[0] - busy[0]) - (own_after - own)) / total if total > 0 else 0.0
    found: dict[str, object] = {"cores": cores, "others_percent": others}
    for name, (short, _) in parts.items():
        found[name], spread = judge(values[name])
        found[f"{short}_spread_percent"] = spread
        if spread > DOUBTFUL_SPREAD_PERCENT:
            notes.append(f"{short} varied by {spread:.0f} %")
    if others > DOUBTFUL_OTHERS_PERCENT:
        notes.append(f"others used {others:.0f} % of its CPU time meanwhile")
    found["note"] = "; ".join(notes)
    return found


def repeat(parts: dict[str, Part], rounds: int, patience_s: float) -> dict[str, list[float]]:
    """What each part gave in its slices, of so many rounds at least and until the best agree; but for the time."""
    parent = os.getppid()
    values: dict[str, list[float]] = {name: [] for name in parts}
    begun = time.monotonic()
    number = 0
    while True:
        if os.getppid() != parent:
            raise SystemExit("who asked for it is gone")
        for name, part in parts.items():
            found = part()
            if number:
                values[name] += found
        number += 1
        if number > rounds and all(judge(found)[1] <= AGREED_PERCENT for found in values.values()):
            return values
        if number > min(rounds, LEAST_ROUNDS) and time.monotonic() - begun > patience_s:
            return values


def judge(values: Sequence[float]) -> tuple[float, float]:
    """The median of the best, and in percent of it how far the last of them is from the first."""
    best = sorted(values, reverse=True)[:BEST]
    median = statistics.median(best)
    return median, 100.0 * (best[0] - best[-1]) / median


def cpu_seconds(path: str = "/proc/stat") -> tuple[float, float]:
    """Busy and all CPU time of the machine since boot."""
    with open(path) as file:
        words = file.readline().split()[1:9]
    ticks = [int(word) for word in words]
    per_s = os.sysconf("SC_CLK_TCK")
    total = sum(ticks)
    return (total - ticks[3] - ticks[4]) / per_s, total / per_s


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1])))
