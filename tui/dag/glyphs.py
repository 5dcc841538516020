"""The characters that DAGs are drawn with; every one is a single cell wide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tui.dag.graph import State

Span = tuple[str, str]
"""Text and the role of its style."""
Cell = tuple[Span, ...]

ROLES: Mapping[State, str] = {
    State.WAITING: "dim",
    State.READY: "wait",
    State.RUNNING: "busy",
    State.DONE: "ok",
    State.FAILED: "bad",
    State.SKIPPED: "dim",
    State.CANCELLED: "dim",
}


@dataclass(frozen=True)
class DagGlyphs:
    """One set. The rail tells a lane that ends in a join (`end_*`) from one that goes on (`tee_*`, `join`)."""

    node: str
    group: str
    """Stands for several tasks."""
    lane: str
    """A lane, also where a line crosses it without touching."""
    line: str
    join: str
    tee_right: str
    tee_left: str
    end_right: str
    """Comes from above and goes right; `end_left` and `end_both` alike."""
    end_left: str
    end_both: str
    turn_right: str
    """Goes down and right; `turn_left` and `tee_down` alike."""
    turn_left: str
    tee_down: str
    feed_right: str
    """In front of a lane on the right that the node's own edges join; `feed_left` alike. Only on the rail."""
    feed_left: str
    cut: str
    times: str
    leads_to: str
    bar_full: str
    bar_half: str
    bar_rest: str
    states: Mapping[State, str]
    """Beside counts, the same as elsewhere in the console."""
    nodes: Mapping[State, str]
    """For a node among lines: none of them is a character of a line."""

    @property
    def ascii_only(self) -> bool:
        return self.lane.isascii()


UNICODE = DagGlyphs(
    node="●",
    group="⊞",
    lane="│",
    line="─",
    join="┼",
    tee_right="├",
    tee_left="┤",
    end_right="╰",
    end_left="╯",
    end_both="┴",
    turn_right="╭",
    turn_left="╮",
    tee_down="┬",
    feed_right="→",
    feed_left="←",
    cut="…",
    times="×",
    leads_to="→",
    bar_full="█",
    bar_half="▌",
    bar_rest="░",
    states={
        State.WAITING: "◌",
        State.READY: "○",
        State.RUNNING: "▸",
        State.DONE: "✓",
        State.FAILED: "✗",
        State.SKIPPED: "↷",
        State.CANCELLED: "⊘",
    },
    nodes={
        State.WAITING: "◌",
        State.READY: "○",
        State.RUNNING: "▸",
        State.DONE: "●",
        State.FAILED: "✗",
        State.SKIPPED: "↷",
        State.CANCELLED: "⊘",
    },
)

ASCII = DagGlyphs(
    node="*",
    group="#",
    lane="|",
    line="-",
    join="+",
    tee_right="+",
    tee_left="+",
    end_right="`",
    end_left="'",
    end_both="'",
    turn_right="+",
    turn_left="+",
    tee_down="+",
    feed_right=">",
    feed_left="<",
    cut="~",
    times="x",
    leads_to=">",
    bar_full="#",
    bar_half="=",
    bar_rest=".",
    states={
        State.WAITING: ".",
        State.READY: "o",
        State.RUNNING: ">",
        State.DONE: "+",
        State.FAILED: "x",
        State.SKIPPED: "~",
        State.CANCELLED: "/",
    },
    nodes={
        State.WAITING: ".",
        State.READY: "o",
        State.RUNNING: ">",
        State.DONE: "*",
        State.FAILED: "x",
        State.SKIPPED: "~",
        State.CANCELLED: "/",
    },
)
