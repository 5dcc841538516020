"""The payload of a python task: which handler, and what it is given."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from node.payloads.reading import BadPayload, Payload

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Python(Payload, frozen=True):
    handler: str  # by its registered name
    data: dict[str, Any] = msgspec.field(default_factory=dict)  # its keyword arguments

    def check(self) -> None:
        if not _NAME.fullmatch(self.handler):
            what = "at most 100 letters, digits, dots, dashes and underscores"
            raise BadPayload(f"handler is {self.handler[:100]!r}, a name has {what}.")


def capability(handler: str) -> str:
    """What a node declares that has the handler, and what a task needs that names it."""
    return f"python:{handler}"
