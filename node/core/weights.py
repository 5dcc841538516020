"""Weights of the terms of a score, in thousandths: so their sum is exactly 1, whoever adds them up."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

ONE: Final = 1000
WORD: Final = "default"  # for the profile's own

RESOURCE_TERMS: Final = ("cpu", "memory", "disk", "network", "gpu")
ORCHESTRATOR_TERMS: Final = ("priority", "capability", "load", "fairness")

_LONGEST: Final = 200  # characters
_NUMBER: Final = re.compile(r"([01])(?:\.([0-9]{1,3}))?")


class Weights(NamedTuple):
    """Of the terms of both profiles; each profile's sum to ONE."""

    cpu: int = 300
    memory: int = 300
    disk: int = 150
    network: int = 100
    gpu: int = 150
    priority: int = 500
    capability: int = 300
    load: int = 150
    fairness: int = 50
    text: str = ""  # as they were set; empty = the defaults

    def of(self, terms: tuple[str, ...]) -> str:
        """As text that may be set again: `cpu=0.30,memory=0.30,…`."""
        return ",".join(f"{name}={_decimal(getattr(self, name))}" for name in terms)


DEFAULT: Final = Weights()


def is_default(text: str) -> bool:
    return text in ("", WORD)


def terms_of(text: str) -> tuple[str, ...]:
    """The terms of the profile that a text is for, by its first; empty for the defaults, which go with both."""
    if is_default(text):
        return ()
    first = text.partition(",")[0].partition("=")[0].strip()
    return ORCHESTRATOR_TERMS if first in ORCHESTRATOR_TERMS else RESOURCE_TERMS


def flaw(text: str) -> str | None:
    """What is wrong with a text of weights, as the end of a sentence that names them; None when it may be set."""
    if is_default(text):
        return None
    if len(text) > _LONGEST:
        return f"must have at most {_LONGEST} characters."
    found: dict[str, int] = {}
    terms = terms_of(text)
    for part in text.split(","):
        name, _, number = (each.strip() for each in part.partition("="))
        if name not in terms:
            return f"must be of the terms {', '.join(terms)}: {name[:32]!a} is none of them."
        if name in found:
            return f"must name each term once: {name} is there twice."
        weight = _NUMBER.fullmatch(number)
        if weight is None:
            return f"must be numbers from 0 to 1 of at most three decimals: that of {name} is {number[:32]!a}."
        found[name] = int(weight[1]) * ONE + int((weight[2] or "").ljust(3, "0"))
    missing = [name for name in terms if name not in found]
    if missing:
        return f"must name every term: {', '.join(missing)} missing."
    total = sum(found.values())
    return None if total == ONE else f"must sum to exactly 1: these sum to {_decimal(total)}."


def parse(text: str) -> Weights:
    """The weights that a text sets; the defaults for one that must not be set."""
    if is_default(text) or flaw(text) is not None:
        return DEFAULT
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = (each.strip() for each in part.partition("="))
        whole, _, decimals = number.partition(".")
        found[name] = int(whole) * ONE + int(decimals.ljust(3, "0"))
    made = Weights(**{**DEFAULT._asdict(), **found})
    return made._replace(text=made.of(terms_of(text)))


def _decimal(thousandths: int) -> str:
    whole, rest = divmod(thousandths, ONE)
    digits = f"{rest:03d}"
    return f"{whole}.{digits[:2] if digits[2] == '0' else digits}"
