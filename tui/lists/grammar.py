"""The filter grammar of every view and of the command line, as a tree. Pure.

web !failed                 both: contains "web", does not contain "failed"
/^deploy-\\d+/               a regular expression (RE2), not minding case
state=running node!=n2      fields; `~` and `!~` match a regular expression
cpu>90 or (mem>80 age<2h)   comparisons with units, or, parentheses

`read(show(tree)) == tree` for every tree that `read` gives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_CHARS = 2000
MAX_DEPTH = 32

_TOKEN = re.compile(
    r"""\s*(?:(?P<paren>[()])
    |/(?P<regex>(?:[^/\\]|\\.)*)(?:/|$)
    |(?P<quoted>"(?:[^"\\]|\\.)*(?:"|$))
    |(?P<field>[A-Za-z_][\w%]*)\s*(?P<op>!=|!~|<=|>=|=|~|<|>)\s*(?P<value>"(?:[^"\\]|\\.)*(?:"|$)|[^\s()]+|$)
    |(?P<bang>!)
    |(?P<word>[^\s()]+))""",
    re.VERBOSE | re.DOTALL,
)
_OPERATORS = frozenset("=!~<>")
_BARE_VALUE = re.compile(r'[^\s()"=][^\s()]*')


class FilterError(Exception):
    """What is wrong with the text, and at which column (from 0)."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"{message} at column {column + 1}")
        self.message = message
        self.column = column


@dataclass(frozen=True)
class Word:
    """The row's text contains it, not minding case."""

    text: str
    column: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Regex:
    """The row's text matches it somewhere."""

    body: str
    column: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Compare:
    """A field beside a value, as it was written but for its quotes."""

    name: str
    op: str
    value: str
    column: int = field(default=0, compare=False)
    value_column: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Not:
    inner: Tree


@dataclass(frozen=True)
class All:
    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Either:
    parts: tuple[Tree, ...]


Tree = Word | Regex | Compare | Not | All | Either


def read(source: str) -> Tree | None:
    """The tree that the text stands for; None when it is blank. Raises FilterError."""
    if len(source) > MAX_CHARS:
        raise FilterError(f"a filter has at most {MAX_CHARS:,} characters; there is more", MAX_CHARS)
    tokens = _tokens(source)
    return _Reader(tokens, len(source)).whole() if tokens else None


def show(tree: Tree) -> str:
    """The tree as a text that reads back to it."""
    match tree:
        case Word(text):
            return text if _is_bare(text) else _quoted(text)
        case Regex(body):
            return f"/{body}/"
        case Compare(name, op, value):
            return f"{name}{op}{value if _BARE_VALUE.fullmatch(value) else _quoted(value)}"
        case Not(inner):
            return f"!{_inside(inner, (All, Either))}"
        case All(parts):
            return " ".join(_inside(part, (All, Either)) for part in parts)
        case Either(parts):
            return " or ".join(_inside(part, (Either,)) for part in parts)


def _inside(tree: Tree, wrapped: tuple[type, ...]) -> str:
    return f"({show(tree)})" if isinstance(tree, wrapped) else show(tree)


def _quoted(text: str) -> str:
    return '"' + re.sub(r'([\\"])', r"\\\1", text) + '"'


def _is_bare(text: str) -> bool:
    """Whether the word is read as itself without quotes."""
    match = _TOKEN.fullmatch(text)
    # Behind a word, what begins as an operator would be read as one.
    plain = text[:1] not in _OPERATORS and text.lower() not in ("and", "or", "not")
    return match is not None and match["word"] == text and plain


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    closed = re.fullmatch(r'"(?:[^"\\]|\\.)*"', text, re.DOTALL)
    return re.sub(r"\\(.)", r"\1", text[1:-1] if closed else text[1:], flags=re.DOTALL)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    column: int
    tree: Tree | None = None


def _tokens(source: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while source[at:].strip():
        match = _TOKEN.match(source, at)
        if match is None:
            raise FilterError("cannot read this", at)
        tokens.append(_token(match))
        at = match.end()
    return tokens


def _token(match: re.Match[str]) -> _Token:
    if match["field"] is not None:
        column, value = match.start("field"), match["value"]
        if value.startswith("="):
            message = f"equal is written {match['field']}=; quote a value that begins with ="
            raise FilterError(message, match.start("value"))
        if not value:
            raise FilterError(f"{match['field']}{match['op']} needs a value", match.start("value"))
        name = match["field"].lower()
        tree = Compare(name, match["op"], _unquoted(value), column, match.start("value"))
        return _Token("leaf", match["field"], column, tree)
    kind = match.lastgroup or "word"
    text, column = match[kind], match.start(kind)
    if kind == "regex":
        return _Token("leaf", f"/{text}/", column - 1, Regex(text, column - 1))
    if kind == "quoted":
        return _Token("leaf", text, column, Word(_unquoted(text), column))
    return _Token(kind, text, column, Word(text, column) if kind == "word" else None)


class _Reader:
    """Recursive descent: or binds weaker than and, which may be left out; ! binds strongest."""

    def __init__(self, tokens: list[_Token], end: int) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._end = end

    def whole(self) -> Tree:
        tree = self._any()
        if (token := self._peek()) is not None:
            raise FilterError(f"unexpected {token.text}", token.column)
        return tree

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _is(self, kind: str, text: str) -> bool:
        token = self._peek()
        return token is not None and token.kind == kind and token.text.lower() == text

    def _any(self) -> Tree:
        parts = [self._all()]
        while self._is("word", "or"):
            self._at += 1
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _all(self) -> Tree:
        parts = [self._one()]
        while self._peek() is not None and not self._is("word", "or") and not self._is("paren", ")"):
            if self._is("word", "and"):
                self._at += 1
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self) -> Tree:
        token = self._peek()
        if token is None:
            raise FilterError("something is missing", self._end)
        self._at += 1
        if token.kind == "bang" or (token.kind == "word" and token.text.lower() == "not"):
            self._deeper(token)
            inner = self._one()
            self._depth -= 1
            return Not(inner)
        if token.kind == "paren":
            return self._group(token)
        if token.kind == "word" and token.text.lower() in ("and", "or"):
            raise FilterError(f"{token.text} needs something on both sides", token.column)
        assert token.tree is not None
        return token.tree

    def _group(self, token: _Token) -> Tree:
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
