"""The filter grammar of every view. Pure.

web !failed                 both: contains "web", does not contain "failed"
/^deploy-\\d+/               a regular expression (RE2), not minding case
state=running node!=n2      fields; `~` and `!~` match a regular expression
cpu>90 or (mem>80 age<2h)   comparisons with units, or, parentheses

A filter has at most 2,000 characters and is at most 32 deep, and no regular expression backtracks: however it is
written, it costs a time that is linear in what is looked at.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from tui.regex import RegexError, searcher

Row = TypeVar("Row")
Predicate = Callable[[Row], bool]

MAX_CHARS = 2000
MAX_DEPTH = 32

_TOKEN = re.compile(
    r"""\s*(?:(?P<paren>[()])
    |(?P<regex>/(?:[^/\\]|\\.)*(?:/|$))
    |(?P<quoted>"(?:[^"\\]|\\.)*(?:"|$))
    |(?P<field>[A-Za-z_][\w%]*)\s*(?P<op>!=|!~|<=|>=|=|~|<|>)\s*(?P<value>"(?:[^"\\]|\\.)*(?:"|$)|[^\s()]+|$)
    |(?P<bang>!)
    |(?P<word>[^\s()]+))""",
    re.VERBOSE,
)
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


class FilterError(Exception):
    """What is wrong with the text, and at which column (from 0)."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"{message} at column {column + 1}")
        self.message = message
        self.column = column


@dataclass(frozen=True)
class Field(Generic[Row]):
    """Something that a comparison can name: text, or a number (durations in seconds, sizes in bytes)."""

    name: str
    get: Callable[[Row], str | float | None]
    numeric: bool = False


@dataclass(frozen=True)
class Filter(Generic[Row]):
    source: str
    matches: Predicate[Row]


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    column: int
    op: str = ""
    value: str = ""
    value_column: int = 0


def parse(source: str, text: Callable[[Row], str], fields: Mapping[str, Field[Row]]) -> Filter[Row] | None:
    """The filter that the text stands for; None when it is blank. Raises FilterError.

    `text` gives a row's searchable text in lower case.
    """
    if len(source) > MAX_CHARS:
        raise FilterError(f"a filter has at most {MAX_CHARS:,} characters; there is more", MAX_CHARS)
    tokens = _tokens(source)
    if not tokens:
        return None
    parser = _Parser(tokens, text, fields, len(source))
    return Filter(source, parser.whole())


