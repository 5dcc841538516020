"""Secrets of this machine by name: a folder with a file for each, or one file of NAME=VALUE lines. Nobody but their
owner may read them.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from node.payloads.secret_names import REFERENCE

_LIMIT_BYTES = 64 * 1024
_SHORTEST_HIDDEN_CHARS = 4


class SecretError(Exception):
    """One sentence of cause, one of remedy."""


class Secrets:
    """Reads what is asked for, and takes it out of what is told."""

    def __init__(self, place: str) -> None:
        """`place` is a folder or a file; empty = this machine has none."""
        self._place = place
        self._used: dict[str, str] = {}
        self._parts: list[tuple[str, str]] = []

    def filled(self, text: str) -> str:
        """`text` with every reference replaced by its secret. Raises SecretError."""
        return REFERENCE.sub(lambda match: self.value(match[1]), text)

    def value(self, name: str) -> str:
        """Raises SecretError."""
        if name not in self._used:
            self._used[name] = self._read(name)
            # The longest first: a shorter one may be a part of it.
            self._parts = sorted(_parts(self._used), key=lambda each: (-len(each[0]), each))
        return self._used[name]

    def hidden(self, text: str) -> str:
        """`text` with every secret that was used replaced by its reference."""
        for part, name in self._parts:
            text = text.replace(part, f"secret:{name}")
        return text

    def _read(self, name: str) -> str:
        missing = SecretError(f"This machine has no secret {name}. Add it there, or run the task elsewhere.")
        if not self._place:
            raise missing
        place = Path(self._place)
        try:
            if not place.is_dir():
                found = _lines(_private(place)).get(name)
            elif name in (".", ".."):
                found = None
            else:
                found = _private(place / name).removesuffix("\n")
        except FileNotFoundError:
            raise missing from None
        except OSError as error:
            raise SecretError(f"Secret {name} cannot be read: {error.strerror}. Correct its file.") from None
        if not found or "\0" in found:
            raise missing
        return found


def _parts(used: Mapping[str, str]) -> set[tuple[str, str]]:
    """What must not be told, and by which name it goes: each secret, its lines, and these as JSON has them."""
    lines = {(part, name) for name, value in used.items() for part in (value, *value.splitlines())}
    written = {(json.dumps(part)[1:-1], name) for part, name in lines}
    return {(part, name) for part, name in lines | written if len(part) >= _SHORTEST_HIDDEN_CHARS}


def _private(path: Path) -> str:
    """The text of a file that only its owner can read. Raises OSError or SecretError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
            raise SecretError(f"Others than its owner can read {path}, or it is no file. Run chmod 600 on it.")
        return os.read(fd, _LIMIT_BYTES).decode("utf-8", "replace")
    finally:
        os.close(fd)


def _lines(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}
