"""The file in which a running task tells its daemon what happens: a JSON object a line, bounded in size."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

LIMIT_BYTES = 1 << 20


class Events:
    """Its only writer. Of each kind of event the last one counts, so the file begins anew with those."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._last: dict[str, bytes] = {}

    def tell(self, kind: str, what: Mapping[str, object]) -> None:
        """Whole or not at all. Raises OSError."""
        event = {"at_us": time.time_ns() // 1000, kind: what}
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        self._last.pop(kind, None)
        self._last[kind] = line
        if self._write(self._path, os.O_APPEND, line) > self._limit_bytes:
            part = self._path.with_suffix(".part")
            self._write(part, os.O_TRUNC, b"".join(self._last.values()))
            part.rename(self._path)

    def _write(self, path: Path, how: int, data: bytes) -> int:
        """How long the file is then."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o600)
        try:
            os.write(fd, data)
            return os.fstat(fd).st_size
        finally:
            os.close(fd)
