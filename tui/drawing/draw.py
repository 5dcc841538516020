"""How the console draws values: glyphs, bars, sparklines, compact ages. Pure; knows nothing of Textual.

A cell is a tuple of spans, a span is text and the role of its style; the palette of the theme gives roles colours.
State is always a glyph and a word, never a colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

from cortex.v1 import types_pb2
from tui.drawing.gist import gist, gist_key
from tui.drawing.text import clean, width_of

Span = tuple[str, str]
Cell = tuple[Span, ...]

EMPTY: Cell = ()

TASK_WORDS: dict[int, tuple[str, str, str]] = {
    # state: word, name of its glyph, role
    types_pb2.TASK_STATE_PENDING: ("pending", "pending", "dim"),
    types_pb2.TASK_STATE_QUEUED: ("queued", "queued", "wait"),
    types_pb2.TASK_STATE_ASSIGNED: ("assigned", "assigned", "wait"),
    types_pb2.TASK_STATE_RUNNING: ("running", "running", "busy"),
    types_pb2.TASK_STATE_COMPLETED: ("completed", "completed", "ok"),
    types_pb2.TASK_STATE_FAILED: ("failed", "failed", "bad"),
    types_pb2.TASK_STATE_CANCELLED: ("cancelled", "cancelled", "dim"),
    types_pb2.TASK_STATE_SKIPPED: ("skipped", "skipped", "dim"),
    types_pb2.TASK_STATE_DEAD_LETTER: ("dead letter", "dead", "bad"),
}

NODE_WORDS: dict[int, tuple[str, str, str]] = {
    types_pb2.NODE_STATE_PENDING_APPROVAL: ("pending", "pending", "wait"),
    types_pb2.NODE_STATE_ACTIVE: ("active", "active", "ok"),
    types_pb2.NODE_STATE_CORDONED: ("cordoned", "cordoned", "warn"),
    types_pb2.NODE_STATE_DRAINING: ("draining", "draining", "warn"),
    types_pb2.NODE_STATE_DRAINED: ("drained", "drained", "dim"),
    types_pb2.NODE_STATE_REMOVED: ("removed", "cancelled", "dim"),
}
OFFLINE = ("offline", "offline", "bad")


@dataclass(frozen=True)
class Glyphs:
    """One set of characters; every one is a single cell wide."""

    ascii_only: bool
    ellipsis: str
    cursor: str
    mark: str
    leader: str
    none: str
    bar_full: str
    bar_half: str
    bar_rest: str
    sparks: str
    thumb: str
    track: str
    ascending: str
    descending: str
    dot: str
    rule: str
    warning: str
    enter: str
    stderr: str
    text: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> str:
        return self.text.get(name, "?")


UNICODE = Glyphs(
    ascii_only=False,
    ellipsis="…",
    cursor="▌",
    mark="•",
    leader="★",
    none="–",
    bar_full="━",
    bar_half="╸",
    bar_rest="─",
    sparks="▁▂▃▄▅▆▇█",
    thumb="┃",
    track="│",
    ascending="▴",
    descending="▾",
    dot="·",
    rule="─",
    warning="▲",
    enter="↵",
    stderr="▎",
    text={
        "pending": "◌",
        "queued": "○",
        "assigned": "◔",
        "running": "▸",
        "completed": "✓",
        "failed": "✗",
        "cancelled": "⊘",
        "skipped": "↷",
        "dead": "☒",
        "active": "●",
        "cordoned": "◐",
        "draining": "◑",
        "drained": "○",
        "offline": "✗",
        "live": "●",
        "lost": "○",
    },
)

ASCII = Glyphs(
    ascii_only=True,
    ellipsis="~",
    cursor=">",
    mark="*",
    leader="L",
    none="-",
    bar_full="=",
    bar_half="=",
    bar_rest="-",
    sparks="_.:-=+*#",
    thumb="#",
    track="|",
    ascending="^",
    descending="v",
    dot="|",
    rule="-",
    warning="!",
    enter="enter",
    stderr="!",
    text={
        "pending": ".",
        "queued": "o",
        "assigned": "a",
        "running": ">",
        "completed": "+",
        "failed": "x",
        "cancelled": "/",
        "skipped": "~",
        "dead": "X",
        "active": "+",
        "cordoned": "!",
        "draining": "v",
        "drained": "o",
        "offline": "x",
        "live": "+",
        "lost": "x",
    },
)


def age(duration_us: int) -> str:
    """A duration in at most four characters: `7s`, `12m`, `26h`, `41d`; below a second `0s`."""
    seconds = max(0, duration_us) // 1_000_000
    if seconds < 100:
        return f"{seconds}s"
    if (minutes := seconds // 60) < 100:
        return f"{minutes}m"
    if (hours := minutes // 60) < 48:
        return f"{hours}h"
    return f"{min(hours // 24, 9999)}d"


def span_of_time(duration_us: int) -> str:
    """A run or wait time with useful precision in at most six characters: `0.42s`, `12.3s`, `4m07s`, `2h13m`."""
    duration_us = max(0, duration_us)
    seconds = duration_us / 1_000_000
    if seconds < 10:
        return f"{seconds:.2f}s"
    if seconds < 100:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 100:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 100 else f"{hours // 24}d{hours % 24:02d}h"


def clock(at_us: int) -> str:
    """Time of day in UTC, `HH:MM:SS.mmm`; days are the reader's to know."""
    milliseconds = at_us // 1000 % 86_400_000
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{milliseconds:03d}"


