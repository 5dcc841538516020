"""Durations, sizes, ages, times and tables as plain text. Pure: what time it is comes as an argument."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tui.drawing.text import Align, clean, fit, width_of

MAX_DURATION_MS = 10 * 365 * 86_400_000
_DURATION_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE_UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)},
    **{prefix: 1000**power for power, prefix in enumerate("kmgt", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)},
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
# Cells of a column that shrinks: at least, and below which optional columns go instead.
_LEAST = 8
_READABLE = 20
# Widest cell that the whole column is made as wide as, where nothing is cut.
_ALIGNED = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_duration_ms(text: str) -> int:
    """Milliseconds of `30s`, `1h30m`, `500ms`, or of a bare number of seconds. Raises ValueError."""
    said = text.strip().lower()
    try:
        total = float(said) * 1000
    except ValueError:
        parts = _DURATION_PART.findall(said)
        if not parts or "".join(number + unit for number, unit in parts) != said:
            raise ValueError(f"{clean(text)!r} is no duration; write it as 30s, 5m or 1h30m") from None
        total = sum(float(number) * _DURATION_UNITS_MS[unit] for number, unit in parts)
    if not 0 <= total <= MAX_DURATION_MS:
        raise ValueError(f"{clean(text)!r} is not between 0 and ten years")
    return round(total)


def parse_size_bytes(text: str, bare_unit: str = "") -> int:
    """Bytes of `512MB` (10^6) or `2GiB` (2^30); a bare number counts in `bare_unit`. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    unit = (match.group(2) or bare_unit).lower() if match else None
    if match is None or unit not in _SIZE_UNITS:
        raise ValueError(f"{clean(text)!r} is no size; write it as 512MB or 2GiB")
    return math.ceil(float(match.group(1)) * _SIZE_UNITS[unit])


def parse_time_us(text: str, now_us: int) -> int:
    """Unix microseconds of an RFC 3339 time, or of a duration before now. Raises ValueError with a sentence."""
    try:
        return now_us - parse_duration_ms(text) * 1000
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{clean(text)!r} is not a time; write it as 2026-01-31T12:00:00Z, or as 30m for half an hour ago"
        ) from None
    moment = moment if moment.tzinfo else moment.astimezone()
    return (moment - _EPOCH) // timedelta(microseconds=1)


def rfc3339(at_us: int) -> str:
    """UTC with microseconds, as 2026-01-31T12:00:00.000001Z."""
    moment = _EPOCH + timedelta(microseconds=at_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def duration(length_us: int) -> str:
    """At most two units: `0.4s`, `12s`, `1h30m`, `3d4h`."""
    seconds = max(0, length_us) / 1e6
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, size, lower, lower_size in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // lower_size
            return f"{whole // size}{unit}" + (f"{rest}{lower}" if rest else "")
    return f"{whole}s"


def age(at_us: int, now_us: int) -> str:
    """How long ago that was; `-` for never."""
    return duration(now_us - at_us) if at_us else "-"


def size(count_bytes: int) -> str:
    """Decimal units with three digits: `512 B`, `1.50 kB`, `16.0 GB`."""
    if count_bytes < 1000:
        return f"{count_bytes} B"
    value = float(count_bytes)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


@dataclass(frozen=True)
class Column:
    """One column. What `shrinks` is cut when the table is wider than the terminal, what is `optional` left out."""

    title: str
    align: Align = "left"
    shrinks: bool = False
    optional: bool = False


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    paint: Callable[[str, str], str] = lambda title, cell: cell,
) -> list[str]:
    """Lines of a plain table, two spaces between columns.

    Cells are cleaned here. `width` in cells (None = unlimited) bounds what shrinks and is optional; `paint` gets a
    column's title and a padded cell and may add colour. Without a width a very long cell stands whole in its own
    line and moves only what is behind it there.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [
        max([width_of(column.title), *(_aligned(row[number], width is None) for row in cells)])
        for number, column in enumerate(columns)
    ]
    if width is not None:
        shown = _fitting(columns, widths, width)
        columns = [columns[number] for number in shown]
        widths = _shrunk(columns, [widths[number] for number in shown], width)
        cells = [[row[number] for number in shown] for row in cells]
    lines = ["  ".join(fit(c.title, w, c.align) for c, w in zip(columns, widths, strict=True)).rstrip()]
    for row in cells:
        painted = [
            paint(column.title, fit(cell, wide, column.align) if width is not None else _whole(cell, wide, column))
            for column, cell, wide in zip(columns, row, widths, strict=True)
        ]
        lines.append("  ".join(painted).rstrip())
    return lines


def _aligned(cell: str, whole: bool) -> int:
    """Cells that a column keeps free for this one; what is very long is no measure for the others."""
    wide = width_of(cell)
    return wide if not whole or wide <= _ALIGNED else 0


def _whole(cell: str, wide: int, column: Column) -> str:
    return cell if width_of(cell) > wide else fit(cell, wide, column.align)


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Numbers of the columns to show: fewer optional ones, from the right, where others would be cut short."""
    shown = list(range(len(columns)))
    for number in reversed([number for number in shown if columns[number].optional]):
        least = sum(min(widths[n], _READABLE) if columns[n].shrinks else widths[n] for n in shown)
        if least + 2 * (len(shown) - 1) > width:
            shown.remove(number)
    return shown


def _shrunk(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Widths with the widest of what shrinks cut, cell by cell, until all fit or none is wider than eight."""
    found = list(widths)
    over = sum(found) + 2 * (len(found) - 1) - width
    able = [number for number, column in enumerate(columns) if column.shrinks and found[number] > _LEAST]
    while over > 0 and able:
        widest = max(able, key=lambda number: found[number])
        found[widest] -= 1
        over -= 1
        able = [number for number in able if found[number] > _LEAST]
    return found
