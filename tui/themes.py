"""Themes, and the palette that gives each drawing role its style."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

DARK = Theme(
    name="cortex-dark",
    primary="#7aa2c8",
    secondary="#5f7f9f",
    accent="#d7a65f",
    warning="#d7a65f",
    error="#d9706c",
    success="#86b187",
    foreground="#c3c9d1",
    background="#12161b",
    surface="#181d24",
    panel="#1f262f",
    dark=True,
    variables={
        "role-text": "#c3c9d1",
        "role-strong": "#e8ecf1",
        "role-dim": "#76818e",
        "role-track": "#343d48",
        "role-title": "#8e99a6",
        "role-accent": "#d7a65f",
        "role-ok": "#86b187",
        "role-wait": "#8fb0d6",
        "role-busy": "#6fc3c0",
        "role-warn": "#d7a65f",
        "role-bad": "#e07f7a",
        "role-key": "#8fb0d6",
        "term-cpu": "#6fc3c0",
        "term-memory": "#8fb0d6",
        "term-disk": "#a99bd3",
        "term-network": "#86b187",
        "term-gpu": "#d7a65f",
        "cursor-bg": "#26313d",
        "cursor-bg-away": "#1c232b",
        "mark-bg": "#2b2b22",
        "footer-key-foreground": "#8fb0d6",
        "input-selection-background": "#3a5068 60%",
    },
)

LIGHT = Theme(
    name="cortex-light",
    primary="#2f5f8f",
    secondary="#6d8aa8",
    accent="#8f5f00",
    warning="#8f5f00",
    error="#a83232",
    success="#2f6f3f",
    foreground="#2b3138",
    background="#f7f6f2",
    surface="#efede7",
    panel="#e5e2da",
    dark=False,
    variables={
        "role-text": "#2b3138",
        "role-strong": "#0d1116",
        "role-dim": "#6b727a",
        "role-track": "#cfccc3",
        "role-title": "#5d646c",
        "role-accent": "#8f5f00",
        "role-ok": "#2f6f3f",
        "role-wait": "#2f5f8f",
        "role-busy": "#0f6b69",
        "role-warn": "#8f5f00",
        "role-bad": "#a83232",
        "role-key": "#2f5f8f",
        "term-cpu": "#0f6b69",
        "term-memory": "#2f5f8f",
        "term-disk": "#5b4a94",
        "term-network": "#2f6f3f",
        "term-gpu": "#8f5f00",
        "cursor-bg": "#dbe4ec",
        "cursor-bg-away": "#ebe9e2",
        "mark-bg": "#f0e8cf",
        "footer-key-foreground": "#2f5f8f",
        "input-selection-background": "#b8cfe6 60%",
    },
)

_ROLES = (
    "text", "strong", "dim", "track", "title", "accent", "ok", "wait", "busy", "warn", "bad", "key",
)  # fmt: skip
_TERMS = ("cpu", "memory", "disk", "network", "gpu")
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
    if not colored:
        reverse = Style(reverse=True)
        return Palette(styles, reverse, Style(underline=True), Style(underline=True), Style())
    return Palette(
        styles,
        Style(bgcolor=variables["cursor-bg"]),
        Style(bgcolor=variables["cursor-bg-away"]),
        Style(bgcolor=variables["mark-bg"]),
        styles["text"],
    )


def _role(color: str | None, role: str, colored: bool) -> Style:
    if not colored:
        return Style(bold=True) if role in _BOLD else Style()
    return Style(color=color, bold=role == "strong" or None)


class WithoutColor(LineFilter):
    """NO_COLOR: bold, reverse and underline stay, every colour goes."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, style.without_color if style is not None else None, control)
            for text, style, control in segments
        ]
