"""What comes of the table of keys (`keytable.py`): bindings, help, footer, palette and the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.binding import Binding

from tui.keys import FORBIDDEN, Key, KeyConflict
from tui.keytable import KEYMAP, PLACES


def keys_at(place: str, table: Iterable[Key] = KEYMAP) -> list[Key]:
    return [key for key in table if key.place == place]


def reachable(place: str, table: Sequence[Key] = KEYMAP) -> list[Key]:
    """Every key that works at a place: its own, its widgets' and those of everywhere; an action once."""
    spot = PLACES[place]
    places = (place, *spot.widgets, *(("app",) if spot.everywhere else ()))
    found: dict[str, Key] = {}
    for name in places:
        for key in keys_at(name, table):
            found.setdefault(key.action, key)
    return list(found.values())


def bindings(place: str) -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """The place's keys as Textual wants them."""
    return [
        Binding(",".join(key.keys), key.action, key.help, show=False, priority=key.action == "quit")
        for key in keys_at(place)
        if key.keys
    ]


def check(table: Sequence[Key] = KEYMAP) -> None:
    """Raise KeyConflict when a key means two things at once, or must not be used at all."""
    for key in table:
        if key.place not in PLACES:
            raise KeyConflict(f"{key.action}: there is no place {key.place}")
        for name in key.keys:
            if name in FORBIDDEN or name.startswith("alt+"):
                raise KeyConflict(f"{key.place} {key.action}: {name} does not work everywhere")
    for place, spot in PLACES.items():
        screen = keys_at(place, table)
        if spot.everywhere and place != "app":
            screen = screen + keys_at("app", table)
        _unique(place, screen)
        for widget in spot.widgets:
            _unique(place, screen + keys_at(widget, table))


def _unique(place: str, keys: Sequence[Key]) -> None:
    taken: dict[str, Key] = {}
    for key in keys:
        for name in key.keys:
            if (other := taken.setdefault(name, key)) is not key:
                raise KeyConflict(f"{place}: {name} is both {other.action} and {key.action}")


_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "minus": "-",
    "plus": "+",
    "underscore": "_",
    "equals_sign": "=",
    "escape": "esc",
    "space": "space",
    "asterisk": "*",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "pagedown": "pgdn",
    "pageup": "pgup",
}


def shown(name: str) -> str:
    """A key as people write it."""
    return _NAMES.get(name, name.replace("ctrl+", "ctrl-"))


def shown_keys(key: Key) -> str:
    return " ".join(shown(name) for name in key.keys) or "palette"


check()
