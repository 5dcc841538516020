"""Which account an agent is to the model's API, as far as its project and flags may change that."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

_CLI = "claude"  # another program may take its account from anywhere
_SETTINGS = (".claude/settings.json", ".claude/settings.local.json")
_READ_BYTES = 256 * 1024
_FOLDERS = 32
# What names no account. Whatever else stands there may: a helper for keys, variables, a login.
_PLAIN_KEYS = frozenset(
    {
        "$schema",
        "attribution",
        "cleanupPeriodDays",
        "disabledMcpjsonServers",
        "enableAllProjectMcpServers",
        "enabledMcpjsonServers",
        "hooks",
        "includeCoAuthoredBy",
        "language",
        "outputStyle",
        "permissions",
        "spinnerTipsEnabled",
        "statusLine",
    }
)
_PLAIN_FLAGS = frozenset(
    {
        "--add-dir",
        "--allowed-tools",
        "--allowedTools",
        "--append-system-prompt",
        "--debug",
        "--disallowed-tools",
        "--disallowedTools",
        "--include-partial-messages",
        "--permission-mode",
        "--system-prompt",
        "--verbose",
    }
)


def of_project(program: str, place: str) -> str:
    """The same for folders whose settings name the same account; `place` itself where that cannot be told.

    Reads small files.
    """
    if not place or Path(program).name != _CLI:
        return place
    told = []
    for folder in [Path(place), *Path(place).parents][:_FOLDERS]:
        for name in _SETTINGS:
            try:
                told += _told(folder / name)
            except (OSError, ValueError, RecursionError):
                return place
    return hashlib.sha256("\n".join(told).encode("utf-8", "surrogatepass")).hexdigest() if told else ""


def of_flags(program: str, flags: Sequence[str]) -> list[str]:
    """Those that may name another account: all, unless each is known to name none."""
    names = [word.partition("=")[0] for word in flags if word.startswith("-")]
    return [] if Path(program).name == _CLI and _PLAIN_FLAGS.issuperset(names) else [*flags]


def _told(path: Path) -> list[str]:
    """What its settings say that is more than plain. Raises OSError and ValueError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return []
    with os.fdopen(fd, "rb") as file:
        found = json.loads(file.read(_READ_BYTES))
    if not isinstance(found, dict):
        return []
    told = {key: found[key] for key in sorted(found.keys() - _PLAIN_KEYS)}
    # A helper by a relative path is another one in each folder.
    place = [str(path.parent)] if any(map(_is_relative_path, told.values())) else []
    return place + [f"{key}={json.dumps(value, sort_keys=True)}" for key, value in told.items()]


def _is_relative_path(value: object) -> bool:
    return isinstance(value, str) and "/" in value and not value.startswith(("/", "~", "http:", "https:"))
