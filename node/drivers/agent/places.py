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
        raise PlaceError(
            f"Project folder {real} is not there on this node, or cannot be entered. Create it or name another."
        )
    return real
