"""What comes of the table of keys (`keytable.py`): bindings, help, footer, palette and the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.binding import Binding, BindingsMap
from textual.dom import DOMNode

from tui.keyboard.keys import FORBIDDEN, Key, KeyConflict
from tui.keyboard.keytable import KEYMAP, PLACES
from tui.keyboard.wording import key_of, shown

__all__ = ["Rebound", "bindings", "check", "key_of", "keys_at", "reachable", "rebind", "shown", "shown_keys"]


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


def bindings(place: str, table: Sequence[Key] = KEYMAP) -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """The place's keys as Textual wants them; the id of each begins with the place."""
    return [
        Binding(
            ",".join(key.keys),
            key.action,
            key.help,
            show=False,
            priority=key.action == "quit",
            id=f"{place}:{key.name}",
        )
        for key in keys_at(place, table)
        if key.keys
    ]


def rebind(node: DOMNode, table: Sequence[Key]) -> None:
    """Give a widget, screen or app the keys of this table in the stead of those that its class has of ours."""
    if table is KEYMAP:
        return
    kept: dict[str, list[Binding]] = {}
    places: dict[str, None] = {}
    for name, binding in node._bindings:
        if binding.id and binding.id.partition(":")[0] in PLACES:
            places[binding.id.partition(":")[0]] = None
        else:
            kept.setdefault(name, []).append(binding)
    # Ours go before what Textual's own classes have on the same key.
    own = BindingsMap([binding for place in places for binding in bindings(place, table)])
    node._bindings = BindingsMap.from_keys(kept | own.key_to_bindings)


class Rebound:
    """Mixed into what has keys: takes the operator's own when it is mounted."""

    def on_mount(self) -> None:
        if isinstance(self, DOMNode):
            rebind(self, getattr(self.app, "key_table", KEYMAP))


def check(table: Sequence[Key] = KEYMAP) -> None:
    """Raise KeyConflict when a key means two things at once, or must not be used at all."""
    for key in table:
        if key.place not in PLACES:
            raise KeyConflict(f"{key.name}: there is no place {key.place}", key)
        for name in key.keys:
            if name in FORBIDDEN or name.startswith("alt+"):
                raise KeyConflict(f"{key.place} {key.name}: {name} does not work everywhere", key)
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
                raise KeyConflict(f"{place}: {shown(name)} is both {other.name} and {key.name}", key, other)


def shown_keys(key: Key) -> str:
    return " ".join(shown(name) for name in key.keys) or "palette"


check()
