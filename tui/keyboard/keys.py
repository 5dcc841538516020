"""What a key and a place are. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass


class KeyConflict(Exception):
    """Two actions of one place on one key, or a key that must not be used. `keys` are those that it is about."""

    def __init__(self, message: str, *keys: Key) -> None:
        super().__init__(message)
        self.keys = keys


@dataclass(frozen=True)
class Key:
    """One action and its keys, as Textual names them. `place` is where it works; `app` is everywhere.

    Without keys it is in the palette alone.
    """

    place: str
    keys: tuple[str, ...]
    action: str
    label: str
    """One or two words for the footer."""
    help: str
    """One sentence."""
    changes: bool = False
    """Whether it changes the cluster; then it opens a preview and does nothing itself."""
    footer: bool = False
    palette: bool = True

    @property
    def name(self) -> str:
        """Of the action, unique in its place; for files and the command line."""
        return re.sub(r"\W+", "_", self.label) if "(" in self.action else self.action


# Not used, for they break over SSH, in tmux or are other keys' control codes.
FORBIDDEN = frozenset(
    {"ctrl+s", "ctrl+q", "ctrl+h", "ctrl+i", "ctrl+j", "ctrl+m", "ctrl+space", "ctrl+at"}
    | {f"f{number}" for number in range(1, 25)}
)


@dataclass(frozen=True)
class Place:
    """Where keys work. A screen's keys and those of every widget that can be focused on it must not meet."""

    title: str
    widgets: tuple[str, ...] = ()
    everywhere: bool = True
    """Whether the keys of `app` work here too; not in dialogs."""