def _tokens(source: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while source[at:].strip():
        match = _TOKEN.match(source, at)
        if match is None:
            raise FilterError("cannot read this", at)
        kind = "field" if match["field"] is not None else match.lastgroup or "word"
        if kind == "field":
            tokens.append(
                _Token(
                    "field", match["field"], match.start("field"), match["op"], match["value"], match.start("value")
                )
            )
        else:
            tokens.append(_Token(kind, match[kind], match.start(kind)))
        at = match.end()
    return tokens


def _unquote(text: str) -> str:
    if text.startswith('"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1] if len(text) > 1 and text.endswith('"') else text[1:])
    return text


class _Parser(Generic[Row]):
    """Recursive descent: or binds weaker than and, which may be left out; ! binds strongest."""

    def __init__(
        self, tokens: list[_Token], text: Callable[[Row], str], fields: Mapping[str, Field[Row]], end: int
    ) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._text = text
        self._fields = fields
        self._end = end

    def whole(self) -> Predicate[Row]:
        predicate = self._any()
        if (token := self._peek()) is not None:
            raise FilterError(f"unexpected {token.text}", token.column)
        return predicate

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _is(self, kind: str, text: str) -> bool:
        token = self._peek()
        return token is not None and token.kind == kind and token.text.lower() == text

    def _any(self) -> Predicate[Row]:
        parts = [self._all()]
        while self._is("word", "or"):
            self._at += 1
            parts.append(self._all())
        if len(parts) == 1:
            return parts[0]
        return lambda row: any(part(row) for part in parts)

    def _all(self) -> Predicate[Row]:
        parts = [self._one()]
        while (token := self._peek()) is not None and not self._is("word", "or") and token.text != ")":
            if self._is("word", "and"):
                self._at += 1
            parts.append(self._one())
        if len(parts) == 1:
            return parts[0]
        return lambda row: all(part(row) for part in parts)

    def _one(self) -> Predicate[Row]:
        token = self._peek()
        if token is None:
            raise FilterError("something is missing", self._end)
        self._at += 1
        if token.kind == "bang" or (token.kind == "word" and token.text.lower() == "not"):
            self._deeper(token)
            inner = self._one()
            self._depth -= 1
            return lambda row: not inner(row)
        if token.kind == "paren":
            return self._group(token)
        if token.kind == "field":
            return self._comparison(token)
        if token.kind == "regex":
            body = token.text[1:-1] if len(token.text) > 1 and token.text.endswith("/") else token.text[1:]
            return self._search(_regex(body, token.column))
        if token.kind == "word" and token.text.lower() in ("and", "or"):
            raise FilterError(f"{token.text} needs something on both sides", token.column)
        return self._contains(_unquote(token.text))

    def _group(self, token: _Token) -> Predicate[Row]:
        if token.text == ")":
            raise FilterError("unexpected )", token.column)
        self._deeper(token)
        inner = self._any()
        if not self._is("paren", ")"):
            raise FilterError("( is never closed", token.column)
        self._at += 1
        self._depth -= 1
        return inner

    def _deeper(self, token: _Token) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FilterError(f"more than {MAX_DEPTH} deep", token.column)

    def _contains(self, word: str) -> Predicate[Row]:
        text = self._text
        needle = word.lower()
        return lambda row: needle in text(row)

    def _search(self, found: Callable[[str], bool]) -> Predicate[Row]:
        text = self._text
        return lambda row: found(text(row))

    def _comparison(self, token: _Token) -> Predicate[Row]:
        field = self._fields.get(token.text.lower())
        if field is None:
            known = ", ".join(sorted(self._fields))
            raise FilterError(f"no field {token.text} here; there are {known}", token.column)
        if not token.value:
            raise FilterError(f"{token.text}{token.op} needs a value", token.value_column)
        if token.value.startswith("="):
            raise FilterError(
                f"equal is written {token.text}=; quote a value that begins with =", token.value_column
            )
        if token.op in ("~", "!~"):
            return _matching(field, _regex(_unquote(token.value), token.value_column), token.op == "!~")
        if field.numeric:
            return _numeric(field, token.op, _quantity(token))
        return _textual(field, token.op, _unquote(token.value).lower(), token)


def _regex(body: str, column: int) -> Callable[[str], bool]:
    try:
        return searcher(body)
    except RegexError as error:
        raise FilterError(f"not a regular expression: {error}", column) from None


def _quantity(token: _Token) -> float:
    match = _QUANTITY.match(token.value)
    factor = _FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise FilterError(f"{token.text} is compared with a number, as 90, 2h or 512MB", token.value_column)
    return float(match[1]) * factor


def _numeric(field: Field[Row], op: str, wanted: float) -> Predicate[Row]:
    compare = _COMPARE[op]
    get = field.get

    def predicate(row: Row) -> bool:
        value = get(row)
        return value is not None and compare(float(value), wanted)

    return predicate


def _textual(field: Field[Row], op: str, wanted: str, token: _Token) -> Predicate[Row]:
    if op not in ("=", "!="):
        raise FilterError(f"{token.text} is text: use =, !=, ~ or !~", token.column)
    get = field.get
    negated = op == "!="
    if negated:
        return lambda row: str(get(row) or "").lower() != wanted
    return lambda row: str(get(row) or "").lower() == wanted


def _matching(field: Field[Row], found: Callable[[str], bool], negated: bool) -> Predicate[Row]:
    get = field.get
    return lambda row: found(str(get(row) or "")) is not negated
