"""What each running attempt uses, with all processes that stem from it.

A process belongs to the attempt of its session or of its parent, else to the one that its environment names: so a
child that makes itself a daemon is still counted, and one that was given a new environment too. Only a new process
is asked whose it is; of one that is nobody's nothing is read again for a while.

CPU time and bytes moved are summed with those of children that have ended: a parent inherits both from a child that
it has waited for, so that short-lived children count.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cortex.v1.types_pb2 import TaskUse
from node.worker.port import AttemptKey

PROCESSES = Path("/proc")
PROCESSES_LIMIT = 4096
"""Of all attempts together; what is beyond is not measured."""
DOUBT_READINGS = 3
"""For so many readings a process that is nobody's is asked again: it may not have become its command yet."""
RECHECK_US = 30_000_000
"""After that all are asked again: another process may have got the number."""
_ENVIRONMENT_BYTES = 128 * 1024
_STAT_BYTES = 1024
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Stat:
    ended: bool  # and not waited for
    parent: int
    session: int
    ticks: int  # of CPU time, with what children left
    begun: int  # ticks since boot
    resident_bytes: int


@dataclass(slots=True)
class _Process:
    key: AttemptKey
    begun: int


@dataclass(slots=True)
class _Sum:
    """Of one attempt's processes as of one reading."""

    processes: int = 0
    ticks: int = 0
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    moved_known: bool = False
    begun: int = 0


