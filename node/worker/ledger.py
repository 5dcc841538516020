"""What the worker must not forget: accepted fences, and reports that the leader has not acknowledged.

One file, appended to; many records are one write and one fsync. A record is a length, a CRC-32, a kind and a body;
reading stops at the first that is not whole. The file is rewritten when most of it is dead.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from zlib import crc32

from google.protobuf.message import DecodeError

from cortex.v1.worker_pb2 import Assignment, Report, Reports
from node.core.faults import Code, Fault
from node.env import Disk, Env, File, Offload
from node.worker.port import AttemptKey

_NAME = "ledger"
_HEAD = struct.Struct("<IIB")
_STEP_BYTES = 1024 * 1024
_REWRITE_BYTES = 8 * 1024 * 1024


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
    accepted: dict[AttemptKey, Accepted] = field(default_factory=dict)
    batches: dict[int, Reports] = field(default_factory=dict)
    last_number: int = 0


def key_of(report: Report) -> AttemptKey:
    """Which attempt a report of any kind speaks of."""
    inner = getattr(report, report.WhichOneof("kind") or "started")
    return AttemptKey(inner.task, inner.fence)


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
        self._boot_id = ""
        self._buffer: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._failure: OSError | None = None
        self.contents = Contents()

    async def open(self) -> None:
        """Read the ledger, or begin one with a new incarnation. Raises Fault or OSError."""
        data = await self._offload(self._read)
        self.contents = _replay(data)
        if not self.contents.incarnation:
            if data:
                raise Fault(
                    Code.INTERNAL,
                    "The worker's ledger of accepted tasks cannot be read.",
                    "Move the file worker/ledger out of the data folder; the node comes back as a new one.",
                )
            self.contents.incarnation = self._env.new_id()
        content = self._whole()
        await self._offload(lambda: self._rewrite(content))

    async def close(self) -> None:
        """Make everything durable. Raises OSError."""
        if self._buffer:
            await self.sync()
        if self._file is not None:
            await self._offload(self._file.close)
            self._file = None

    def set_cluster(self, cluster_id: str) -> None:
        self.contents.cluster_id = cluster_id
        self._append(_Kind.CLUSTER, cluster_id.encode())

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
        if self._failure is not None:
            raise self._failure
        if self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_future()
        waiter = self._waiter
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        await asyncio.shield(waiter)

    def _append(self, kind: _Kind, body: bytes) -> None:
        self._buffer.append(_encode(kind, body))

    async def _write_all(self) -> None:
        """Write what waits until nothing waits; what comes meanwhile shares the next fsync."""
        while self._waiter is not None:
            data = b"".join(self._buffer)
            self._buffer.clear()
            waiter, self._waiter = self._waiter, None
            if self._grown > _REWRITE_BYTES:
                write = partial(self._rewrite, self._whole())
            else:
                write = partial(self._write, data)
            try:
                await self._offload(write)
            except OSError as error:
                self._failure = error
                for each in (waiter, self._waiter):
                    if each is not None:
                        each.set_exception(error)
                        each.exception()  # whoever waits still gets it; without waiters it is no accident
                return
            waiter.set_result(None)

    def _whole(self) -> bytes:
        """All records that a new file needs."""
        contents = self.contents
        parts = [
            _encode(_Kind.INCARNATION, contents.incarnation.encode()),
            _encode(_Kind.CLUSTER, contents.cluster_id.encode()),
            _encode(_Kind.NUMBER, str(contents.last_number).encode()),
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

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        if self._end + len(data) > self._reserved:
            self._reserved = self._end + len(data) + _STEP_BYTES
            self._file.preallocate(self._reserved)
        self._file.write(self._end, data)
        self._file.sync()
        self._end += len(data)
        self._grown += len(data)

    def _rewrite(self, data: bytes) -> None:
        file = self._disk.open(f"{_NAME}.new", create=True)
        file.truncate(0)
        file.write(0, data)
        file.sync()
        self._disk.rename(f"{_NAME}.new", _NAME)
        self._disk.sync_folder()
        if self._file is not None:
            self._file.close()
        self._file = file
        self._end = self._reserved = len(data)
        self._grown = 0


def _encode(kind: _Kind, body: bytes) -> bytes:
    return _HEAD.pack(len(body) + 1, crc32(body, kind), kind) + body


def _lines(keys: list[AttemptKey]) -> bytes:
    return "\n".join(str(key) for key in keys).encode()


def _parse_lines(body: bytes) -> list[AttemptKey]:
    return [AttemptKey.parse(line) for line in body.decode().split("\n") if line]


def _replay(data: bytes) -> Contents:
    contents = Contents()
    boot_id = ""
    start = 0
    while start + _HEAD.size <= len(data):
        size, checksum, kind = _HEAD.unpack_from(data, start)
        body = data[start + _HEAD.size : start + _HEAD.size + size - 1]
        if size == 0 or len(body) != size - 1 or crc32(body, kind) != checksum:
            break
        try:
            if kind == _Kind.BOOT:
                boot_id = body.decode()
            else:
                _apply(contents, kind, body, boot_id)
        except (DecodeError, ValueError):
            break
        start += _HEAD.size + size - 1
    return contents


def _apply(contents: Contents, kind: int, body: bytes, boot_id: str) -> None:
    if kind == _Kind.INCARNATION:
        contents.incarnation = body.decode()
    elif kind == _Kind.CLUSTER:
        contents.cluster_id = body.decode()
    elif kind == _Kind.NUMBER:
        contents.last_number = int(body)
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
