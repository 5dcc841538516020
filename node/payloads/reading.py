"""From the bytes of a payload to its struct, with a sentence that says what is wrong and where."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

T = TypeVar("T")
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>[^`]*)`)?$", re.DOTALL)


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
        found = _PLACE.match(str(error))
        where = found["where"] if found is not None else ""
        what = found["what"] if found is not None else str(error)
        raise BadPayload(f"{where or 'It'}: {what[:1].lower()}{what[1:]}."[:500]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadPayload(f"It is no JSON object: {error}."[:500]) from None
    payload.check()
    return payload


def written(payload: Payload) -> bytes:
    """The canonical bytes of it, as a driver's order holds them."""
    return msgspec.json.encode(payload)


def keys(kind: type[Payload]) -> str:
    """Its keys, for a remedy."""
    return ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
