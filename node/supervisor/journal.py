"""What survives the supervisor: a start mark before each spawn, each result until the daemon forgets it.

Not fsynced: it outlives any process's death, and after a reboot the daemon counts every accepted fence as started.
A record is a CRC-32, a length and a marshalled tuple; reading stops at the first record that is not whole.
"""

from __future__ import annotations

import marshal
import os
from binascii import crc32

_NAME = "attempts"
_LATER_US = 2_000_000
_REWRITE_BYTES = 4 * 1024 * 1024
_HELD_BYTES = 256 * 1024

Record = tuple[object, ...]


class Mark:
    """An attempt that was about to start at `boot_us`; `pid` is 0 when it is not known.

    The process began between `begun_us` and `spawned_us`.
    """

    __slots__ = ("begun_us", "boot_id", "boot_us", "pid", "spawned_us")

    def __init__(self, boot_us: int, boot_id: str, pid: int = 0, begun_us: int = 0, spawned_us: int = 0) -> None:
        self.boot_us = boot_us
        self.boot_id = boot_id
        self.pid = pid
        self.begun_us = begun_us
        self.spawned_us = spawned_us


class Journal:
    """Marks and results by attempt key, kept in the file `attempts` of `folder`. Methods raise OSError."""

    __slots__ = ("_boot_id", "_buffer", "_end", "_fd", "_folder", "_grown", "_held", "marks", "results")

    def __init__(self, folder: str, boot_id: str, state: dict[str, object] | None = None) -> None:
        """`state` is that of an object that goes on in this one."""
        self._folder = folder
        self._boot_id = boot_id
        self._buffer: list[bytes] = []
        self._held = 0
        self._end = 0
        self._grown = 0
        self._fd = -1
        self.marks: dict[str, Mark] = {}
        self.results: dict[str, Record] = {}
        if state is not None:
            self._restore(state)
            return
        whole = self._replay()
        try:
            self._rewrite()
        except OSError:
            if whole < 0:
                raise
            self._go_on(whole)

    @property
    def descriptor(self) -> int:
        return self._fd

    def state(self) -> dict[str, object]:
        return {
            "fd": self._fd,
            "end": self._end,
            "grown": self._grown,
            "unwritten": b"".join(self._buffer),
            "marks": {
                key: (mark.boot_us, mark.boot_id, mark.pid, mark.begun_us, mark.spawned_us)
                for key, mark in self.marks.items()
            },
            "results": self.results,
        }

    def mark(self, key: str, boot_us: int) -> None:
        self.marks[key] = Mark(boot_us, self._boot_id)
        self._append(("mark", key, boot_us, self._boot_id))

    def unmark(self, key: str) -> None:
        """The spawn did not happen."""
        self.marks.pop(key, None)
        self._append(("unmark", key))

    def spawned(self, key: str, pid: int, begun_us: int, spawned_us: int) -> None:
        """It has the number `pid`, and began between these two."""
        mark = self.marks[key]
        mark.pid, mark.begun_us, mark.spawned_us = pid, begun_us, spawned_us
        self._append(("pid", key, pid, begun_us, spawned_us))

    def ended(self, key: str, result: Record) -> None:
        self.results[key] = result
        self._append(("end", key, result))

    def forget(self, keys: list[str]) -> None:
        for key in keys:
            self.marks.pop(key, None)
            self.results.pop(key, None)
        self._append(("forget", keys))

    def relieve(self) -> None:
        """Write what was recorded where that is much; where it cannot be, flush() says why."""
        if self._held > _HELD_BYTES:
            try:
                self.flush()
            except OSError:
                pass

    def flush(self) -> None:
        """Write what was recorded since the last call; after an OSError it is still to be written."""
        if not self._buffer:
            return
        self._buffer[:] = [data := b"".join(self._buffer)]
        try:
            _write_all(self._fd, data)
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        self._buffer.clear()
        self._held = 0
        self._end += len(data)
        self._grown += len(data)
        if self._grown > _REWRITE_BYTES:
            try:
                self._rewrite()
            except OSError:
                self._grown = 0  # all is written; the next one may find room

    def _restore(self, state: dict[str, object]) -> None:
        self._fd, self._end, self._grown = (state[name] for name in ("fd", "end", "grown"))  # type: ignore[assignment]
        if state["unwritten"]:
            self._buffer.append(state["unwritten"])  # type: ignore[arg-type]
        self.marks = {key: Mark(*values) for key, values in state["marks"].items()}  # type: ignore[attr-defined]
        self.results = state["results"]  # type: ignore[assignment]

    def _append(self, record: Record) -> None:
        data = _encode(record)
        self._held += len(data)
        self._buffer.append(data)

    def _replay(self) -> int:
        """Where the last whole record ends; -1 = there is no file."""
        try:
            with open(f"{self._folder}/{_NAME}", "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return -1
        records, end = _decode(data)
        for record in records:
            self._apply(record)
        return end

    def _go_on(self, whole: int) -> None:
        """There is no room for a new file: append to the one that is there, behind what can be read of it."""
        self._fd = os.open(f"{self._folder}/{_NAME}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        os.ftruncate(self._fd, whole)
        self._end = whole

    def _apply(self, record: Record) -> None:
        kind, subject = record[0], record[1]
        if kind == "forget":
            for key in subject:  # type: ignore[attr-defined]
                self.marks.pop(key, None)
                self.results.pop(key, None)
            return
        assert isinstance(subject, str)
        if kind == "mark":
            boot_us, boot_id = record[2:]
            assert isinstance(boot_us, int)
            assert isinstance(boot_id, str)
            self.marks[subject] = Mark(boot_us, boot_id)
        elif kind == "unmark":
            self.marks.pop(subject, None)
        elif kind == "pid" and subject in self.marks:
            mark = self.marks[subject]
            # Releases before this one wrote no times; a start followed its mark at once.
            mark.pid, mark.begun_us, mark.spawned_us = (*record[2:5], mark.boot_us, mark.boot_us + _LATER_US)[:3]  # type: ignore[assignment]
        elif kind == "end":
            assert isinstance(record[2], tuple)
            self.results[subject] = record[2]

    def _rewrite(self) -> None:
        parts = []
        for key, mark in self.marks.items():
            parts.append(_encode(("mark", key, mark.boot_us, mark.boot_id)))
            parts.append(_encode(("pid", key, mark.pid, mark.begun_us, mark.spawned_us)))
        parts += [_encode(("end", key, result)) for key, result in self.results.items()]
        data = b"".join(parts)
        new = f"{self._folder}/{_NAME}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_all(fd, data)
            os.rename(new, f"{self._folder}/{_NAME}")
        except OSError:
            os.close(fd)
            os.unlink(new)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._end = len(data)
        # Counted from here, so that a large live set is not rewritten again at once.
        self._grown = 0


def _encode(record: Record) -> bytes:
    body = marshal.dumps(record, 2)  # type: ignore[arg-type]
    return crc32(body).to_bytes(4, "little") + len(body).to_bytes(4, "little") + body


def _decode(data: bytes) -> tuple[list[Record], int]:
    """The whole records, and where they end."""
    records: list[Record] = []
    start = 0
    while start + 8 <= len(data):
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        body = data[start + 8 : start + 8 + size]
        if size == 0 or len(body) < size or crc32(body) != int.from_bytes(data[start : start + 4], "little"):
            break
        record = marshal.loads(body)
        if type(record) is not tuple or len(record) < 2:
            break
        records.append(record)
        start += 8 + size
    return records, start


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
