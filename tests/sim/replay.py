"""One step of a log that is replayed through the pure core, as the checkers are told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cortex.v1.log_pb2 import CommandReply, Entry, Reply
from node.core.model import Change, Key, Row


class Step(NamedTuple):
    """What an entry said, what it was told, and what it led to; `rows` are those after it."""

    index: int
    entry: Entry
    reply: Reply
    changes: Sequence[Change]
    rows: Mapping[Key, Row]

    def commands(self) -> Iterator[tuple[str, Any, CommandReply]]:
        """Kind, body and answer of each command; none of a request that was answered before."""
        if not self.reply.repeated_request:
            for command, answer in zip(self.entry.commands, self.reply.commands, strict=False):
                kind = command.WhichOneof("kind")
                if kind is not None:
                    yield kind, getattr(command, kind), answer
