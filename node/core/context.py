"""A workflow's context: JSON values by key, which its tasks may replace by what they write."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from cortex.v1.types_pb2 import ContextItem
from node.core import checks

LIMIT_BYTES = 64 * 1024
UPDATE_LIMIT_BYTES = 16 * 1024
KEY_LIMIT_CHARS = 100
# Far below what a parser's recursion bears, wherever in a stack it is called.
DEPTH_LIMIT = 64
# Python's own limit of digits may be set from outside; this is below any that it allows.
_DIGITS_LIMIT = 300

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class NotJson(ValueError):
    """Says in one sentence what is wrong."""


def parse(data: bytes) -> Any:
    """The value that `data` says in JSON, the same wherever it is read. Raises NotJson."""
    _check_depth(data)
    try:
        return json.loads(
            data.decode(), parse_constant=_refuse_constant, parse_int=_parse_int, parse_float=_parse_float
        )
    except NotJson:
        raise
    except (ValueError, RecursionError):
        # The parser's own words differ between versions of Python, and an event repeats these on every replica.
        raise NotJson("It is not JSON.") from None


def compact(value: Any) -> bytes:
    """A parsed value as JSON again, in ASCII, without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def parse_update(data: bytes) -> dict[str, bytes]:
    """What a task wants the context to hold, by key. Raises NotJson."""
    if len(data) > UPDATE_LIMIT_BYTES:
        raise NotJson(f"It has {len(data)} bytes, the limit is {UPDATE_LIMIT_BYTES}.")
    value = parse(data)
    if not isinstance(value, dict):
        raise NotJson("It is not a JSON object.")
    for key in value:
        flaw = key_flaw(key)
        if flaw is not None:
            raise NotJson(flaw)
    return {key: compact(item) for key, item in value.items()}


def key_flaw(key: str) -> str | None:
    """What is wrong with a key, in one sentence."""
    if not key:
        return "A context key is empty."
    if any(0xD800 <= ord(char) <= 0xDFFF for char in key):
        return "A context key has half of a surrogate pair."
    return checks.text_flaw("A context key", key, KEY_LIMIT_CHARS)


def size_bytes(items: Iterable[ContextItem]) -> int:
    """What counts against LIMIT_BYTES."""
    return sum(len(item.key.encode()) + len(item.value) for item in items)


def merged(items: Iterable[ContextItem], update: Mapping[str, bytes]) -> list[ContextItem]:
    """`items` with the keys of `update` put or replaced, by key."""
    values = {item.key: item.value for item in items} | dict(update)
    return [ContextItem(key=key, value=value) for key, value in sorted(values.items())]


def _check_depth(data: bytes) -> None:
    depth = deepest = 0
    for byte in _STRING.sub(b"", data):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    if deepest > DEPTH_LIMIT:
        raise NotJson(f"It nests {deepest} levels, the limit is {DEPTH_LIMIT}.")


def _parse_int(text: str) -> int:
    if len(text) > _DIGITS_LIMIT:
        raise NotJson(f"A number has {len(text)} digits, the limit is {_DIGITS_LIMIT}.")
    return int(text)


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotJson("A number is too large.")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise NotJson(f"{text} is not JSON.")
