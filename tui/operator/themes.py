"""The palette that gives each drawing role its style, out of a theme's variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

_ROLES = (
    "text", "strong", "dim", "track", "title", "accent", "ok", "wait", "busy", "warn", "bad", "key",
)  # fmt: skip
_TERMS = ("cpu", "memory", "disk", "network", "gpu")
_OWN = "ansi_default"
"""A background of the terminal's own."""
_BOLD = frozenset({"strong", "bad", "key"})


@dataclass(frozen=True)
class Palette:
    """A style for each role, and the backgrounds of rows."""

    styles: Mapping[str, Style]
    cursor: Style
    cursor_away: Style
    marked: Style
    plain: Style

    def style(self, role: str) -> Style:
        return self.styles.get(role, self.plain)


def palette(variables: Mapping[str, str], *, no_color: bool = False) -> Palette:
    """From a theme's variables; one of another theme, or no colour, falls back to attributes alone."""
    colored = not no_color and "role-text" in variables
    styles = {role: _role(variables.get(f"role-{role}"), role, colored) for role in _ROLES}
    styles |= {f"term-{term}": _role(variables.get(f"term-{term}"), term, colored) for term in _TERMS}
    if not colored or variables["cursor-bg"] == _OWN:
        reverse, under = Style(reverse=True), Style(underline=True)
        return Palette(styles, reverse, under, under, styles["text"])
    return Palette(
        styles,
        Style(bgcolor=variables["cursor-bg"]),
        Style(bgcolor=variables["cursor-bg-away"]),
        Style(bgcolor=variables["mark-bg"]),
        styles["text"],
    )


def _role(color: str | None, role: str, colored: bool) -> Style:
    if not colored or color is None:
        return Style(bold=True) if role in _BOLD else Style()
    # Textual and Rich name the terminal's own colours differently.
    return Style(color=color.removeprefix("ansi_"), bold=role == "strong" or None)


class WithoutColor(LineFilter):
    """NO_COLOR: bold, reverse and underline stay, every colour goes."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, style.without_color if style is not None else None, control)
            for text, style, control in segments
        ]
