"""What a filter's tree means for rows: one at a time, or many at once. Pure.

A filter is bounded (grammar.py) and no regular expression backtracks: however it is written, it costs a time that
is linear in what is looked at.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Generic, TypeVar

from tui.lists.grammar import All, Compare, Either, FilterError, Not, Regex, Tree, Word, read
from tui.lists.regex import RegexError, searcher, surely

Row = TypeVar("Row", bound=Hashable)
Predicate = Callable[[Row], bool]
Text = Callable[[Row], str]
Value = str | float | None

_QUANTITY = re.compile(r"(-?\d+(?:\.\d+)?)\s*([A-Za-z%]*)$")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FACTORS = {
    "": 1.0,
    "%": 1.0,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
    "k": 1e3,
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
    "tb": 1e12,
    "kib": 2.0**10,
    "mib": 2.0**20,
    "gib": 2.0**30,
    "tib": 2.0**40,
}
_MAX_KNOWN_VALUES = 1000
"""Of a field with few values, as a state, each is judged once."""


@dataclass(frozen=True)
class Field(Generic[Row]):
    """Something that a comparison can name: text, or a number (durations in seconds, sizes in bytes)."""

    name: str
    get: Callable[[Row], Value]
    numeric: bool = False
    words: Collection[str] = ()
    """All that it can be, where that is known: to look for anything else is an error, not a table without rows."""
    at: Callable[[Row, int], float | None] | None = None
    """In place of `get` for what depends on the time, given in microseconds, as an age does."""


def no_value(_row: object) -> None:
    """What a field is without the time, where that is nothing."""


def timed(
    name: str, microseconds: Callable[[Row, int], int | None], get: Callable[[Row], Value] | None = None
) -> Field[Row]:
    """A field in seconds of what a row and the time give in microseconds; `get`: what it comes to be."""

    def seconds(row: Row, now_us: int) -> float | None:
        value = microseconds(row, now_us)
        return None if value is None else value / 1e6

    return Field(name, get or no_value, numeric=True, at=seconds)


def since(name: str, get: Callable[[Row], int]) -> Field[Row]:
    """How long ago that time in microseconds was; 0 stands for never."""
    return timed(name, lambda row, now_us: max(0, now_us - get(row)) if get(row) else None)


@dataclass(frozen=True)
class Filter(Generic[Row]):
    """`select` keeps the order; over many rows it costs a fraction of asking `matches` for each."""

    source: str
    matches: Predicate[Row]
    select: Callable[[Sequence[Row]], Sequence[Row]]
    timed: bool = False
    """Whether time alone can make a row match, or match no more."""


def no_time_given() -> int:
    """All ages are 0."""
    return 0


def parse(
    source: str, text: Text[Row], fields: Mapping[str, Field[Row]], now_us: Callable[[], int] = no_time_given
) -> Filter[Row] | None:
    """The filter that the text stands for; None when it is blank. Raises FilterError.

    `text` gives a row's searchable text in lower case, `now_us` the leader's time by which ages are judged. A field
    may be named by the beginning of its name where no other begins so.
    """
    tree = read(source)
    if tree is None:
        return None
    known = _Known(fields, now_us)
    matches, select = _meaning(tree, text, known)
    return Filter(source, matches, select, known.timed)


class _Known(Generic[Row]):
    """The fields that a comparison can name; `timed` once it named one of the time."""

    def __init__(self, fields: Mapping[str, Field[Row]], now_us: Callable[[], int]) -> None:
        self._fields = fields
        self._now_us = now_us
        self.timed = False

    def named(self, tree: Compare) -> Field[Row]:
        """The field, with `get` as of now. Raises FilterError."""
        name = tree.name.rstrip("%").lower()
        begun = [name] if name in self._fields else [one for one in self._fields if one.startswith(name)]
        if len(begun) != 1:
            if begun:
                known = ", ".join(sorted(begun))
                raise FilterError(f"more than one field begins with {tree.name}: {known}", tree.column)
            raise FilterError(f"no field {tree.name} here{_instead(name, self._fields)}", tree.column)
        field = self._fields[begun[0]]
        at, now_us = field.at, self._now_us
        if at is None:
            return field
        self.timed = True
        return replace(field, get=lambda row: at(row, now_us()))


_Meaning = tuple[Predicate[Row], Callable[[Sequence[Row]], Sequence[Row]]]


def _meaning(tree: Tree, text: Text[Row], fields: _Known[Row]) -> _Meaning[Row]:
    match tree:
        case Word(word):
            return _containing(word.lower(), text)
        case Regex(body, column):
            return _searching(body, column, text)
        case Compare():
            return _by_one(_comparison(tree, fields))
        case Not(inner):
            return _without(_meaning(inner, text, fields))
        case All(parts):
            return _all([_meaning(part, text, fields) for part in parts])
        case Either(parts):
            return _either([_meaning(part, text, fields) for part in parts])


def _by_one(matches: Predicate[Row]) -> _Meaning[Row]:
    return matches, lambda rows: [row for row in rows if matches(row)]


def _containing(needle: str, text: Text[Row]) -> _Meaning[Row]:
    return lambda row: needle in text(row), lambda rows: [row for row in rows if needle in text(row)]


def _searching(body: str, column: int, text: Text[Row]) -> _Meaning[Row]:
    found = _regex(body, column)
    needle = surely(body)

    def select(rows: Sequence[Row]) -> Sequence[Row]:
        # Most rows are told by a plain search, which costs a tenth of an expression's.
        likely = [row for row in rows if needle in text(row)] if needle else rows
        return [row for row in likely if found(text(row))]

    return lambda row: needle in text(row) and found(text(row)), select


def _without(inner: _Meaning[Row]) -> _Meaning[Row]:
    matches, select = inner

    def rest(rows: Sequence[Row]) -> Sequence[Row]:
        taken = set(select(rows))
        return [row for row in rows if row not in taken]

    return lambda row: not matches(row), rest


def _all(parts: Sequence[_Meaning[Row]]) -> _Meaning[Row]:
    def select(rows: Sequence[Row]) -> Sequence[Row]:
        for _, narrow in parts:
            rows = narrow(rows)
        return rows

    return lambda row: all(matches(row) for matches, _ in parts), select


def _either(parts: Sequence[_Meaning[Row]]) -> _Meaning[Row]:
    def select(rows: Sequence[Row]) -> Sequence[Row]:
        taken: set[Row] = set()
        for _, part in parts:
            taken.update(part(rows))
        return [row for row in rows if row in taken]

    return lambda row: any(matches(row) for matches, _ in parts), select


def _comparison(tree: Compare, fields: _Known[Row]) -> Predicate[Row]:
    field = fields.named(tree)
    if tree.op in ("~", "!~"):
        found = _regex(tree.value, tree.value_column)
        return _textual(field, found, tree.op == "!~")
    if field.numeric:
        return _numeric(field, tree.op, _quantity(tree))
    if tree.op not in ("=", "!="):
        raise FilterError(f"{tree.name} is text: use =, !=, ~ or !~", tree.column)
    wanted = tree.value.lower()
    if field.words and wanted not in field.words:
        raise FilterError(
            f"no {field.name} is called {tree.value}{_instead(wanted, field.words)}", tree.value_column
        )
    return _textual(field, lambda value: value.lower() == wanted, tree.op == "!=")


def _instead(wanted: str, known: Collection[str]) -> str:
    """What may have been meant comes first: there is not always room for all there are."""
    meant = get_close_matches(wanted, sorted(known), 1)
    return f"{f', but {meant[0]}' if meant else ''}; there are {', '.join(sorted(known))}"


def _regex(body: str, column: int) -> Callable[[str], bool]:
    try:
        return searcher(body)
    except RegexError as error:
        raise FilterError(f"not a regular expression: {error}", column) from None


def _quantity(tree: Compare) -> float:
    match = _QUANTITY.match(tree.value)
    factor = _FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise FilterError(f"{tree.name} is compared with a number, as 90, 2h or 512MB", tree.value_column)
    return float(match[1]) * factor


def _numeric(field: Field[Row], op: str, wanted: float) -> Predicate[Row]:
    compare = _COMPARE[op]
    get = field.get

    def predicate(row: Row) -> bool:
        value = get(row)
        return value is not None and compare(float(value), wanted)

    return predicate


def _textual(field: Field[Row], found: Callable[[str], bool], negated: bool) -> Predicate[Row]:
    get = field.get
    known: dict[Value, bool] = {}

    def predicate(row: Row) -> bool:
        value = get(row)
        verdict = known.get(value)
        if verdict is None:
            verdict = found(str(value or "")) is not negated
            if len(known) < _MAX_KNOWN_VALUES:
                known[value] = verdict
        return verdict

    return predicate
