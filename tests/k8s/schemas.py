"""What an API server refuses of an object: fields that its schema lacks, and values of the wrong type."""

from __future__ import annotations

from typing import Any

import msgspec
from lightkube.models import batch_v1, core_v1

SCHEMAS = {"jobs": batch_v1.Job, "pods": core_v1.Pod, "nodes": core_v1.Node, "events": core_v1.Event}


def flaw(resource: str, thing: dict[str, Any]) -> str:
    """What strict field validation says of it; empty where it is right."""
    try:
        known = msgspec.to_builtins(msgspec.convert(thing, SCHEMAS[resource]))
    except msgspec.ValidationError as error:
        return f"{resource} in version v1 cannot be handled: {error}"
    return _unknown(thing, known, "")


def _unknown(given: Any, known: Any, path: str) -> str:
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            if key not in known:
                if value is None:
                    continue
                return f'strict decoding error: unknown field "{path}{key}"'
            if found := _unknown(value, known[key], f"{path}{key}."):
                return found
    if isinstance(given, list) and isinstance(known, list):
        for number, (one, other) in enumerate(zip(given, known, strict=True)):
            if found := _unknown(one, other, f"{path.rstrip('.')}[{number}]."):
                return found
    return ""
