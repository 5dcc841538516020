"""Where actions show themselves when the console is a conversation: said in lines, confirmed in words."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cortex.v1 import types_pb2
from tui.actions.base import Form, Question, Review
from tui.columns.base import Draw
from tui.columns.operations import progress
from tui.console.undo import OwnOperations
from tui.details.drain import differences
from tui.documents import drain_view
from tui.drawing.draw import Cell, plain
from tui.drawing.format import duration, parse_duration_ms
from tui.plans.base import Done, Plan
from tui.plans.drain import drain
from tui.plans.submit import submit_command
from tui.source import Source, SourceError
from tui.store.drains import PLAN_CODES, DrainOptions, blocker, fates, window_ms
from tui.store.view import ClusterView
from tui.written.taskspec import task_request

MAX_SAID = 200
"""Objects of a plan that are read out one by one."""
MAX_REASON_CHARS = 200
Then = Callable[[Done | None], None]
Answer = Callable[[str], Awaitable[None]]
_FIELD = re.compile(r"[a-z_]+=")


class LineStage:
    """Implements tui.actions.base.Stage. After an action `settle` says what it would do; the next line answers."""

    in_past = False

    def __init__(
        self,
        source: Source,
        view: ClusterView,
        draw: Callable[[], Draw],
        say: Callable[[str], None],
        *,
        read_only: bool,
    ) -> None:
        self.source, self.read_only = source, read_only
        self._view, self._draw, self._say = view, draw, say
        self._own = OwnOperations()
        self._works: list[Coroutine[Any, Any, None]] = []
        self._shown: tuple[Callable[[], Plan], Then] | None = None
        self._answer: Answer | None = None
        self._fields: dict[str, str] = {}
        self._options = DrainOptions()

    # For the conversation.

    @property
    def waits(self) -> bool:
        """Whether the next line is an answer."""
        return self._answer is not None

    async def answer(self, line: str) -> None:
        answered, self._answer = self._answer, None
        if answered is not None:
            await answered(line.strip())
        await self.settle()

    async def settle(self) -> None:
        """Do what an action started, then say what it would do, if it has come so far."""
        while self._works:
            await self._works.pop(0)
        if self._shown is not None:
            make, then = self._shown
            self._shown = None
            self._present(make(), make, then)

    def close(self) -> None:
        """Forget what was started."""
        for work in self._works:
            work.close()
        self._works.clear()

    def news(self) -> list[str]:
        """How what was begun here ended, each told once."""
        return [text for text, _ in self._own.news(self._draw())]

    def undoable(self) -> str:
        """Id of the newest operation that was asked for here and has not begun; empty when there is none."""
        pending = self._own.pending(self._view)
        return pending[0].id if pending else ""

    def fill_in(self, text: str) -> None:
        """What `submit` is to run: `name=a on=b -- command`, or a command alone. Raises ValueError."""
        head, dashes, command = f" {text} ".partition(" -- ")
        words = head.split()
        if not dashes or not all(_FIELD.match(word) for word in words):
            words, command = [], text
        if not command.strip():
            raise ValueError("Say what is run, as: submit name=hello -- echo hello")
        self._fields = dict(word.split("=", 1) for word in words) | {"command": command.strip()}

    def choose_options(self, words: Sequence[str]) -> list[str]:
        """Takes the options of a drain out of the words behind it; returns the others. Raises ValueError."""
        chosen, rest = DrainOptions(), []
        for word in words:
            name, _, value = word.partition("=")
            if word == "hold":
                chosen = replace(chosen, hold=True)
            elif word == "force":
                chosen = replace(chosen, force=True)
            elif word == "keep-cordoned":
                chosen = replace(chosen, keep_cordoned=True)
            elif name == "deadline" and value:
                chosen = replace(chosen, deadline_ms=0 if value == "none" else parse_duration_ms(value))
            elif name == "parallel" and value.isdecimal() and 0 < int(value) <= 100_000:
                chosen = replace(chosen, max_parallel=int(value))
            elif name == "message" and 0 < len(value) <= 200:
                chosen = replace(chosen, message=value)
            elif word.isdecimal():
                rest.append(word)
            else:
                raise ValueError(f"A drain has no option {word}; type help for those there are")
        self._options = chosen
        return rest

    # For the actions.

    def fresh_drawing(self) -> Draw:
        return self._draw()

    def say(self, text: str, role: str = "text") -> None:
        self._say(text)

    def clear_note(self) -> None:
        """What was said was said."""

    def start(self, group: str, work: Coroutine[Any, Any, None]) -> None:
        self._works.append(work)

    def preview(self, make: Callable[[], Plan], then: Then) -> None:
        self._shown = (make, then)

    def refresh_preview(self) -> None:
        """It is said only when all of it is known."""

    def ask(self, question: Question, then: Callable[[str], None]) -> None:
        initial = f" An empty line means: {question.initial}." if question.initial else ""
        self._say(f"{question.title}. {question.label}?{initial}")
        if question.hint and not question.initial:
            self._say(question.hint)

        async def answered(line: str) -> None:
            text = line or question.initial
            if not text:
                self._say("Nothing was done.")
            elif flaw := question.check(text):
                self._say(f"{flaw} Nothing was done.")
            else:
                then(text)

        self._answer = answered

    def rehearse(self, node: str, number: int, count: int, then: Then) -> None:
        self._works.append(self._rehearse(node, then, None))

    def open_drain(self, operation: str) -> None:
        row = self._view.operations.get(operation)
        said = plain(progress(row, self._draw())) if row is not None else "it has only just been asked for"
        self._say(f"How it goes: {said}. Type operations to look again.")

    async def edit(self, text: str, name: str) -> tuple[str, Path]:
        raise SourceError("Nothing is edited line by line.", "Use `cortex retry --edit`.")

    def forget_edit(self, path: Path) -> None:
        """There is none."""

    def submit_form(self, review: Review) -> Form:
        async def filled_in() -> None:
            try:
                request = task_request(self._fields)
            except ValueError as error:
                self._say(f"{error}. Nothing was submitted.")
            else:
                review(request, submit_command(self._fields))

        self._works.append(filled_in())
        return _SpokenForm(self._say)

    def carried_out(self, done: Done) -> None:
        ids = [key for key in (*done.audit, done.operation) if key]
        self._own.add(ids)
        self._say(f"{done.said} Operation {' '.join(ids)}." if ids else done.said)

    # Saying and confirming.

    def _present(self, plan: Plan, make: Callable[[], Plan], then: Then) -> None:
        self._say(plan.title + "." if plan.objects else f"There is nothing to {plan.verb}.")
        objects = plan.objects[:MAX_SAID]
        for head, cells in (("", objects), ("Left out: ", plan.left_out[:MAX_SAID]), ("", plan.consequences)):
            for cell in cells:
                self._say(head + _text(cell))
        if more := len(plan.objects) - len(objects):
            self._say(f"and {more} more.")
        if plan.objects:
            self._confirm(plan, make, then)
        else:
            then(None)

    def _confirm(
        self, plan: Plan, make: Callable[[], Plan], then: Then, refused: Callable[[SourceError], bool] | None = None
    ) -> None:
        phrase = f"{plan.verb} {plan.radius}"
        reason = " A reason may follow on the same line." if plan.with_reason is not None else ""
        self._say(f"To do it, type: {phrase}. Anything else does nothing.{reason}")

        async def answered(line: str) -> None:
            why = line[len(phrase) :]
            if line[: len(phrase)].lower() != phrase or (why and not why[0].isspace()):
                return self._leave("Nothing was done.", then)
            now = make()
            if why.strip():
                if now.with_reason is None:
                    return self._leave("It takes no reason, and nothing was done.", then)
                if len(why.strip()) > MAX_REASON_CHARS:
                    return self._leave(
                        f"A reason has {MAX_REASON_CHARS} characters at most; nothing was done.", then
                    )
                now = now.with_reason(why.strip())
            if not now.objects or not plan.still_covers(now):
                return self._leave("It has changed meanwhile, and nothing was done. Ask again.", then)
            try:
                done = await now.call(self.source.mutator())
            except SourceError as error:
                if refused is None or not refused(error):
                    self._leave(f"{error.message} {error.remedy}".strip(), then)
            else:
                then(done)

        self._answer = answered

    def _leave(self, said: str, then: Then) -> None:
        self._say(said)
        then(None)

    # A drain: its plan is the daemon's, so a refused one is rehearsed anew.

    async def _rehearse(self, node: str, then: Then, former: types_pb2.DrainPlan | None) -> None:
        try:
            found = (await self.source.rehearse_drain(self._options.request(node))).plan
        except SourceError as error:
            self._leave(f"{error.message} {error.remedy}".strip(), then)
            return
        if former is not None:
            self._say("The new rehearsal says otherwise:")
            for cell in differences(former, found, self._draw()):
                self._say(_text(cell))
        self._say_sheet(found)
        if why := blocker(found, "add the word force"):
            self._leave(why, then)
            return
        plan = drain(self._draw(), found)
        self._say(f"The same on the command line: {plan.command}")

        def refused(error: SourceError) -> bool:
            if error.code not in PLAN_CODES:
                return False
            self._say(error.message)
            self._works.append(self._rehearse(node, then, found))
            return True

        self._confirm(plan, lambda: plan, then, refused)

    def _say_sheet(self, plan: types_pb2.DrainPlan) -> None:
        names = {key: row.name for key in fates(plan) if (row := self._view.tasks.get(key)) is not None}
        self._say(f"Drain {plan.node}, rehearsed at log index {plan.index}. Nothing was changed.")
        stuck = sorted(plan.stuck, key=lambda one: (not one.dead_letter, one.task))
        lines = [
            (
                one.task,
                "becomes a dead letter at the deadline" if one.dead_letter else "has nowhere to go",
                one.reason,
            )
            for one in stuck
        ]
        lines += [
            (one.task, f"lands on {one.to}" if one.to else "waits for room", one.reason) for one in plan.moves
        ]
        for key, fate, reason in lines[:MAX_SAID]:
            self._say(f"{names.get(key) or 'task'} {key} {fate}. {reason}")
        if len(lines) > MAX_SAID:
            self._say(f"and {len(lines) - MAX_SAID} more tasks.")
        for line in drain_view.summary(plan):
            self._say(" ".join(line.split()))
        self._say(f"options: {', '.join(self._options.words())}.")
        begins = duration(window_ms(plan) * 1000)
        self._say(
            f"It begins {begins} after it is confirmed; until then undo takes it back. Later uncordon ends it."
        )


class _SpokenForm:
    """What the checks of a submission say."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def say(self, text: str, role: str = "text") -> None:
        if text:
            self._say(text)

    def close(self) -> None:
        """Nothing stands open."""


def _text(cell: Cell) -> str:
    return " ".join(plain(cell).split())
