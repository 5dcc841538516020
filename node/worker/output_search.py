"""Lines of one stream that match an expression, with lines around them: by blocks, in bounded memory and time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from node.payloads import patterns

BLOCK_BYTES = 256 * 1024
CONTEXT_LIMIT = 100
MATCHES_LIMIT = 100_000
TEXT_BYTES = 4 * 1024


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for; an expression is that of RE2, whose time is linear in the text."""

    pattern: str
    ignore_case: bool = False
    context: int = 0  # lines before and after a match, at most CONTEXT_LIMIT


@dataclass(frozen=True, slots=True)
class Line:
    number: int  # from 1
    offset: int  # of its first byte
    text: bytes  # without its end, at most TEXT_BYTES
    matches: bool  # else it is context


class Search:
    """Goes over one stream; `read` gives bytes from an offset, empty at the end.

    A line that is longer than a block is searched in pieces. Raises BadPayload when the expression is none.
    """

    def __init__(self, query: Query, read: Callable[[int, int], bytes]) -> None:
        sensitive = not query.ignore_case
        self._line = patterns.compiled("pattern", query.pattern, case_sensitive=sensitive)
        self._text = patterns.compiled("pattern", query.pattern, case_sensitive=sensitive, of_lines=True)
        self._context = query.context
        self._read = read
        self._rest = b""
        self._number = 1
        self._before: deque[Line] = deque(maxlen=query.context)
        self._after = 0
        self.offset = 0
        """Bytes read so far."""
        self.done = False

    def step(self) -> list[Line]:
        """What one block has. Reads a file, and may take some milliseconds."""
        data = self._read(self.offset, BLOCK_BYTES)
        base = self.offset - len(self._rest)
        self.offset += len(data)
        text = self._rest + data
        cut = len(text) if not data else text.rfind(b"\n") + 1
        if not cut and len(text) >= BLOCK_BYTES:
            cut = len(text)
        self.done = not data
        self._rest = text[cut:]
        return list(self._search(text[:cut], base)) if cut else []

    def _search(self, text: bytes, base: int) -> Iterator[Line]:
        at = 0  # where the first line begins that nothing was said of
        number = self._number
        found = self._text.search(text, 0)
        while found is not None:
            begin = text.rfind(b"\n", 0, found.start()) + 1
            if begin >= len(text):
                break
            end = _end(text, begin)
            if self._line.search(text[begin:end].removesuffix(b"\r")) is not None:
                yield from self._between(text, base, at, begin, number)
                number += text.count(b"\n", at, begin)
                yield _line(text, base, begin, end, number, True)
                number += 1
                at = end + 1
                self._after = self._context
            if end + 1 >= len(text):
                break
            found = self._text.search(text, end + 1)
        yield from self._between(text, base, at, len(text), number, last=True)
        self._number += text.count(b"\n")

    def _between(
        self, text: bytes, base: int, at: int, until: int, number: int, last: bool = False
    ) -> Iterator[Line]:
        """Of lines that do not match those after the match before, and those before the next one."""
        if not self._context:
            return
        while self._after and at < until:
            end = _end(text, at)
            yield _line(text, base, at, end, number, False)
            at, number, self._after = end + 1, number + 1, self._after - 1
        begins = _last_lines(text, at, until, self._context)
        number += text.count(b"\n", at, begins[0]) if begins else 0
        for step, begin in enumerate(begins):
            self._before.append(_line(text, base, begin, _end(text, begin), number + step, False))
        if not last:
            yield from self._before
            self._before.clear()


def _end(text: bytes, begin: int) -> int:
    end = text.find(b"\n", begin)
    return end if end >= 0 else len(text)


def _last_lines(text: bytes, at: int, until: int, count: int) -> list[int]:
    """Where the last `count` lines between `at` and `until` begin."""
    found: list[int] = []
    while until > at and len(found) < count:
        until = max(at, text.rfind(b"\n", at, until - 1) + 1)
        found.append(until)
    return found[::-1]


def _line(text: bytes, base: int, begin: int, end: int, number: int, matches: bool) -> Line:
    shown = text[begin : min(end, begin + TEXT_BYTES)].removesuffix(b"\r")
    return Line(number, base + begin, shown, matches)
