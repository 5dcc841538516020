"""References to secrets in payloads, `secret:NAME`: the value stays on the machine that runs the task."""

from __future__ import annotations

import re

REFERENCE = re.compile(r"secret:([A-Za-z0-9_.-]{1,100})")
_WHOLE = re.compile(rf"(?:[A-Za-z]+ )?{REFERENCE.pattern}")
_CREDENTIAL = re.compile(
    r"authori[sz]ation|cookie|token|secret|passw|credential|api[-_]?key|access[-_]?key", re.IGNORECASE
)


def is_reference(text: str) -> bool:
    """Whether `text` is one, perhaps after a scheme as in `Bearer secret:NAME`."""
    return _WHOLE.fullmatch(text) is not None


def names_credential(name: str) -> bool:
    """Whether what is called `name` should not be written down."""
    return _CREDENTIAL.search(name) is not None
