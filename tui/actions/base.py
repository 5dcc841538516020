"""What every action does: make a plan, show it, and tell how it went.

While the console is read-only nothing here asks the source for a mutator.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cortex.v1 import cluster_pb2
from tui.columns.base import Draw
from tui.drawing.draw import count_of
from tui.keyboard.wording import filled
from tui.past.view import REFUSED
from tui.plans.base import MAX_CHOSEN, Done, Plan
from tui.source import Source


@dataclass(frozen=True)
class Question:
    """One line of text that an action needs of the operator."""

    title: str
    label: str
    initial: str = ""
    hint: str = ""
    """One sentence below the line."""
    check: Callable[[str], str] = lambda _text: ""
    """What is wrong with an answer, in a sentence with its remedy; empty when it is good."""


class Form(Protocol):
    """The form of a new task, while it is open."""

    def say(self, text: str, role: str = "text") -> None: ...

    def close(self) -> None: ...


Review = Callable[[cluster_pb2.TaskRequest, str], None]
"""Called with what the form makes, and the same as a command line."""


class Stage(Protocol):
    """Where actions show themselves; the app implements it."""

    @property
    def source(self) -> Source: ...

    @property
    def read_only(self) -> bool: ...

    @property
    def in_past(self) -> bool:
        """Whether a past moment is shown: nothing can be changed there."""
        ...

    def fresh_drawing(self) -> Draw: ...

    def say(self, text: str, role: str = "text") -> None:
        """Show a sentence in the footer for a few seconds."""
        ...

    def clear_note(self) -> None: ...

    def preview(self, make: Callable[[], Plan], then: Callable[[Done | None], None]) -> None:
        """Show the plan; it is made again when it is confirmed. `then` is told what was done, None for nothing."""
        ...

    def ask(self, question: Question, then: Callable[[str], None]) -> None:
        """Show a dialog with one line; `then` is called with a good answer, and not at all when it is given up."""
        ...

    def rehearse(self, node: str, number: int, count: int, then: Callable[[Done | None], None]) -> None:
        """Show the sheet of a drain, the `number`th of `count`; `then` is told what was done, None for nothing."""
        ...

    def open_drain(self, operation: str) -> None:
        """Show how the drain goes."""
        ...

    def refresh_preview(self) -> None:
        """More is known: make the plan that is shown anew, if there is one."""
        ...

    async def edit(self, text: str, name: str) -> tuple[str, Path]:
        """What the operator made of it in an editor, while the console stands aside; and the file that has it.

        Raises SourceError.
        """
        ...

    def forget_edit(self, path: Path) -> None:
        """The file is not needed any more."""
        ...

    def submit_form(self, review: Review) -> Form: ...

    def start(self, group: str, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside the console; it ends the one before it of its group."""
        ...

    def carried_out(self, done: Done) -> None:
        """Clear the marks, say what was done, and offer to undo it where that can be."""
        ...


class ActionsBase:
    """Over a stage. The areas derive from it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def _preview(self, make: Callable[[], Plan]) -> None:
        if not self._refused():
            self._stage.preview(make, self._done)

    def _preview_of(self, ids: Sequence[str], make: Callable[[], Plan]) -> None:
        """As _preview, unless nothing is chosen."""
        if ids and not self._too_many(ids):
            self._preview(make)

    def _too_many(self, ids: Sequence[str], most: int = MAX_CHOSEN) -> bool:
        """Says so, before anything is asked or shown."""
        if len(ids) > most:
            less = "filter them into fewer with {app.filter}, or take a cause, a workflow or a node as a whole"
            self._say(f"{count_of(len(ids))} are marked, {count_of(most)} at once are the most: {less}.", "warn")
        return len(ids) > most

    def _done(self, done: Done | None) -> None:
        if done is not None:
            self._stage.carried_out(done)

    def _say(self, text: str, role: str) -> None:
        """A sentence that names keys."""
        self._stage.say(filled(text, self._stage.fresh_drawing().word), role)

    def _refused(self) -> bool:
        if self._stage.in_past:
            self._say(REFUSED, "warn")
            return True
        if self._stage.read_only:
            self._say("Read-only: {app.read_only} turns it off.", "warn")
        return self._stage.read_only