def bytes_of(count: float) -> str:
    """A size in at most five characters: `912B`, `4.2K`, `318M`, `1.9G` (powers of 1000)."""
    value = float(max(0, count))
    for unit in "BKMGTP":
        if value < 1000 or unit == "P":
            return f"{value:.0f}{unit}" if unit == "B" or value >= 9.95 else f"{value:.1f}{unit}"
        value /= 1000
    raise AssertionError


def count_of(number: int) -> str:
    """`1,234,567`."""
    return f"{number:,}"


def bar(value: float, total: float, width: int, role: str, glyphs: Glyphs) -> Cell:
    """A line `width` cells wide of which value / total is heavy; resolution is half a cell."""
    if width <= 0:
        return EMPTY
    share = 0.0 if total <= 0 or value != value else min(1.0, max(0.0, value / total))
    halves = round(share * width * 2)
    if share > 0 and halves == 0:
        halves = 1
    return _bar_of(halves, width, role, glyphs.bar_full, glyphs.bar_half, glyphs.bar_rest)


@lru_cache(maxsize=2048)
def _bar_of(halves: int, width: int, role: str, full: str, half: str, rest: str) -> Cell:
    filled = full * (halves // 2) + half * (halves % 2)
    spans = [(filled, role)] if filled else []
    if left := rest * (width - len(filled)):
        spans.append((left, "track"))
    return tuple(spans)


def stacked(parts: Sequence[tuple[float, str]], total: float, width: int, glyphs: Glyphs) -> Cell:
    """Parts of a total laid end to end; rounding the running sum keeps their errors from adding up."""
    spans: list[Span] = []
    used = 0
    reached = 0.0
    for value, role in parts:
        reached += max(0.0, value)
        end = min(width, round(width * reached / total)) if total > 0 else 0
        if end > used:
            spans.append((glyphs.bar_full * (end - used), role))
            used = end
    if used < width:
        spans.append((glyphs.bar_rest * (width - used), "track"))
    return tuple(spans)


def sparkline(values: Iterable[float | None], total: float, width: int, glyphs: Glyphs) -> str:
    """The last `width` values from the right; a value that is not known (None or NaN) is a gap, not a zero."""
    tail = list(values)[-width:] if width > 0 else []
    sparks = glyphs.sparks
    top = len(sparks) - 1
    drawn: list[str] = []
    for value in tail:
        if value is None or value != value:
            drawn.append(" ")
            continue
        share = value / total if total > 0 else 0.0
        drawn.append(sparks[top if share >= 1.0 else int(share * top + 0.5) if share > 0.0 else 0])
    return " " * (width - len(drawn)) + "".join(drawn)


def averaged(values: Sequence[float | None], end: int, span: int) -> list[float | None]:
    """The mean of each `span` values that belong together, of which the last is number `end` - 1 of all there were.

    Means stand still while values come: only the last, which is not whole, changes. What is half unknown is a gap;
    a first part of which more was known once is left out.
    """
    first = end - len(values)
    cells: list[float | None] = []
    for start in range(first - first % span, end, span):
        part = values[max(0, start - first) : start - first + span]
        if start >= first and None not in part and (total := sum(cast(Sequence[float], part))) == total:
            cells.append(total / len(part))
            continue
        known = [value for value in part if value is not None and value == value]
        if start >= first:
            cells.append(sum(known) / len(known) if 2 * len(known) > len(part) else None)
    return cells


def task_state(task: types_pb2.Task, glyphs: Glyphs, *, starting: bool = False) -> Cell:
    """Glyph and word; a cancel or migration that is asked for but not done is said, and that a service is ready, or
    is `starting` again.
    """
    word, glyph, role = TASK_WORDS.get(task.state, ("unknown", "?", "dim"))
    if task.cancel_requested and task.state in (types_pb2.TASK_STATE_ASSIGNED, types_pb2.TASK_STATE_RUNNING):
        return ((f"{glyphs.of('cancelled')} cancelling", "warn"),)
    if task.migrate_requested:
        return ((f"{glyphs.of('draining')} migrating", "warn"),)
    if task.lost_at_us:
        return ((f"{glyphs.of('lost')} lost", "bad"),)
    if task.ready_at_us and task.state == types_pb2.TASK_STATE_RUNNING:
        return ((f"{glyphs.of(glyph)} starting", "warn") if starting else (f"{glyphs.of(glyph)} ready", "ok"),)
    return ((f"{glyphs.of(glyph)} {word}", role),)


def node_state(node: types_pb2.Node, glyphs: Glyphs) -> Cell:
    """Glyph and word; an active node that cannot be reached is offline."""
    word, glyph, role = NODE_WORDS.get(node.state, ("unknown", "?", "dim"))
    if not node.online and node.state == types_pb2.NODE_STATE_ACTIVE:
        word, glyph, role = OFFLINE
    elif not node.online and node.state in (types_pb2.NODE_STATE_CORDONED, types_pb2.NODE_STATE_DRAINING):
        return ((f"{glyphs.of('offline')} {word}", "bad"),)
    return ((f"{glyphs.of(glyph)} {word}", role),)


def command_of(spec: types_pb2.TaskSpec) -> bytes:
    """The command as one would type it, or what a task without one is about."""
    if spec.shell_command:
        return bytes(spec.shell_command)
    return b" ".join(quoted(part) for part in spec.argv) if spec.argv else gist(spec.payload)


def command_label(spec: types_pb2.TaskSpec) -> str:
    """What `command_of` is called: a task of an agent has a prompt, not a command."""
    return "command" if spec.shell_command or spec.argv else gist_key(spec.payload) or "command"


def quoted(part: bytes) -> bytes:
    """One argument, in single quotes where a shell would need them."""
    safe = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_"
    if part and all(byte in safe for byte in part):
        return part
    return b"'" + part.replace(b"'", b"'\"'\"'") + b"'"


def plain(cell: Cell) -> str:
    return "".join(text for text, _ in cell)


def cell_width(cell: Cell) -> int:
    return sum(width_of(text) for text, _ in cell)


def foreign(text: str | bytes, role: str, glyphs: Glyphs) -> Cell:
    """A cell of text that came from outside."""
    return ((clean(text, ascii_only=glyphs.ascii_only), role),)
