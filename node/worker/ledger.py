"""What the worker must not forget: accepted fences, and reports that the leader has not acknowledged.

One file, appended to; many records are one write and one fsync. A write is a magic, a number, a length, a CRC-32
and its records; a record is a kind, a length and a body. A last write that is not whole was never confirmed and is
cut; one that is broken with a later one behind it is damage, and refused. The file is rewritten when it has grown.
While the disk is full nothing is confirmed, and writing is tried again; any other error is final.
"""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from zlib import crc32

import structlog

from cortex.v1.worker_pb2 import Assignment, Report, Reports
from node.core.faults import Code, Fault
from node.env import Disk, Env, File, Offload
from node.worker.port import AttemptKey

_NAME = "ledger"
_MAGIC = b"CxLg"
_WRITE = struct.Struct("<4sIII")  # magic, number of the write, length, CRC-32
_RECORD = struct.Struct("<BI")  # kind, length
_STEP_BYTES = 1024 * 1024
_REWRITE_BYTES = 8 * 1024 * 1024
_NUMBERS_SKIPPED = 1_000
_BUFFER_BYTES = 1024 * 1024
_BUFFER_RECORDS = _NUMBERS_SKIPPED // 2
_FULL_RETRY_S = 1.0


class _Full(Exception):
    """The disk has no room. Nothing was confirmed, and the same may be tried again."""


class _Kind(IntEnum):
    INCARNATION = 1  # text
    CLUSTER = 2  # text
    BOOT = 3  # text: boot id of the acceptances that follow
    ACCEPTED = 4  # Assignment
    BATCH = 5  # Reports
    ACKNOWLEDGED = 6  # number of a batch as text
    FORGOTTEN = 7  # keys, one a line
    STARTED = 8  # keys whose start the leader knows, one a line
    NUMBER = 9  # last number given to a batch, as text
    EPOCH = 10  # recovery epoch of the cluster, as text


@dataclass(slots=True)
class Accepted:
    """An assignment without a final verdict."""

    assignment: Assignment
    boot_id: str
    start_known: bool = False  # the leader has recorded its start


@dataclass(slots=True)
class Contents:
    """What the ledger holds."""

    incarnation: str = ""
    cluster_id: str = ""
    recovery_epoch: int = 0
    accepted: dict[AttemptKey, Accepted] = field(default_factory=dict)
    batches: dict[int, Reports] = field(default_factory=dict)
    last_number: int = 0


def key_of(report: Report) -> AttemptKey:
    """Which attempt a report of any kind speaks of."""
    inner = getattr(report, report.WhichOneof("kind") or "started")
    return AttemptKey(inner.task, inner.fence)


def is_final(report: Report) -> bool:
    """Whether nothing more is to come of the attempt that a report speaks of."""
    return report.WhichOneof("kind") in ("ended", "recalled", "lost")


