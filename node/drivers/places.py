"""Folders that a task may work in: below the roots of this machine, also through links."""

from __future__ import annotations

import os
from collections.abc import Sequence


class PlaceError(Exception):
    """One sentence of cause, one of remedy."""


def place_of(path: str, roots: Sequence[str]) -> str:
    """Where `path` really is; empty for none. No roots: any folder. Raises PlaceError."""
    if not path:
        return ""
    real = os.path.realpath(path)
    if roots and not any(_below(real, os.path.realpath(root)) for root in roots):
        raise PlaceError(f"{path} is not below a folder that this machine allows. Use one of {', '.join(roots)}.")
    if not os.path.isdir(real) or not os.access(real, os.X_OK):
        raise PlaceError(f"There is no folder {path} on this machine. Correct project_path, or choose the node.")
    return real


def _below(path: str, root: str) -> bool:
    return os.path.commonpath([path, root]) == root
