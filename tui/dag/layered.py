"""Layers from left to right, parents left of children; for graphs that are small enough to be seen whole."""

from __future__ import annotations

from dataclasses import dataclass

from tui.dag.glyphs import DagGlyphs
from tui.dag.graph import Graph

NODES = 200
"""As many as it draws; above, the rail is shown."""


@dataclass(frozen=True)
class Place:
    """Where a node stands: its line, and the cells of its glyph and label."""

    key: str
    x: int
    y: int
    width: int


def too_large(graph: Graph) -> str:
    """Why layers do not show it, in a sentence; empty when they do."""
    if len(graph) <= NODES:
        return ""
    return (
        f"{len(graph):,} rows are too many for layers, which show at most {NODES}; fold some, or stay on the rail."
    )


class Layered:
    """`width` x `height` cells; `places[key]` says where a node is."""

    def __init__(self, graph: Graph, labels: dict[str, str] | None = None) -> None:
        raise NotImplementedError

    width: int
    height: int
    places: dict[str, Place]

    def text(self, y: int, glyphs: DagGlyphs, *, left: int = 0, width: int | None = None) -> str:
        raise NotImplementedError
