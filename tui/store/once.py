"""What is asked again and again, and made only when it may be another. Pure."""

from __future__ import annotations

from collections.abc import Callable

from tui.drawing.draw import Cell


class OnceEach:
    """Lines by their name, each with what it was made of."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[object, Cell]] = {}

    def line(self, name: str, of: object, make: Callable[[], Cell]) -> Cell:
        """The line as it was made last where it is made `of` the same as then."""
        kept = self._kept.get(name)
        if kept is None or kept[0] != of:
            kept = self._kept[name] = (of, make())
        return kept[1]