@dataclass(slots=True)
class TaskMeter:
    """Reads /proc. Blocks for some 20 µs a process; not for several threads at once."""

    folder: Path = PROCESSES
    _owned: dict[int, _Process] = field(default_factory=dict)
    _foreign: dict[int, int] = field(default_factory=dict)  # pid -> readings that found it to be nobody's
    _before: dict[AttemptKey, _Sum] = field(default_factory=dict)
    _peaks: dict[AttemptKey, TaskUse] = field(default_factory=dict)
    _read_at_us: int = 0
    _recheck_at_us: int = 0

    def read(
        self, keys: Collection[AttemptKey], gpu_bytes: Mapping[int, int], now_us: int
    ) -> dict[AttemptKey, TaskUse]:
        """The attempts among `keys` that have processes, by the boot clock; `gpu_bytes` is GPU memory by pid."""
        if not keys:
            self._forget_all()
            return {}
        if now_us >= self._recheck_at_us:
            self._recheck_at_us = now_us + RECHECK_US
            self._foreign = dict.fromkeys(self._foreign, DOUBT_READINGS - 1)
        wanted = {(str(key.task).encode(), b"%d" % key.fence): key for key in keys}
        sums: dict[AttemptKey, _Sum] = {}
        present = self._pids()
        self._foreign = {pid: count for pid, count in self._foreign.items() if pid in present}
        gone = [pid for pid in self._owned if pid not in present]
        for pid in sorted(present):
            if self._foreign.get(pid, 0) >= DOUBT_READINGS:
                continue
            if len(self._owned) >= PROCESSES_LIMIT and pid not in self._owned:
                continue
            stat = self._stat(pid)
            if stat is None:
                gone.append(pid)
                continue
            owner = self._owner(pid, stat, wanted)
            if owner is None or owner not in keys:
                self._owned.pop(pid, None)
                self._foreign[pid] = self._foreign.get(pid, 0) + 1
                continue
            self._foreign.pop(pid, None)
            self._owned[pid] = _Process(owner, stat.begun)
            self._add(sums.setdefault(owner, _Sum(begun=stat.begun)), pid, stat, gpu_bytes)
        # Not before: a child of one that has just gone is still told by its session.
        for pid in gone:
            self._owned.pop(pid, None)
        found = {key: self._use(key, one, now_us) for key, one in sums.items() if one.processes}
        self._before, self._read_at_us = sums, now_us
        self._peaks = {key: found.get(key) or peak for key, peak in self._peaks.items() if key in keys} | found
        return found

    def owners(self) -> dict[int, str]:
        """Task by pid, as of the last reading."""
        return {pid: process.key.task for pid, process in list(self._owned.items())}

    def last(self, key: AttemptKey) -> TaskUse | None:
        """What one of the keys used when it last had processes."""
        return self._peaks.get(key)

    def _forget_all(self) -> None:
        for known in (self._owned, self._foreign, self._before):
            known.clear()
        self._peaks = {}

    def _pids(self) -> set[int]:
        return {int(name) for name in os.listdir(self.folder) if name.isdecimal()}

    def _owner(self, pid: int, stat: Stat, wanted: Mapping[tuple[bytes, bytes], AttemptKey]) -> AttemptKey | None:
        known = self._owned.get(pid)
        if known is not None and known.begun == stat.begun:
            return known.key
        for relative in (stat.session, stat.parent):
            kin = self._owned.get(relative) if relative != pid else None
            if kin is not None and kin.begun <= stat.begun:
                return kin.key
        return wanted.get(self._named(pid))

    def _named(self, pid: int) -> tuple[bytes, bytes]:
        """Task and fence that its environment names; empty for a process of another user."""
        text = b"\0" + self._file(f"{pid}/environ", _ENVIRONMENT_BYTES)
        return _value(text, b"\0CORTEX_TASK="), _value(text, b"\0CORTEX_FENCE=")

    def _stat(self, pid: int) -> Stat | None:
        """None when it is gone."""
        return parse_stat(self._file(f"{pid}/stat", _STAT_BYTES))

    def _add(self, total: _Sum, pid: int, stat: Stat, gpu_bytes: Mapping[int, int]) -> None:
        total.processes += not stat.ended
        total.ticks += stat.ticks
        total.memory_bytes += stat.resident_bytes
        total.gpu_memory_bytes += gpu_bytes.get(pid, 0)
        total.begun = min(total.begun, stat.begun)
        moved = self._file(f"{pid}/io", _STAT_BYTES)
        if moved:
            total.moved_known = True
            total.read_bytes += _number(moved, b"\nread_bytes: ")
            total.written_bytes += _number(moved, b"\nwrite_bytes: ")

    def _use(self, key: AttemptKey, now: _Sum, now_us: int) -> TaskUse:
        before = self._before.get(key)
        seconds = (now_us - self._read_at_us) / 1e6 if before is not None else 0.0
        if before is None or seconds <= 0:
            # Its mean since it began: it may have run for long before anybody looked.
            before, seconds = _Sum(), now_us / 1e6 - now.begun / _TICKS_PER_S
        peak = self._peaks.get(key) or TaskUse()
        seconds = max(seconds, 1 / _TICKS_PER_S)
        cpu = 100.0 * max(0, now.ticks - before.ticks) / _TICKS_PER_S / seconds
        use = TaskUse(
            task=key.task,
            fence=key.fence,
            processes=now.processes,
            cpu_percent=cpu,
            memory_bytes=now.memory_bytes,
            gpu_memory_bytes=now.gpu_memory_bytes,
            peak_memory_bytes=max(peak.peak_memory_bytes, now.memory_bytes),
            peak_gpu_memory_bytes=max(peak.peak_gpu_memory_bytes, now.gpu_memory_bytes),
            peak_cpu_percent=max(peak.peak_cpu_percent, cpu),
        )
        if now.moved_known:
            use.read_bytes_per_s = max(0, now.read_bytes - before.read_bytes) / seconds
            use.written_bytes_per_s = max(0, now.written_bytes - before.written_bytes) / seconds
        return use

    def _file(self, name: str, limit: int) -> bytes:
        """Empty when it is gone or not for us. Path objects would cost more than the reading."""
        try:
            fd = os.open(f"{self.folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.read(fd, limit)
        except OSError:
            return b""
        finally:
            os.close(fd)


def parse_stat(text: bytes) -> Stat | None:
    """A line of /proc/PID/stat. The name may hold anything, brackets and spaces too, so all counts from its end."""
    words = text[text.rfind(b")") + 1 :].split()
    if len(words) < 22:
        return None
    try:
        return Stat(
            ended=words[0] in (b"Z", b"X"),
            parent=int(words[1]),
            session=int(words[3]),
            ticks=sum(int(word) for word in words[11:15]),
            begun=int(words[19]),
            resident_bytes=max(0, int(words[21])) * _PAGE_BYTES,
        )
    except ValueError:
        return None


def tasks_of(uses: Iterable[TaskUse]) -> list[TaskUse]:
    return sorted(uses, key=lambda use: (use.task, use.fence))


def _value(text: bytes, name: bytes) -> bytes:
    at = text.find(name)
    return text[at + len(name) :].partition(b"\0")[0] if at >= 0 else b""


def _number(text: bytes, name: bytes) -> int:
    at = text.find(name)
    digits = text[at + len(name) :].partition(b"\n")[0] if at >= 0 else b""
    return int(digits) if digits.isdigit() else 0
