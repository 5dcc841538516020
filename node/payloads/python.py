"""The payload of a python task: which handler, and what it is given."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from node.payloads.reading import BadPayload, Payload

DEPTH_LIMIT = 100
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Python(Payload, frozen=True):
    handler: str  # by its registered name
    data: dict[str, Any] = msgspec.field(default_factory=dict)  # its keyword arguments

    def check(self) -> None:
        if not _NAME.fullmatch(self.handler):
            what = "at most 100 letters, digits, dots, dashes and underscores"
            raise BadPayload(f"handler is {self.handler[:100]!r}, a name has {what}.")
        if _is_deep(self.data):
            raise BadPayload(f"data: it has lists or objects within each other for more than {DEPTH_LIMIT} levels.")


def _is_deep(data: dict[str, Any]) -> bool:
    """Whether what passes it on, step by step, might run out of stack."""
    level: list[Any] = [data]
    for _ in range(DEPTH_LIMIT + 1):
        lists = [
            each if isinstance(each, list) else each.values() for each in level if isinstance(each, list | dict)
        ]
        level = [child for each in lists for child in each]
        if not level:
            return False
    return True


def capability(handler: str) -> str:
    """What a node declares that has the handler, and what a task needs that names it."""
    return f"python:{handler}"
