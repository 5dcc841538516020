"""What the console keeps between two starts: the theme, how views are arranged, copies that no clipboard took.

Small files under the user's state folder. One that cannot be read or written is a sentence, never an end.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

MAX_BYTES = 1_000_000
_COPIES = 20
"""Copies that stay; the oldest goes first."""


class Keep:
    """Files of one user, and within them of one cluster. Without a folder it keeps nothing."""

    def __init__(self, state: Path | None = None, cluster: str = "") -> None:
        self._folder = None if state is None else state / "console"
        self._cluster = cluster or "none"

    @property
    def views(self) -> Path | None:
        """How the views of this cluster are arranged."""
        return None if self._folder is None else self._folder / "views" / f"{self._cluster}.json"

    @property
    def choices(self) -> Path | None:
        """What is the same for all clusters."""
        return None if self._folder is None else self._folder / "choices.json"

    def read(self, path: Path | None) -> dict[str, Any]:
        """The document; {} when there is none. Raises KeepError when it is damaged."""
        if path is None:
            return {}
        try:
            with open(path, "rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise KeepError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from None
        try:
            document = json.loads(content) if len(content) <= MAX_BYTES else None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise KeepError(f"{path} is damaged.", "It is written anew; remove it to be rid of this sentence.")
        return document

    def write(self, path: Path | None, document: dict[str, Any]) -> None:
        """Replaces the file as a whole. Raises KeepError."""
        if path is not None:
            _write(path, lambda target: target.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n"))

    def copy(self, text: str) -> Path:
        """Writes a text that is too long for a clipboard; returns where to. Raises KeepError."""
        if self._folder is None:
            raise KeepError("There is no folder for copies.", "Set XDG_STATE_HOME.")
        folder = self._folder / "copies"
        known = sorted(folder.glob("copy-*.txt")) if folder.is_dir() else []
        number = max((int(path.stem[5:]) for path in known if path.stem[5:].isdigit()), default=0) + 1
        path = folder / f"copy-{number:06d}.txt"
        _write(path, lambda target: target.write_text(text, encoding="utf-8", errors="replace"))
        for old in known[: max(0, len(known) + 1 - _COPIES)]:
            with suppress(OSError):
                old.unlink()
        return path


class KeepError(Exception):
    """One sentence of cause, one of remedy."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy


def _write(path: Path, fill: Callable[[Path], object]) -> None:
    temporary: Path | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        os.close(handle)
        temporary = Path(name)
        fill(temporary)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
        raise KeepError(f"{path} cannot be written: {error.strerror}.", "Check its folder and disk.") from None
