"""Handlers by name, as they stand in the modules that a pool was given."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

from node.pool.api import MARK, NAME_LIMIT_CHARS

HANDLERS_LIMIT = 64
"""Each is a capability of its node, and a node has a hundred at most."""

Handler = Callable[..., Any]


class CannotLoad(Exception):
    """One sentence of cause, one of remedy."""


def load(modules: Sequence[str]) -> dict[str, Handler]:
    """Import them; every marked function in them and in what is below them, by name. Raises CannotLoad."""
    for name in modules:
        try:
            importlib.import_module(name)
        except BaseException as error:
            if isinstance(error, ModuleNotFoundError) and error.name == name:
                remedy = f"Install {name} for the pool's interpreter, or add its folder to `path`"
                raise CannotLoad(f"There is no module {name}. {remedy}, and restart the daemon.") from None
            reason = f"{type(error).__name__}: {error}".rstrip(".")
            remedy = f"Correct {name}, and restart the daemon."
            raise CannotLoad(f"Module {name} cannot be imported: {reason}. {remedy}") from error
    below = tuple(f"{name}." for name in modules)
    found: dict[str, Handler] = {}
    for module in [one for key, one in sorted(sys.modules.items()) if key in modules or key.startswith(below)]:
        for each in list(vars(module).values()):
            mark = getattr(each, MARK, None) if inspect.isfunction(each) else None
            if isinstance(mark, str):
                _add(found, mark, each)
    if len(found) > HANDLERS_LIMIT:
        message = f"The modules have {len(found)} handlers, the limit is {HANDLERS_LIMIT}."
        raise CannotLoad(f"{message} Name fewer modules, or let a key of the data choose, and restart the daemon.")
    return dict(sorted(found.items()))


def _add(found: dict[str, Handler], name: str, function: Handler) -> None:
    plain = name.replace("_", "").replace("-", "").replace(".", "")
    if not (plain.isascii() and plain.isalnum()) or len(name) > NAME_LIMIT_CHARS:
        remedy = f"Use at most {NAME_LIMIT_CHARS} letters, digits, dots, dashes and underscores."
        raise CannotLoad(f"The handler name {name[:200]!r} in {function.__module__} is not one. {remedy}")
    if found.setdefault(name, function) is not function:
        places = f"{found[name].__module__} and {function.__module__}"
        raise CannotLoad(f"Two functions of {places} are the handler {name}. Rename one, and restart the daemon.")
