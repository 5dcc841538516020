"""One output stream of a command: always drained, kept up to a cap, hashed, with its head and tail."""

from __future__ import annotations

import os
import sys

# OpenSSL would double this process's memory, and none of its speed is needed here.
if sys.version_info >= (3, 12):
    from _sha2 import sha256 as sha256  # type: ignore[import-not-found,unused-ignore]
else:
    from _sha256 import sha256 as sha256  # type: ignore[import-not-found,unused-ignore]

HEAD_BYTES = 4 * 1024
TAIL_BYTES = 12 * 1024
_READ_BYTES = 64 * 1024

_HASHED_AT_ONCE_BYTES = 1024 * 1024

Summary = tuple[int, int, bytes, bytes, bytes]
# All but the hash, which cannot be carried over to another program: it reads the file again.
_CARRIED = ("fd", "_name", "_cap", "_file", "_total", "_kept", "_head", "_tail")


class Capture:
    """Reads the pipe `fd` into the file `name` below the folder `folder_fd`, made at the first byte."""

    __slots__ = (
        "_cap",
        "_file",
        "_folder_fd",
        "_hash",
        "_hashed",
        "_head",
        "_kept",
        "_name",
        "_tail",
        "_total",
        "fd",
    )

    def __init__(self, fd: int, folder_fd: int, name: str, cap_bytes: int) -> None:
        self.fd = fd
        self._folder_fd = folder_fd
        self._name = name
        self._cap = cap_bytes
        self._file = -1
        self._total = 0
        self._kept = 0
        self._hash = sha256()
        self._hashed = 0
        self._head = b""
        self._tail = b""

    def state(self) -> dict[str, object]:
        """What restored() makes the same capture of, in a process that has the same descriptors."""
        return {name: getattr(self, name) for name in _CARRIED}

    @staticmethod
    def restored(state: dict[str, object], folder_fd: int) -> Capture:
        capture = Capture(-1, folder_fd, "", 0)
        for name in _CARRIED:
            setattr(capture, name, state[name])
        return capture

    @property
    def descriptors(self) -> list[int]:
        return [fd for fd in (self.fd, self._file) if fd >= 0]

    @property
    def open(self) -> bool:
        return self.fd >= 0

    @property
    def behind(self) -> bool:
        """Whether some of what was kept is not hashed yet."""
        return self._hashed < self._kept

    def catch_up(self, limit_bytes: int = _HASHED_AT_ONCE_BYTES) -> None:
        """Hash more of what was kept, from the file."""
        try:
            data = os.pread(self._file, min(limit_bytes, self._kept - self._hashed), self._hashed)
        except OSError:
            data = b""
        self._hash.update(data)
        # Whoever cut the file short has made it another one.
        self._hashed = self._hashed + len(data) if data else self._kept

    def read(self) -> bool:
        """Take what one read gives. False when there is nothing to read now, or nothing more ever."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close_pipe()
            return False
        self._take(data)
        return True

    def drain(self) -> None:
        """Take what waits in the pipe, at most its largest capacity."""
        for _ in range(16):
            if self.fd < 0 or not self.read():
                return

    def close_pipe(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> Summary:
        """Close everything. Returns (total, dropped, SHA-256 of what was kept, head, tail)."""
        while self.behind:
            self.catch_up()
        self.close_pipe()
        head, tail = self._ends()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        return (self._total, self._total - self._kept, self._hash.digest(), head, tail)

    def _take(self, data: bytes) -> None:
        self._total += len(data)
        if self._kept < self._cap:
            data = data[self._keep(data[: self._cap - self._kept]) :]
        if not data:
            return
        # Only what is not in the file has to be remembered.
        missing = HEAD_BYTES - self._kept - len(self._head)
        if missing > 0:
            self._head += data[:missing]
            data = data[missing:]
        self._tail = data[-TAIL_BYTES:] if len(data) >= TAIL_BYTES else (self._tail + data)[-TAIL_BYTES:]

    def _ends(self) -> tuple[bytes, bytes]:
        """The first bytes, and the last ones of the rest."""
        head_end = min(self._kept, HEAD_BYTES)
        tail_start = max(head_end, self._kept - TAIL_BYTES + len(self._tail))
        head, tail = self._read_kept(0, head_end), self._read_kept(tail_start, self._kept)
        return head + self._head, tail + self._tail

    def _read_kept(self, start: int, end: int) -> bytes:
        try:
            return os.pread(self._file, end - start, start) if start < end else b""
        except OSError:
            return b""

    def _keep(self, data: bytes) -> int:
        """How much of it is in the file now."""
        try:
            if self._file < 0:
                self._file = self._create()
            written = os.write(self._file, data)
        except OSError:
            # A full disk must not stop the command: the rest is counted as dropped.
            self._cap = self._kept
            return 0
        if not self.behind:
            self._hash.update(data[:written])
            self._hashed += written
        self._kept += written
        if written < len(data):
            self._cap = self._kept
        return written

    def _create(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self._name, flags, 0o600, dir_fd=self._folder_fd)
        except FileNotFoundError:
            os.mkdir(os.path.dirname(self._name), 0o700, dir_fd=self._folder_fd)
            return os.open(self._name, flags, 0o600, dir_fd=self._folder_fd)
