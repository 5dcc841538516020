"""What the leader asks about a condition, and what it hears. The simulator brings its own Judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Question:
    """`inputs` is a JSON object: what the expression sees as `parent` and `workflow`.

    `syntax_only`: nothing is evaluated, and the answer's error says why it cannot be read.
    """

    expression: str
    inputs: bytes = b""
    syntax_only: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """`error` says in one sentence why there is no verdict; `value` is False then."""

    value: bool
    error: str = ""
    timed_out: bool = False


class Unanswered(Exception):
    """Whoever was to answer ended before it did. That says nothing about the condition: ask again."""


class Crashed(Unanswered):
    """Its process ended over the question, which may have been the condition's doing."""


class Judge(Protocol):
    """Evaluates JavaScript expressions, one after the other."""

    async def judge(self, question: Question) -> Answer:
        """Raises Unanswered."""

    async def close(self) -> None:
        """Let go of what it holds; the next judge() begins anew."""
