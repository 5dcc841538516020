"""What is kept of output, and what was found in it, as the JSON that scripts rely on. Pure."""

from __future__ import annotations

from cortex.v1 import cluster_pb2
from tui.documents.json_view import Document, stream_name, text, time


def keeping(number: cluster_pb2.Keeping.ValueType) -> str:
    """What became of an attempt's output, in a word."""
    return cluster_pb2.Keeping.Name(number).removeprefix("KEEPING_").lower()


def kept(row: cluster_pb2.KeptOutput) -> Document:
    numbers = ("run", "attempt", "fence", "stdout_bytes", "stderr_bytes", "dropped_bytes")
    found: Document = {name: getattr(row, name) for name in numbers}
    return found | {"node": row.node or None, "keeping": keeping(row.keeping), "at": time(row.at_us)}


def found(row: cluster_pb2.FoundLine) -> Document:
    """A line that matches, or is near one that does."""
    return {
        "stream": stream_name(row.stream),
        "line": row.number,
        "offset": row.offset,
        "matches": row.matches,
        "text": text(row.text),
    }
