"""Actions on dead letters, by id and by cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cortex.v1 import types_pb2
from tui.actions.base import ActionsBase, Question, Stage
from tui.columns.base import Draw
from tui.plans import letters
from tui.plans.base import MAX_IDS, Plan
from tui.source import SourceError
from tui.store.letters import NO_CAUSE

MAX_CAUSES = 1000
MAX_REASON_CHARS = 200
MAX_NOTE_CHARS = 500

MakeOfCauses = Callable[[Draw, Sequence[str], letters.Found], Plan]


class LetterActions(ActionsBase):
    """Retry, canary, discard, edit and retry, annotate."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._reason = ""

    def retry_causes(self, keys: Sequence[str]) -> None:
        self._of_causes(keys, letters.retry_causes)

    def canary(self, keys: Sequence[str]) -> None:
        self._of_causes(keys, lambda draw, chosen, _found: letters.canary(draw, chosen))

    def discard_causes(self, keys: Sequence[str]) -> None:
        """Asks for the reason first."""

        def with_reason(reason: str) -> None:
            self._of_causes(keys, partial(_discard_causes, reason=reason))

        self._ask_reason(keys, with_reason)

    def discard(self, ids: Sequence[str]) -> None:
        """Asks for the reason first."""

        def with_reason(reason: str) -> None:
            self._preview(lambda: letters.discard(self._stage.fresh_drawing(), ids, reason))

        self._ask_reason(ids, with_reason)

    def annotate(self, ids: Sequence[str]) -> None:
        if not ids or self._refused() or self._too_many(ids, MAX_IDS):
            return
        count = "1 task" if len(ids) == 1 else f"{len(ids)} tasks"

        def noted(text: str) -> None:
            self._preview(lambda: letters.annotate(self._stage.fresh_drawing(), ids, text))

        check = partial(_flaw, "a note", MAX_NOTE_CHARS)
        self._stage.ask(Question(f"Annotate {count}", "For the next one who looks", check=check), noted)

    def edit(self, key: str) -> None:
        """Open the task's specification in an editor; what was made of it is shown, then run."""
        if key and not self._refused():
            self._stage.start("edit", self._edit(key))

    def _ask_reason(self, chosen: Sequence[str], then: Callable[[str], None]) -> None:
        if not chosen or self._refused() or self._too_many(chosen):
            return

        def given(reason: str) -> None:
            self._reason = reason
            then(reason)

        check = partial(_flaw, "a reason", MAX_REASON_CHARS)
        hint = "The reason of last time; write over it." if self._reason else ""
        self._stage.ask(
            Question("Discard dead letters", "Why, for those who look later", self._reason, hint, check), given
        )

    def _of_causes(self, keys: Sequence[str], make: MakeOfCauses) -> None:
        """Show the plan at once, and again when the letters that it means are read."""
        if not keys or self._refused():
            return
        found: dict[str, Sequence[str]] = {}
        self._preview(lambda: make(self._stage.fresh_drawing(), keys, found))
        self._stage.start("letters", self._read(keys, found))

    async def _read(self, keys: Sequence[str], found: dict[str, Sequence[str]]) -> None:
        source, view = self._stage.source, self._stage.fresh_drawing().view
        try:
            view.letters.put(await source.list_causes(MAX_CAUSES))
            for key in keys:
                if key != NO_CAUSE:
                    states = (types_pb2.TASK_STATE_DEAD_LETTER,)
                    reply = await source.list_tasks(states, MAX_IDS, cause=key)
                    for task in reply.tasks:
                        view.put_task(task)
                    found[key] = [task.id for task in reply.tasks]
        except SourceError:
            return  # the plan stands as it is shown; the cluster judges it
        self._stage.refresh_preview()

    async def _edit(self, key: str) -> None:
        from tui.written import specfile
        from tui.written.taskspec import BadField

        stage = self._stage
        path: Path | None = None
        try:
            task = (await stage.source.get_task(key)).task
            before = specfile.dump(task)
            after, path = await stage.edit(before, f"cortex-{task.id}.yaml")
            spec = specfile.parse(after, task)
        except SourceError as error:
            stage.say(f"{error.message} {error.remedy}".strip(), "bad")
        except BadField as error:
            where = f" What you wrote is in {path}." if path is not None else ""
            stage.say(f"Nothing was retried: {error}.{where}", "bad")
        else:
            stage.forget_edit(path)
            if after == before or spec == task.spec:
                self._say("Nothing was changed, and nothing retried; {letters.retry} retries it as it is.", "warn")
                return
            difference = specfile.difference(before, after)
            self._preview(lambda: letters.edited_retry(stage.fresh_drawing(), task.id, spec, difference))


def _discard_causes(draw: Draw, keys: Sequence[str], found: letters.Found, *, reason: str) -> Plan:
    return letters.discard_causes(draw, keys, found, reason)


def _flaw(what: str, most: int, text: str) -> str:
    """What is wrong with a text, in a sentence."""
    if not text:
        return f"There is no text: give {what}, or esc to do nothing."
    return f"It has {len(text)} characters, the limit is {most}: shorten it." if len(text) > most else ""
