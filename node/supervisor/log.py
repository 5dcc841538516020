"""The supervisor's few words, in the file `supervisor/log` of the data folder."""

from __future__ import annotations

import os


def note(text: str) -> None:
    """Write a line; a full disk must not stop the supervisor."""
    try:
        os.write(2, f"{text}\n".encode("utf-8", "replace"))
    except OSError:
        pass
