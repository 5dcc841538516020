"""What a key is called in a sentence: as the operator has it, not as it was shipped. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tui.keyboard.keys import Key
from tui.keyboard.keytable import KEYMAP

KeyWord = Callable[[str, str], str]
"""What to press for an action: `word("app", "undo")`."""

_PLACE = re.compile(r"\{(\w+)\.([\w()-]+)\}")
_SPELLED = {
    "question_mark": "?",
    "slash": "/",
    "colon": ":",
    "minus": "-",
    "plus": "+",
    "underscore": "_",
    "equals_sign": "=",
    "escape": "esc",
    "space": "space",
    "asterisk": "*",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "percent_sign": "%",
    "ampersand": "&",
    "at": "@",
    "full_stop": ".",
    "pagedown": "pgdn",
    "pageup": "pgup",
}


def shown(name: str) -> str:
    """A key as people write it."""
    return _SPELLED.get(name, name.replace("ctrl+", "ctrl-"))


def key_of(place: str, name: str, table: Sequence[Key] = KEYMAP) -> str:
    """The first key of an action as people write it; empty when it has none."""
    return next((shown(key.keys[0]) for key in table if key.place == place and key.name == name and key.keys), "")


def wording(table: Sequence[Key]) -> KeyWord:
    """Words by a table of keys; an action without one is called as it is on the line `:`."""

    def word(place: str, name: str) -> str:
        return key_of(place, name, table) or f":{name.replace('_', '-')}"

    return word


def filled(text: str, word: KeyWord) -> str:
    """A sentence of our own with words in the place of its `{place.action}`."""
    return _PLACE.sub(lambda found: word(found[1], found[2]), text)


def shipped(place: str, name: str) -> str:
    """As the console comes."""
    return wording(KEYMAP)(place, name)


def spoken(place: str, name: str) -> str:
    """Where there are no keys, but words."""
    return name.replace("_", "-")
