"""What a field of nodes shows of each: its score, or how full it is. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tui.columns.nodes import cpu_percent, gpu_percent, memory_percent
from tui.drawing.draw import Span
from tui.drawing.heatmap import LEVELS, Level
from tui.store.nodes import NodeRow
from tui.store.score import full_score


@dataclass(frozen=True)
class Shade:
    """What a field shows of its rows."""

    name: str
    title: str
    value: Callable[[Any], float | None]
    """A share of one; None = not known."""
    mark: Callable[[Any], Span | None] = lambda _row: None
    """Shown instead of the value, one cell wide."""
    levels: Sequence[Level] = LEVELS


_ROLES = ("bad", "warn", "wait", "ok", "ok")
HIGH_IS_GOOD = tuple(replace(level, role=role) for level, role in zip(LEVELS, _ROLES, strict=True))


def _score(row: NodeRow) -> float | None:
    view = row.view
    full = full_score(view.terms, view.weights) if view is not None and view.scored else 0.0
    # Weights that are all the GPU's leave nothing to be scored by.
    return view.score / full if view is not None and full else None


def _share(percent: Callable[[NodeRow], float | None]) -> Callable[[NodeRow], float | None]:
    def value(row: NodeRow) -> float | None:
        found = percent(row)
        return None if found is None else found / 100

    return value


def _offline(row: NodeRow) -> Span | None:
    """An x in both glyph sets: it is not reached, whatever it last measured."""
    return None if row.node.online else ("x", "bad")


NODE_SHADES: tuple[Shade, ...] = (
    Shade("score", "SCORE as share of full", _score, _offline, HIGH_IS_GOOD),
    Shade("cpu", "CPU in use", _share(cpu_percent), _offline),
    Shade("memory", "MEMORY in use", _share(memory_percent), _offline),
    Shade("gpu", "GPU in use (the idlest of a node)", _share(gpu_percent), _offline),
)
