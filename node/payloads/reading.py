"""From the bytes of a payload to its struct, with a sentence that says what is wrong and where."""

from __future__ import annotations

import re
from types import UnionType
from typing import TypeVar, Union, get_args, get_origin

import msgspec

T = TypeVar("T")
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>.*)`", re.DOTALL)


class BadPayload(ValueError):
    """One sentence."""


class Payload(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all of them: unknown keys are errors. Subclasses check what types cannot say in `check`."""

    def check(self) -> None:
        """Raises BadPayload."""


P = TypeVar("P", bound=Payload)


def read(data: bytes, kind: type[P]) -> P:
    """Raises BadPayload."""
    try:
        payload = msgspec.json.decode(data or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise BadPayload(_sentence(str(error))[:500]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadPayload(f"It is not a JSON object: {error}."[:500]) from None
    payload.check()
    return payload


def _sentence(error: str) -> str:
    """What msgspec says, from the key on."""
    found = _PLACE.match(error)
    where, what = (found["where"] or "", found["what"]) if found is not None else ("", error)
    inside = f"{where}." if where else ""
    if missing := _MISSING.fullmatch(what):
        return f"{inside}{missing['key']} is missing."
    if unknown := _UNKNOWN.fullmatch(what):
        return f"{inside}{unknown['key']} is no key of it."
    return f"{where or 'it'}: {what[:1].lower()}{what[1:]}."


def written(payload: Payload) -> bytes:
    """The canonical bytes of it, as a driver's order holds them."""
    return msgspec.json.encode(payload)


def keys(kind: type[Payload]) -> str:
    """Its keys, those of payloads within it as --set takes them, for a remedy."""
    return ", ".join(_dotted(kind, ""))


def _dotted(kind: type[msgspec.Struct], inside: str) -> list[str]:
    found = []
    for field in msgspec.structs.fields(kind):
        name = f"{inside}{field.encode_name}"
        either = get_args(field.type) if get_origin(field.type) in (Union, UnionType) else (field.type,)
        within = next((one for one in either if _is_payload(one)), None)
        found += _dotted(within, f"{name}.") if within is not None else [name]
    return found


def _is_payload(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Payload)
