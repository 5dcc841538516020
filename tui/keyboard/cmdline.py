"""The words of the command line `:`, how they are completed, and what is said of one that is none. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tui.keyboard.keymap import reachable
from tui.keyboard.keys import Key

MAX_CHARACTERS = 4096
MAX_OFFERED = 50
MAX_HISTORY = 200

Values = Callable[[str], Iterable[str]]
"""The values that an argument of a kind may have."""


@dataclass(frozen=True)
class Word:
    """One word of the command line."""

    name: str
    takes: str = ""
    """Kind of its argument; empty when it takes none."""
    help: str = ""
    key: Key | None = None
    """What it does without an argument."""

    @property
    def usage(self) -> str:
        return f":{self.name} {self.takes.upper()}".rstrip()


class CommandError(Exception):
    """One sentence of cause, one of remedy."""


_TAKING: tuple[tuple[str, str, str], ...] = (
    ("node", "node", "Open a node."),
    ("task", "task", "Open a task, by id or name."),
    ("workflow", "workflow", "Open a workflow as its DAG."),
    ("why", "task", "Why a task is where it is, or waits."),
    ("output", "task", "Show the output of a task."),
    ("filter", "filter", "Show only the rows that match."),
    ("sort", "column", "Sort by a column; the same again inverts."),
    ("theme", "theme", "Paint in another theme."),
    ("at", "moment", "Show the cluster as it was: an index, a time, or how long ago."),
    ("export", "path", "Write the table to a .csv or .json file, or the screen to an .svg."),
    ("cordon", "node", "Give a node no new tasks."),
    ("uncordon", "node", "Give a node new tasks again."),
    ("drain", "node", "Rehearse the drain of a node."),
    ("remove", "node", "Forget a drained worker."),
    ("cancel", "task", "Cancel a task."),
    ("retry", "task", "Queue an ended task again."),
    ("save", "name", "Keep filter, sort and columns of this view under a name."),
    ("load", "saved", "Arrange this view as it was saved."),
    ("forget", "saved", "Forget an arrangement that was saved."),
)
_ALIASES = {
    "q": "quit", "q!": "quit", "letters": "dead-letters", "dl": "dead-letters", "tasks": "queue", "h": "help",
    "wf": "workflows", "no": "nodes", "ev": "events", "ops": "operations", "w": "export", "views": "load",
}  # fmt: skip


def words(place: str, table: Sequence[Key], *, contexts: bool = False) -> dict[str, Word]:
    """Every word that is known at a place: what the palette has, and what takes an argument."""
    known: dict[str, Word] = {}
    for key in reachable(place, table):
        if key.palette:
            name = key.name.replace("_", "-")
            known.setdefault(name, Word(name, help=key.help, key=key))
    taking = (*_TAKING, ("ctx", "context", "Look at another cluster.")) if contexts else _TAKING
    for name, takes, said in taking:
        known[name] = Word(name, takes, said, known[name].key if name in known else None)
    return known


def split(text: str) -> tuple[str, str]:
    """The word, by its full name, and its argument."""
    name, _, argument = text.strip().removeprefix(":").strip().partition(" ")
    name = name.lower().replace("_", "-")
    return _ALIASES.get(name, name), argument.strip()


def find(text: str, known: dict[str, Word]) -> tuple[Word, str]:
    """The word and its argument. Raises CommandError."""
    name, argument = split(text)
    word = known.get(name)
    if word is None:
        close = difflib.get_close_matches(name, [*known, *_ALIASES], n=1, cutoff=0.5)
        remedy = f"Did you mean :{close[0]}?" if close else "Tab shows what there is."
        raise CommandError(f"There is no word {name!r} here. {remedy}")
    if argument and not word.takes:
        raise CommandError(f":{name} takes nothing behind it. Leave {argument!r} out.")
    if not argument and word.takes and word.key is None:
        raise CommandError(f":{name} needs more. Write {word.usage}.")
    return word, argument


def completions(text: str, known: dict[str, Word], values: Values) -> list[str]:
    """Whole lines that the text may become, best first."""
    name, space, argument = text.removeprefix(":").partition(" ")
    if not space:
        begun = name.lower().replace("_", "-")
        return [word for word in sorted(known) if word.startswith(begun)][:MAX_OFFERED]
    word = known.get(split(name)[0])
    if word is None or not word.takes:
        return []
    head, last = "", argument
    if word.takes == "filter":
        at = max(argument.rfind(mark) for mark in " (!") + 1
        head, last = argument[:at], argument[at:]
    found: list[str] = []
    for value in values(word.takes):
        if value.lower().startswith(last.lower()):
            found.append(f"{name} {head}{value}")
            if len(found) >= MAX_OFFERED:
                break
    return found


def longer(text: str, offered: Sequence[str]) -> str:
    """The text with what all that is offered begins with."""
    first, last = min(offered, default=""), max(offered, default="")
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), None)
    common = first[: min(len(first), len(last)) if same is None else same]
    return common if len(common) > len(text) else text


class History:
    """What was said before, oldest first; walked up and down while a line is written."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._at = 0
        self._draft = ""

    def add(self, line: str) -> None:
        """Remember a line, and stand behind it."""
        if line and self._lines[-1:] != [line]:
            self._lines.append(line)
            del self._lines[:-MAX_HISTORY]
        self.leave()

    def leave(self) -> None:
        self._at, self._draft = len(self._lines), ""

    def step(self, by: int, shown: str) -> str:
        """The line before (-1) or after (1); what was being written is behind the last."""
        if self._at == len(self._lines):
            self._draft = shown
        self._at = max(0, min(len(self._lines), self._at + by))
        return self._draft if self._at == len(self._lines) else self._lines[self._at]