class Ledger:
    """Records are appended by the methods below and are durable once a sync() that was called later returns."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._disk: Disk = env.open_disk("worker")
        self._offload: Offload = env.make_offload("ledger")
        self._file: File | None = None
        self._end = 0
        self._reserved = 0
        self._grown = 0
        self._writes = 0
        self._boot_id = ""
        self._buffer: list[bytes] = []
        self._buffered_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._failure: OSError | None = None
        self._log = structlog.get_logger()
        self.contents = Contents()

    async def open(self) -> None:
        """Read the ledger, or begin one with a new incarnation. Raises Fault or OSError."""
        data = await self._offload(self._read)
        try:
            self.contents = _replay(data)
        except ValueError as error:
            raise Fault(
                Code.INTERNAL,
                f"The worker's ledger of accepted tasks is damaged: {error}.",
                "Move the file worker/ledger out of the data folder; the node comes back as a new one.",
            ) from None
        if not self.contents.incarnation:
            self.contents.incarnation = self._env.new_id()
        # Batches may have been sent that were not durable yet: their numbers are not given again.
        self.contents.last_number += _NUMBERS_SKIPPED
        content = self._whole()
        try:
            await self._offload(lambda: self._rewrite(content))
        except _Full as full:
            raise Fault(
                Code.INTERNAL, f"The worker's ledger cannot be written: {full}.", "Free some space and start again."
            ) from None

    @property
    def is_behind(self) -> bool:
        """Whether so much waits to be written that it should be, though nothing depends on it."""
        return len(self._buffer) > _BUFFER_RECORDS or self._buffered_bytes > _BUFFER_BYTES

    async def flush(self) -> None:
        """Make everything durable. Raises OSError."""
        if self._buffer:
            await self.sync()

    async def close(self) -> None:
        """Let go of the file; what is not durable by now is not recorded."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        if self._file is not None:
            await self._offload(self._file.close)
            self._file = None

    def set_cluster(self, cluster_id: str) -> None:
        self.contents.cluster_id = cluster_id
        self._append(_Kind.CLUSTER, cluster_id.encode())

    def set_recovery_epoch(self, epoch: int) -> None:
        self.contents.recovery_epoch = epoch
        self._append(_Kind.EPOCH, str(epoch).encode())

    def accept(self, assignment: Assignment, boot_id: str) -> None:
        key = AttemptKey(assignment.task, assignment.fence)
        self.contents.accepted[key] = Accepted(assignment, boot_id)
        if boot_id != self._boot_id:
            self._boot_id = boot_id
            self._append(_Kind.BOOT, boot_id.encode())
        self._append(_Kind.ACCEPTED, assignment.SerializeToString())

    def add_batch(self, reports: list[Report]) -> Reports:
        """Give the reports the next number."""
        self.contents.last_number += 1
        batch = Reports(number=self.contents.last_number, reports=reports)
        self.contents.batches[batch.number] = batch
        self._append(_Kind.BATCH, batch.SerializeToString())
        return batch

    def acknowledge(self, number: int) -> Reports | None:
        """Drop a batch; None when it is unknown. Need not be synced: it would only be sent again."""
        batch = self.contents.batches.pop(number, None)
        if batch is not None:
            _note_starts(self.contents, batch)
            self._append(_Kind.ACKNOWLEDGED, str(number).encode())
        return batch

    def forget(self, keys: list[AttemptKey]) -> None:
        """These have their final verdict. Need not be synced: they would only be judged again."""
        known = [key for key in keys if self.contents.accepted.pop(key, None) is not None]
        if known:
            self._append(_Kind.FORGOTTEN, _lines(known))

    async def sync(self) -> None:
        """Return once all that was appended before is on the disk. Raises OSError, and ever after once it did."""
        await asyncio.shield(self.begin_sync())

    def begin_sync(self) -> asyncio.Future[None]:
        """As sync(), for what was appended before this call; the future is not to be cancelled. Raises OSError."""
        if self._failure is not None:
            raise self._failure
        if self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_future()
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return self._waiter

    def _append(self, kind: _Kind, body: bytes) -> None:
        record = _encode(kind, body)
        self._buffer.append(record)
        self._buffered_bytes += len(record)

    async def _write_all(self) -> None:
        """Write what waits until nothing waits; what comes meanwhile shares the next fsync."""
        while self._waiter is not None:
            data = b"".join(self._buffer)
            self._buffer.clear()
            self._buffered_bytes = 0
            waiter, self._waiter = self._waiter, None
            try:
                await self._store(data)
            except OSError as error:
                self._failure = error
                for each in (waiter, self._waiter):
                    if each is not None:
                        each.set_exception(error)
                        each.exception()  # whoever waits still gets it; without waiters it is no accident
                return
            waiter.set_result(None)

    async def _store(self, records: bytes) -> None:
        """Write and sync, as soon as the disk has room."""
        write = partial(self._write, records)
        if self._grown > _REWRITE_BYTES:
            write = partial(self._rewrite, self._whole())
        while True:
            try:
                return await self._offload(write)
            except _Full as full:
                self._log.error("disk full", error=str(full), remedy="Free some space; tasks wait until then.")
                write = partial(self._write, records)
                await asyncio.sleep(_FULL_RETRY_S)

    def _whole(self) -> bytes:
        """All records that a new file needs."""
        contents = self.contents
        parts = [
            _encode(_Kind.INCARNATION, contents.incarnation.encode()),
            _encode(_Kind.CLUSTER, contents.cluster_id.encode()),
            _encode(_Kind.NUMBER, str(contents.last_number).encode()),
            _encode(_Kind.EPOCH, str(contents.recovery_epoch).encode()),
        ]
        for accepted in contents.accepted.values():
            parts.append(_encode(_Kind.BOOT, accepted.boot_id.encode()))
            parts.append(_encode(_Kind.ACCEPTED, accepted.assignment.SerializeToString()))
        started = [key for key, accepted in contents.accepted.items() if accepted.start_known]
        parts.append(_encode(_Kind.STARTED, _lines(started)))
        parts += [_encode(_Kind.BATCH, batch.SerializeToString()) for batch in contents.batches.values()]
        self._boot_id = ""
        return b"".join(parts)

    def _read(self) -> bytes:
        try:
            file = self._disk.open(_NAME)
        except FileNotFoundError:
            return b""
        data = file.read(0, file.size())
        file.close()
        return data

    def _write(self, records: bytes) -> None:
        assert self._file is not None
        data = _frame(self._writes + 1, records)
        try:
            if self._end + len(data) > self._reserved:
                reserved = self._end + len(data) + _STEP_BYTES
                self._file.preallocate(reserved)
                self._reserved = reserved
            self._file.write(self._end, data)
        except OSError as error:
            raise _as_full(error) from None
        self._file.sync()
        self._writes += 1
        self._end += len(data)
        self._grown += len(data)

    def _rewrite(self, records: bytes) -> None:
        data = _frame(1, records)
        try:
            file = self._disk.open(f"{_NAME}.new", create=True)
            file.truncate(0)
            file.write(0, data)
        except OSError as error:
            raise _as_full(error) from None
        file.sync()
        self._disk.rename(f"{_NAME}.new", _NAME)
        self._disk.sync_folder()
        if self._file is not None:
            self._file.close()
        self._file = file
        self._writes = 1
        self._end = self._reserved = len(data)
        self._grown = 0


