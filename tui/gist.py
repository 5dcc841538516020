"""What a task without a command is about, on one line: the first words of its payload. Pure."""

from __future__ import annotations

import json
import re

# What comes first, by how much it tells. Asked for thousands of rows at once: no document is read for it.
_KEYS = tuple(
    re.compile(rb'"%s"\s*:\s*"((?:[^"\\]|\\.){1,300})' % key)
    for key in (b"prompt", b"message", b"handler", b"image")
)


def gist(payload: bytes) -> bytes:
    """The prompt's, message's, handler's or image's first line; empty when there is none."""
    for key in _KEYS:
        found = key.search(payload)
        if found is not None:
            try:
                text = str(json.loads(b'"' + found[1] + b'"', strict=False))
            except ValueError:
                return b""
            lines = text.strip().splitlines()
            return lines[0].encode("utf-8", "replace") if lines else b""
    return b""
