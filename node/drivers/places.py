"""The folder that an agent works in."""

from __future__ import annotations

import os


class PlaceError(Exception):
    """One sentence of cause, one of remedy."""


def entered(real: str) -> str:
    """`real`, which had no links when it was allowed; empty for the task's own folder. Raises PlaceError."""
    if not real:
        return ""
    if os.path.realpath(real) != real or not os.path.isdir(real) or not os.access(real, os.X_OK):
        raise PlaceError(f"There is no folder {real} on this machine. Correct project_path, or choose the node.")
    return real
