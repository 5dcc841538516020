"""The operator's own keys: `keymap.toml` over the table, checked before the console starts."""

from __future__ import annotations

import difflib
import re
import string
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from textual.keys import KEY_NAME_REPLACEMENTS, Keys

from tui.errors import ClusterError, usage
from tui.keyboard.keymap import check, shown
from tui.keyboard.keys import FORBIDDEN, Key, KeyConflict
from tui.keyboard.keytable import KEYMAP, PLACES

MAX_BYTES = 100_000
NEEDED = frozenset({"quit", "give_up", "step_back"})
"""Without a key for these one would not get out again."""
_WORDS = {"esc": "escape", "pgdn": "pagedown", "pgup": "pageup", "return": "enter", "del": "delete"}
_FOLLOWS = {"dag_rows": "table"}
"""A place whose keys are those of another, unless the file says otherwise."""
HEAD = """\
# Keys of the console. Keep what you change in cortex/keymap.toml under $XDG_CONFIG_HOME (~/.config); what is not
# there stays as it is. An empty list takes an action's keys away. Names are as here: ctrl-x, esc, pgdn, space, ?.
"""


def load(path: Path, table: Sequence[Key] = KEYMAP) -> tuple[Key, ...]:
    """The table with what the file changes; the table itself when there is no file. Raises ClusterError."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return tuple(table)
    except OSError as error:
        raise usage(f"{path} cannot be read: {error.strerror}.", "Check its permissions, or remove it.") from None
    if len(content) > MAX_BYTES:
        raise usage(f"{path} has more than {MAX_BYTES} bytes.", "Keep only what you change in it.")
    return merged(content.decode("utf-8", "replace"), str(path), table)


def merged(text: str, name: str, table: Sequence[Key] = KEYMAP) -> tuple[Key, ...]:
    """The table with what the text of a keymap.toml changes. Raises ClusterError that names file and line."""
    file = _KeyFile(text, name)
    changed = file.changes(table)
    for place, other in _FOLLOWS.items():
        for (at, action), keys in list(changed.items()):
            if at == other:
                changed.setdefault((place, action), keys)
    result = tuple(replace(key, keys=changed.get((key.place, key.name), key.keys)) for key in table)
    try:
        check(result)
    except KeyConflict as error:
        raise file.conflict(error) from None
    return result


class _KeyFile:
    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name

    def changes(self, table: Sequence[Key]) -> dict[tuple[str, str], tuple[str, ...]]:
        try:
            document = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise usage(
                f"{self._name} is not valid TOML: {error}.", "Correct it there; `cortex keymap` prints an example."
            ) from None
        changed: dict[tuple[str, str], tuple[str, ...]] = {}
        for place, entries in document.items():
            if place not in PLACES or not isinstance(entries, Mapping):
                raise self._wrong(place, "", f"there is no place {place!r}", near(place, PLACES))
            known = {key.name for key in table if key.place == place}
            for action, keys in entries.items():
                if action not in known:
                    raise self._wrong(place, action, f"[{place}] has no action {action!r}", near(action, known))
                changed[place, action] = self._keys(place, action, keys)
        return changed

    def _keys(self, place: str, action: str, value: object) -> tuple[str, ...]:
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            raise self._wrong(place, action, "keys are a text or a list of texts", f'Write {action} = ["x"].')
        names = tuple(dict.fromkeys(self._key(place, action, item) for item in values))
        if not names and action in NEEDED:
            raise self._wrong(place, action, f"{action} needs a key", "Without one there is no way out of it.")
        return names

    def _key(self, place: str, action: str, written: str) -> str:
        name = canonical(written)
        if name is None:
            raise self._wrong(
                place, action, f"there is no key {written!r}", "Names are as `cortex keymap` prints them."
            )
        if name in FORBIDDEN or name.startswith("alt+"):
            raise self._wrong(
                place, action, f"{written} does not work everywhere", "Over SSH or in tmux it breaks: take another."
            )
        return name

    def conflict(self, error: KeyConflict) -> ClusterError:
        """Told at the entry of the file that it comes of."""
        place, action = next(
            ((key.place, key.name) for key in reversed(error.keys) if self._line(key.place, key.name)), ("", "")
        )
        others = [f"[{key.place}] {key.name}" for key in error.keys if (key.place, key.name) != (place, action)]
        remedy = f"Give {' or '.join(others) or 'one of them'} another key as well, or choose another here."
        return self._wrong(place, action, str(error), remedy)

    def _wrong(self, place: str, action: str, cause: str, remedy: str) -> ClusterError:
        line = self._line(place, action)
        return usage(f"{self._name}{f', line {line}' if line else ''}: {cause}.", remedy)

    def _line(self, place: str, action: str) -> int:
        """Number of the line of an entry, or of its table; 0 when it is not found."""
        inside, head = False, 0
        for number, line in enumerate(self._text.splitlines(), 1):
            if match := re.match(r"\s*\[\s*[\"']?([\w -]+?)[\"']?\s*\]", line):
                inside = match[1] == place
                head = number if inside else head
            elif inside and action and re.match(rf"\s*[\"']?{re.escape(action)}[\"']?\s*=", line):
                return number
        return 0 if action else head


def canonical(written: str) -> str | None:
    """A key as Textual names it; None when there is no such key."""
    text = written.strip() or written
    name = re.sub(r"\b(ctrl|shift|alt)-(?=.)", r"\1+", text)
    modifiers, _, last = name.rpartition("+") if len(name) > 1 else ("", "", name)
    last = _WORDS.get(last, last)
    if len(last) == 1 and not last.isalnum():
        last = _named(last)
    plain = last.removeprefix("shift+")
    if not (len(last) == 1 and last.isprintable()) and plain not in _known():
        return None
    if not set(modifiers.split("+")) <= {"", "ctrl", "shift", "alt"}:
        return None
    return f"{modifiers}+{last}" if modifiers else last


def _named(character: str) -> str:
    if character == " ":
        return "space"
    name = unicodedata.name(character, "").lower().replace("-", "_").replace(" ", "_")
    return KEY_NAME_REPLACEMENTS.get(name, name)


def _known() -> frozenset[str]:
    return frozenset({_named(character) for character in string.punctuation} | {key.value for key in Keys})


def near(word: str, known: Iterable[str], otherwise: str = "`cortex keymap` prints all of them.") -> str:
    """A remedy for a wrong word: the known one that is most like it."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else otherwise


def written(table: Sequence[Key]) -> str:
    """The table as a keymap.toml."""
    parts = [HEAD]
    for place, spot in PLACES.items():
        rows = [key for key in table if key.place == place]
        if not rows or _FOLLOWS.get(place):
            continue
        parts.append(f"\n[{place}]  # {spot.title}\n")
        for key in rows:
            names = ", ".join(_quoted(shown(name)) for name in key.keys)
            parts.append(f"{f'{key.name} = [{names}]':<34} # {key.help}\n")
    return "".join(parts)


def _quoted(name: str) -> str:
    return "'\"'" if name == '"' else f'"{name}"' if name != "\\" else "'\\'"
