"""The sheet of a drain: rehearsed by the daemon, read, and carried out exactly so or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from textual import work
from textual.containers import Horizontal
from textual.widget import Widget

from cortex.v1 import types_pb2
from tui.actions.base import Question
from tui.details.common import sentence
from tui.details.drain import differences, force_said, sheet
from tui.drawing.draw import Cell, foreign
from tui.drawing.format import duration, parse_duration_ms
from tui.keyboard.keymap import bindings
from tui.keyboard.options import Option
from tui.plans.base import Plan
from tui.plans.drain import drain, nothing
from tui.screens.choose import ChooseScreen
from tui.screens.preview import PreviewScreen
from tui.source import SourceError
from tui.store.drains import PLAN_CODES, DrainOptions, blocker
from tui.widgets.choice import Choice
from tui.widgets.facts import Facts
from tui.widgets.lines import Lines

MESSAGE_CHARACTERS = 200
NO_DEADLINE = "none"


class DrainScreen(PreviewScreen):
    """Returns what was done, or None. Every change of an option rehearses anew.

    A plan that the daemon refuses is rehearsed again and shown with what is different; it is confirmed anew.
    """

    BINDINGS = bindings("drain")

    def __init__(self, node: str, number: int = 1, count: int = 1) -> None:
        """`number` of `count`: which of several marked nodes it is."""
        self._node = node
        self._which = f" ({number} of {count})" if count > 1 else ""
        self._rehearsed: types_pb2.DrainPlan | None = None
        self._former: types_pb2.DrainPlan | None = None
        self._refusal = ""
        self._rehearsing = False
        self.options = DrainOptions()
        super().__init__(self._drained, lambda: self.console.source.mutator())

    def _drained(self) -> Plan:
        draw = self.drawing()
        return nothing(self._node, draw) if self._rehearsed is None else drain(draw, self._rehearsed)

    def content(self) -> Iterable[Widget]:
        facts = Facts(self.drawing, self.palette, id="objects")
        facts.can_focus = False
        yield self.lines("title")
        yield facts
        yield self.lines("command")
        yield self.lines("typed")
        yield Horizontal(
            Choice(f"{self._word('give_up')}  do nothing", self.palette, id="keep"),
            Choice("", self.palette, id="do"),
            id="choices",
        )

    def on_mount(self) -> None:
        super().on_mount()
        self._rehearse()

    @property
    def facts(self) -> Facts:
        return self.query_one("#objects", Facts)

    def _rehearse(self) -> None:
        self._rehearsed = None
        self._typed = ""
        self._busy = self._rehearsing = True
        self.plan = self._drained()
        self._say("Rehearsing.", "dim")
        self.rehearse()

    @work(exclusive=True, group="rehearsal")
    async def rehearse(self) -> None:
        """Ask the daemon what the drain would do now."""
        try:
            reply = await self.console.source.rehearse_drain(self.options.request(self._node))
        except SourceError as error:
            self._busy = self._rehearsing = False
            self._say(f"{self._refusal} {error.message} {error.remedy}".strip(), "bad")
            return
        self._busy = self._rehearsing = False
        self._rehearsed = reply.plan
        self.plan = self._drained()
        self._said = ()
        self._show()

    @work(exclusive=True, group="mutation")
    async def carry_out(self) -> None:
        try:
            done = await self.plan.call(self._mutator())
        except SourceError as error:
            self._busy = False
            if error.code not in PLAN_CODES:
                self._say(f"{error.message} {error.remedy}".strip(), "bad")
                return
            self._former, self._refusal = self._rehearsed, error.message
            self._rehearse()
            return
        self.dismiss(done)

    def action_give_up(self) -> None:
        """Also while it is rehearsed, for that changes nothing."""
        if self._rehearsing or not self._busy:
            self.dismiss(None)

    def action_confirm(self) -> None:
        if self._busy or self._rehearsed is None:
            return
        if self.console.read_only:
            self._say(f"Read-only: {self.drawing().word('app', 'read_only')} turns it off.", "warn")
        elif why := blocker(self._rehearsed, force_said(self.drawing())):
            self._say(why, "bad")
        else:
            super().action_confirm()

    # Drawing.

    def _show(self) -> None:
        if not self.is_mounted:
            return
        glyphs = self.console.glyphs
        role = "bad" if self.plan.destroys else "accent"
        head = (*foreign(f" {self.plan.title}", role, glyphs), (self._which, "dim"))
        self.query_one("#title", Lines).show((head,))
        self.facts.show(self._lines())
        command: Cell = ((" $ ", "dim"), *foreign(self.plan.command, "text", glyphs)) if self._rehearsed else ()
        self.query_one("#command", Lines).show((command,))
        self.query_one("#typed", Lines).show(self._state_lines())
        ready = self._rehearsed is not None and not blocker(self._rehearsed)
        does = f"{self._word('confirm')}  {self.plan.title[0].lower()}{self.plan.title[1:]}"
        self.query_one("#do", Choice).relabel(does, role)
        self.query_one("#do").display = ready

    def _lines(self) -> list[Cell]:
        draw, width = self.drawing(), max(20, self.facts.size.width - 1)
        lines: list[Cell] = []
        if self._refusal:
            lines += sentence("refused", self._refusal, "bad", draw, width)
        if self._rehearsed is None:
            return lines
        if self._former is not None:
            lines.append(((" The new rehearsal below says otherwise:", "warn"),))
            lines += [*differences(self._former, self._rehearsed, draw), ()]
        return [*lines, *sheet(self._rehearsed, self.options, draw, width)]

    def _word(self, name: str) -> str:
        return self.drawing().word("drain", name)

    def _state_lines(self) -> list[Cell]:
        if self._said or self._rehearsed is not None:
            return super()._state_lines()
        return []

    # Options.

    def action_reason(self) -> None:
        """The message is one of the options."""
        if not self._busy:
            self._chosen("message")

    def action_options(self) -> None:
        if self._busy:
            return
        chosen = self.options
        deadline = duration(chosen.deadline_ms * 1000) if chosen.deadline_ms else "none"
        offered = [
            Option("deadline", "deadline", "", f"{deadline}: empty by then"),
            Option("hold", "hold", "", f"{_yes(chosen.hold)}: what may not move runs on after the deadline"),
            Option("force", "force", "", f"{_yes(chosen.force)}: even if too few voters would be left"),
            Option("max_parallel", "max parallel", "", f"{chosen.max_parallel or 'all'}: tasks that move at once"),
            Option("keep_cordoned", "keep cordoned", "", f"{_yes(chosen.keep_cordoned)}: also when it is undone"),
            Option("message", "message", "", chosen.message or "none"),
        ]
        self.app.push_screen(ChooseScreen("Change an option and rehearse again", offered), self._chosen)

    def _chosen(self, name: str | None) -> None:
        chosen = self.options
        if name == "hold":
            self._set(hold=not chosen.hold)
        elif name == "force":
            self._set(force=not chosen.force)
        elif name == "keep_cordoned":
            self._set(keep_cordoned=not chosen.keep_cordoned)
        elif name == "deadline":
            initial = duration(chosen.deadline_ms * 1000) if chosen.deadline_ms else NO_DEADLINE
            hint = f"As 30m or 1h30m; {NO_DEADLINE} waits as long as it takes."
            self.console.ask(
                Question(f"Drain {self._node}", "Empty after", initial, hint, _deadline_fault),
                lambda answer: self._set(deadline_ms=_deadline_ms(answer)),
            )
        elif name == "max_parallel":
            initial = str(chosen.max_parallel) if chosen.max_parallel else "all"
            self.console.ask(
                Question(
                    f"Drain {self._node}", "Tasks that move at once", initial, "A number, or all.", _parallel_fault
                ),
                lambda answer: self._set(max_parallel=0 if answer == "all" else int(answer)),
            )
        elif name == "message":
            self.console.ask(
                Question(
                    f"Drain {self._node}", "Message", chosen.message, "Shown beside the node.", _message_fault
                ),
                lambda answer: self._set(message=answer),
            )

    def _set(self, **changed: Any) -> None:
        self.options = replace(self.options, **changed)
        self._former, self._refusal = None, ""
        self._rehearse()

    # Scrolling: the buttons keep the focus.

    def action_down(self) -> None:
        self.facts.action_down()

    def action_up(self) -> None:
        self.facts.action_up()

    def action_page_down(self) -> None:
        self.facts.action_page_down()

    def action_page_up(self) -> None:
        self.facts.action_page_up()

    def action_top(self) -> None:
        self.facts.action_top()

    def action_bottom(self) -> None:
        self.facts.action_bottom()


def _yes(chosen: bool) -> str:
    return "yes" if chosen else "no"


def _deadline_ms(answer: str) -> int:
    return 0 if answer == NO_DEADLINE else parse_duration_ms(answer)


def _deadline_fault(answer: str) -> str:
    try:
        length_ms = _deadline_ms(answer)
    except ValueError as error:
        return f"{error}."
    return "" if answer == NO_DEADLINE or length_ms >= 1000 else "A deadline is 1s at least."


def _parallel_fault(answer: str) -> str:
    if answer == "all" or (answer.isascii() and answer.isdigit() and 0 < int(answer) <= 100_000):
        return ""
    return "Write a number from 1 to 100000, or all."


def _message_fault(answer: str) -> str:
    return "" if len(answer) <= MESSAGE_CHARACTERS else f"At most {MESSAGE_CHARACTERS} characters."
