"""What a driver is given and what it tells, in a folder of its own for each attempt: its order, its events, its
verdict. It outlives the daemon as the driver does, and goes with the attempt's final verdict.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cortex.v1.types_pb2 import Cause
from node.worker.output import OutputStore
from node.worker.port import AttemptKey

ORDER, EVENTS, VERDICT = "order.json", "events.jsonl", "verdict.json"
DOCUMENT_LIMIT_BYTES = 16 * 1024
_ERROR_CHARS = 1000
_ORDER_BYTES = 8 << 20
_VERDICT_BYTES = 64 * 1024
_LINE_BYTES = 64 * 1024
_DAY_MS = 86_400_000
_MOST = 1 << 60
USAGE = ("cpu_user_us", "cpu_system_us", "max_rss_bytes")
# What a driver may say of its end; all else is for the supervisor to judge.
CAUSES = {
    "rate_limited": Cause.CAUSE_RATE_LIMITED,
    "validation": Cause.CAUSE_VALIDATION,
    "cannot_start": Cause.CAUSE_CANNOT_START,
    "not_found": Cause.CAUSE_NOT_FOUND,
    "infrastructure": Cause.CAUSE_INFRASTRUCTURE,
    "timeout": Cause.CAUSE_TIMEOUT,
    "oom": Cause.CAUSE_OUT_OF_MEMORY,
    "signal": Cause.CAUSE_SIGNAL,
    "cancelled": Cause.CAUSE_CANCEL,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    cause: int = 0  # cortex.v1.Cause; 0 = as it ended
    error: str = ""
    retry_after_ms: int = 0
    document: bytes = b""  # JSON
    left: bool = False  # something of it may still be there
    usage: Mapping[str, int] = field(default_factory=dict)  # of what worked for it elsewhere: fields of Usage


class Exchange:
    """Folders below `folder`. Short reads and writes of small files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read_to: dict[AttemptKey, tuple[int, int]] = {}

    def prepare(self, key: AttemptKey, order: bytes) -> dict[bytes, bytes]:
        """Lay the order down; what the driver needs in its environment to find all three. Raises OSError."""
        place = self._path(key)
        # A simulated machine has no folders at all.
        with suppress(FileNotFoundError):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(place / ORDER, flags, 0o600), "wb") as file:
                file.write(order)
        return {
            b"CORTEX_ORDER": os.fsencode(place / ORDER),
            b"CORTEX_EVENTS": os.fsencode(place / EVENTS),
            b"CORTEX_VERDICT": os.fsencode(place / VERDICT),
        }

    def order(self, key: AttemptKey) -> bytes:
        """What was laid down for the driver; empty when nothing is there."""
        return _read(self._path(key) / ORDER, 0, _ORDER_BYTES)

    def verdict(self, key: AttemptKey) -> Verdict | None:
        """What the driver said of its end; None when it said nothing that can be understood."""
        said = _object(_read(self._path(key) / VERDICT, 0, _VERDICT_BYTES))
        if said is None:
            return None
        return Verdict(
            int(CAUSES.get(str(said.get("cause", "")), 0)),
            word(said.get("error", ""), _ERROR_CHARS),
            _wait_ms(said.get("retry_after_ms")),
            _document(said),
            said.get("left") is True,
            _counts(said.get("usage")),
        )

    def events(self, key: AttemptKey) -> list[dict[str, Any]]:
        """What the driver told since the last call, oldest first. From the beginning after a restart."""
        path = self._path(key) / EVENTS
        number, offset = self._read_to.get(key, (0, 0))
        if number != (number := _number(path)):
            offset = 0  # it began anew
        data = _read(path, offset, _LINE_BYTES)
        whole = data.rfind(b"\n") + 1
        if not whole and len(data) == _LINE_BYTES:
            whole = len(data)  # no line of ours
        self._read_to[key] = (number, offset + whole)
        found = (_object(line) for line in data[:whole].splitlines())
        return [event for event in found if event is not None]

    def forget(self, keys: Iterable[AttemptKey]) -> None:
        for key in keys:
            self._read_to.pop(key, None)
            shutil.rmtree(self._path(key), ignore_errors=True)

    def _path(self, key: AttemptKey) -> Path:
        return self._folder / OutputStore.name(key).replace("/", "-")


def word(said: object, limit_chars: int) -> str:
    """What a driver said, as a message can hold it: JSON can have halves of characters."""
    return str(said)[:limit_chars].encode("utf-8", "replace").decode()


def _wait_ms(said: object) -> int:
    # JSON as Python reads it has numbers that are none, and one without end.
    return int(min(said, _DAY_MS)) if isinstance(said, int | float) and said > 0 else 0


def _document(said: Mapping[str, Any]) -> bytes:
    """Empty when there is none, or too much of it."""
    try:
        found = json.dumps(said["document"], allow_nan=False).encode() if "document" in said else b""
    except (RecursionError, ValueError):
        return b""
    return found if len(found) <= DOCUMENT_LIMIT_BYTES else b""


def _counts(said: object) -> dict[str, int]:
    found = said if isinstance(said, dict) else {}
    numbers = {name: found.get(name) for name in USAGE}
    return {name: min(number, _MOST) for name, number in numbers.items() if type(number) is int and number > 0}


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _number(path: Path) -> int:
    """What tells a file from the next one of its name; 0 while there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _read(path: Path, offset: int, limit: int) -> bytes:
    """Of a plain file; empty when it is none."""
    try:
        # A pipe must not hold up the daemon.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.pread(fd, limit, offset) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(fd)
