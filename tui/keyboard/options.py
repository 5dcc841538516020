"""What is chosen from in a list. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tui.keyboard.keymap import shown
from tui.keyboard.keys import Key


@dataclass(frozen=True)
class Option:
    value: str
    label: str
    hint: str = ""
    note: str = ""


def actions_of(keys: Iterable[Key], *, read_only: bool) -> list[Option]:
    """What the palette offers; the value is the action."""
    return [
        Option(key.action, key.label, shown(key.keys[0]) if key.keys else "", key.help)
        for key in keys
        if key.palette and not (read_only and key.changes)
    ]
