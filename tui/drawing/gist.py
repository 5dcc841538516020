"""What a task without a command is about, on one line: the first words of its payload. Pure."""

from __future__ import annotations

import json
import re

# What comes first, by how much it tells. Asked for thousands of rows at once: no document is read for it.
_NAMES = (b"prompt", b"message", b"handler", b"image")
_KEYS = tuple(re.compile(rb'"%s"\s*:\s*"((?:[^"\\]|\\.){1,300})' % key) for key in _NAMES)


def gist_key(payload: bytes) -> str:
    """Which key of the payload `gist` is of; empty when there is none."""
    return next((name.decode() for name, key in zip(_NAMES, _KEYS, strict=True) if key.search(payload)), "")


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


_NAMES_ONLY = frozenset({"data", "mcp"})
_VALUE_CHARS = 100


def payload_text(payload: bytes) -> str:
    """Its keys with the beginnings of their values; of what may hold secrets the names alone. Empty without one."""
    try:
        found = json.loads(payload) if payload else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return f"{len(payload)} bytes" if payload else ""
    return ", ".join(f"{key} {_value(key, value)}" for key, value in found.items())


def _value(key: str, value: object) -> str:
    if key in _NAMES_ONLY and isinstance(value, dict):
        return f"({', '.join(value)})"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _VALUE_CHARS else f"{text[: _VALUE_CHARS - 1]}…"