def _as_full(error: OSError) -> Exception:
    return _Full(error.strerror) if error.errno in (errno.ENOSPC, errno.EDQUOT) else error


def _encode(kind: _Kind, body: bytes) -> bytes:
    return _RECORD.pack(kind, len(body)) + body


def _frame(number: int, records: bytes) -> bytes:
    return _WRITE.pack(_MAGIC, number, len(records), crc32(records, number)) + records


def _lines(keys: list[AttemptKey]) -> bytes:
    return "\n".join(str(key) for key in keys).encode()


def _parse_lines(body: bytes) -> list[AttemptKey]:
    return [AttemptKey.parse(line) for line in body.decode().split("\n") if line]


def _replay(data: bytes) -> Contents:
    """Raises ValueError when what was confirmed is not all there."""
    contents = Contents()
    boot_id = ""
    start = last = 0
    while (write := _read_write(data, start)) is not None:
        last, records = write
        for kind, body in _split(records):
            if kind == _Kind.BOOT:
                boot_id = body.decode()
            else:
                _apply(contents, kind, body, boot_id)
        start += _WRITE.size + len(records)
    position = data.find(_MAGIC, start)
    while position >= 0:
        write = _read_write(data, position)
        if write is not None and write[0] > last + 1:
            raise ValueError(f"write {last + 1}, at byte {start}, is broken, and write {write[0]} follows it")
        position = data.find(_MAGIC, position + 1)
    if start == 0 and data.strip(b"\0"):
        raise ValueError("its beginning is broken")
    return contents


def _read_write(data: bytes, start: int) -> tuple[int, bytes] | None:
    """Number and records of the write at `start`; None when none is whole there."""
    if start + _WRITE.size > len(data):
        return None
    magic, number, size, checksum = _WRITE.unpack_from(data, start)
    records = data[start + _WRITE.size : start + _WRITE.size + size]
    if magic != _MAGIC or len(records) != size or crc32(records, number) != checksum:
        return None
    return number, records


def _split(records: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(records):
        kind, size = _RECORD.unpack_from(records, start)
        start += _RECORD.size
        yield kind, records[start : start + size]
        start += size


def _apply(contents: Contents, kind: int, body: bytes, boot_id: str) -> None:
    if kind == _Kind.INCARNATION:
        contents.incarnation = body.decode()
    elif kind == _Kind.CLUSTER:
        contents.cluster_id = body.decode()
    elif kind == _Kind.NUMBER:
        contents.last_number = int(body)
    elif kind == _Kind.EPOCH:
        contents.recovery_epoch = int(body)
    elif kind == _Kind.ACCEPTED:
        assignment = Assignment.FromString(body)
        contents.accepted[AttemptKey(assignment.task, assignment.fence)] = Accepted(assignment, boot_id)
    elif kind == _Kind.BATCH:
        batch = Reports.FromString(body)
        contents.batches[batch.number] = batch
        contents.last_number = batch.number
    elif kind == _Kind.ACKNOWLEDGED:
        acknowledged = contents.batches.pop(int(body), None)
        if acknowledged is not None:
            _note_starts(contents, acknowledged)
    elif kind == _Kind.FORGOTTEN:
        for key in _parse_lines(body):
            contents.accepted.pop(key, None)
    elif kind == _Kind.STARTED:
        for key in _parse_lines(body):
            if key in contents.accepted:
                contents.accepted[key].start_known = True


def _note_starts(contents: Contents, batch: Reports) -> None:
    for report in batch.reports:
        accepted = contents.accepted.get(key_of(report))
        if accepted is not None and report.HasField("started"):
            accepted.start_known = True
