"""What an operator chose in files of his own: keys, and how the console behaves."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tui.errors import usage
from tui.keyboard import keyfile
from tui.keyboard.keyfile import near
from tui.keyboard.keys import Key
from tui.keyboard.keytable import KEYMAP
from tui.link.target import Folders
from tui.operator.theme_list import THEMES

MAX_BYTES = 100_000


@dataclass(frozen=True)
class Preferences:
    """As they are without any file. All but the keys are in console.toml, by these names."""

    keys: Sequence[Key] = KEYMAP
    theme: str = ""
    """Name of a theme; empty for one that suits the terminal."""
    mouse: bool = False
    """Whether the terminal's mouse is the console's. Without it the terminal selects text as ever."""
    bell: bool = False
    """Ring on what an operator should look at."""
    notify: bool = False
    """Tell the desktop the same, by OSC 9."""
    actor: str = ""
    """Who the operator is to the cluster, as `uid:1000`; not in a file."""


def load(folders: Folders) -> Preferences:
    """Both files. Raises ClusterError that names file and entry."""
    return Preferences(keyfile.load(folders.keymap), actor=f"uid:{os.getuid()}", **_console(folders.console))


def _console(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        document = tomllib.loads(content.decode("utf-8", "replace") if len(content) <= MAX_BYTES else "=")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise usage(f"{path} cannot be read: {error.strerror}.", "Check its permissions, or remove it.") from None
    except tomllib.TOMLDecodeError as error:
        raise usage(f"{path} is not valid TOML: {error}.", "Correct it there, or remove it.") from None
    known = {
        field.name: type(field.default) for field in fields(Preferences) if field.name not in ("keys", "actor")
    }
    for name, value in document.items():
        kind = known.get(name)
        if kind is None:
            raise usage(f"{path}: there is no setting {name!r}.", near(name, known, "See docs/console.md."))
        if type(value) is not kind:
            raise usage(
                f"{path}: {name} is {value!r}.", "Write true or false." if kind is bool else "Write a text."
            )
    if (theme := document.get("theme", "")) and theme not in THEMES:
        raise usage(f"{path}: there is no theme {theme!r}.", f"There are: {', '.join(THEMES)}.")
    return document
