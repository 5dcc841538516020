"""The last log index that this user wrote, per cluster, so that the next command reads its own writes."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class LastIndex:
    """One small file. A state folder that cannot be used costs freshness, never a command."""

    def __init__(self, folder: Path, cluster: str) -> None:
        self._path = folder / "index" / cluster

    def read(self) -> int:
        """Log index; 0 when none is known."""
        try:
            return _parse(self._path.read_bytes())
        except OSError:
            return 0

    def raise_to(self, index: int) -> None:
        """Keeps the greater of `index` and what is there, also when commands run at once."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        with os.fdopen(handle, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _parse(file.read()) < index:
                file.seek(0)
                # Fixed width: a longer number never leaves digits of a shorter one behind.
                file.write(b"%020d\n" % index)


def _parse(content: bytes) -> int:
    text = content.strip()
    return int(text) if text.isdigit() and len(text) <= 20 else 0
