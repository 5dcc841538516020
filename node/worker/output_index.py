"""Which attempts left output on this machine: lines appended at their ends, in two generations per folder.

The files say what is there; this says which run and attempt it was, how much was dropped, and what there was before
it was removed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

INDEX, OLD_INDEX = "index", "index.old"
# About 2,500 attempts; there are 256 folders of two generations each.
GENERATION_BYTES = 256 * 1024
_FIRST_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt that has ended."""

    fence: int
    run: int
    attempt: int
    stdout_bytes: int  # kept
    stderr_bytes: int
    dropped_bytes: int
    ended_us: int  # unix time; 0 = not known


def append(folder: Path, task: str, entry: Entry) -> None:
    """One short write. Raises OSError."""
    values = [
        task, entry.fence, entry.run, entry.attempt,
        entry.stdout_bytes, entry.stderr_bytes, entry.dropped_bytes, entry.ended_us,
    ]  # fmt: skip
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(folder / INDEX, flags, 0o600)
    try:
        os.write(fd, json.dumps(values, separators=(",", ":")).encode() + b"\n")
    finally:
        os.close(fd)


def entries(folder: Path, task: str) -> list[Entry]:
    """Those of `task`, oldest first; what cannot be read is left out."""
    begin = json.dumps([task])[:-1].encode() + b","
    found: dict[int, Entry] = {}
    for name in (OLD_INDEX, INDEX):
        for line in _lines(folder / name):
            if line.startswith(begin) and (entry := _entry(line)) is not None:
                found[entry.fence] = entry
    return [found[fence] for fence in sorted(found)]


def rotate(folder: str, before_us: int) -> None:
    """Begin a new generation when this one is large, or began before `before_us`; the last but one goes."""
    path = os.path.join(folder, INDEX)
    with suppress(FileNotFoundError):
        large = os.stat(path).st_size > GENERATION_BYTES
        if large or _begun_us(path) < before_us:
            os.rename(path, os.path.join(folder, OLD_INDEX))


def _begun_us(path: str) -> int:
    """When its first attempt ended whose time is known; for ever from now when there is none."""
    with open(path, "rb") as file:
        found = (_entry(line) for line in file.read(_FIRST_BYTES).splitlines())
        return next((entry.ended_us for entry in found if entry is not None and entry.ended_us), 1 << 62)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            yield from file.read(2 * GENERATION_BYTES).splitlines()
    except OSError:
        return


def _entry(line: bytes) -> Entry | None:
    try:
        _, *numbers = json.loads(line)
        return Entry(*map(int, numbers))
    except (ValueError, TypeError):
        return None
