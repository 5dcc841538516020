"""Fingerprints: failures that went wrong the same way get the same one."""

from __future__ import annotations

import hashlib
import re

from cortex.v1.types_pb2 import Cause, TaskResult

_TAIL_BYTES = 4096
_LINES = 5
_COMMAND_CHARS = 2000

# In order: what a pattern has replaced, later ones do not see as it was.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]"), ""),
    (re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"), "<time>"),
    (re.compile(r"\b\d\d?:\d\d:\d\d(?:[.,]\d+)?\b"), "<time>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?:https?|ftp)://[^\s\"'<>]+"), "<address>"),
    (re.compile(r"\[[0-9a-f]*:[0-9a-f:.]*:[0-9a-f.]*\](?::\d+)?", re.IGNORECASE), "<address>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<address>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<address>"),
    (re.compile(r"(?<![\w<])(?:~|\.{1,2})?(?:/[\w.+@%=-]+)+/?"), "<path>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?=[a-z0-9]*\d)(?=[a-z0-9]*[a-z])[a-z0-9]{12,}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\d+(?:\.\d+)?"), "<n>"),
    (re.compile(r"\s+"), " "),
)


def normalise(text: str) -> str:
    """`text` without what differs from one run to the next: times, ids, addresses, paths, numbers."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text.strip()


def command_template(command: str) -> str:
    """A command with its program in full and the rest normalised."""
    program, _, rest = command[:_COMMAND_CHARS].strip().partition(" ")
    return f"{program} {normalise(rest)}".strip()


def error_tail(result: TaskResult) -> str:
    """The last lines of what the command said: on stderr, else on stdout."""
    for stream in (result.stderr, result.stdout):
        text = (stream.head + stream.tail)[-_TAIL_BYTES:].decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines:
            return "\n".join(lines[-_LINES:])
    return ""


def fingerprint(command: str, result: TaskResult, cause: Cause.ValueType) -> str:
    """16 hex digits over the normalised error tail, the exit code or signal, the cause and the command template."""
    exit_code = str(result.exit_code) if result.HasField("exit_code") else ""
    parts = (str(cause), exit_code, str(result.signal), command_template(command), normalise(error_tail(result)))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
