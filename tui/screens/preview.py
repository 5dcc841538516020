"""What an action would do, shown before it is done. Nothing is changed without this screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from textual import events, on, work
from textual.containers import Horizontal
from textual.widget import Widget

from tui.actions.base import Question
from tui.details.common import wrapped
from tui.drawing.draw import Cell, Span, foreign
from tui.keyboard.keymap import bindings
from tui.plans.base import Done, Plan, short_command
from tui.plans.intents import AWAY_CODES
from tui.screens.dialog import Dialog
from tui.source import Mutator, SourceError
from tui.widgets.choice import Choice
from tui.widgets.facts import Facts
from tui.widgets.lines import Lines

MAX_OBJECT_LINES = 12
DIALOG_SHARE = 0.96
"""Of the height of the screen that a dialog takes at most."""
DIALOG_CELLS = 96
OTHER_LINES = 10
"""Of the dialog: its frame, title, blank lines, command, what is to be typed, and the buttons."""
MAX_REASON_CHARS = 200


class PreviewScreen(Dialog[Done | None]):
    """Returns what was done, or None.

    The focus begins on doing nothing. `y` confirms; more than ten objects also want their number typed.
    """

    BINDINGS = bindings("preview")

    def __init__(
        self,
        make: Callable[[], Plan],
        mutator: Callable[[], Mutator],
        keep: Callable[[Plan], None] | None = None,
        away: Callable[[], bool] = lambda: False,
        why: str = "",
    ) -> None:
        """`keep` takes a confirmed plan that the cluster could not take; `away` tells that beforehand.

        `why`: what to say of a preview that comes by itself.
        """
        super().__init__()
        self._make = make
        self._mutator = mutator
        self._keep = keep
        self._away = away
        self._why = why
        self.plan = make()
        self._reason = ""
        self._typed = ""
        self._said: Cell = ()
        self._busy = False
        self._clicked_s = 0.0

    def content(self) -> Iterable[Widget]:
        yield self.lines("title")
        yield Facts(self.drawing, self.palette, id="objects")
        yield self.lines("consequences")
        yield self.lines("command")
        yield self.lines("typed")
        yield Horizontal(
            Choice(f"{self._word('give_up')}  do nothing", self.palette, id="keep"),
            Choice("", self.palette, id="do"),
            id="choices",
        )

    def on_mount(self) -> None:
        self._show()
        self.query_one("#keep").focus()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        plan, glyphs = self.plan, self.console.glyphs
        role = "bad" if plan.destroys else "accent"
        title = plan.title if plan.objects else f"Nothing to {plan.verb}"
        self.query_one("#title", Lines).show((((f" {title}", role),),))
        objects: list[Cell] = [((" ", "text"), *line) for line in plan.objects]
        if plan.left_out:
            objects += [(), ((" Left out:", "dim"),), *(((" ", "text"), *line) for line in plan.left_out)]
        # The dialog's frame, its padding, and a blank on each side.
        width = min(DIALOG_CELLS, int(self.size.width * DIALOG_SHARE)) - 6
        because: tuple[Cell, ...] = (((self._why, "warn"),),) if self._why else ()
        told = (*because, *(plan.consequences if plan.objects else ()))
        said = [part for cell in told for part in wrapped(cell, width)]
        listed = self.query_one("#objects", Facts)
        room = int(self.size.height * DIALOG_SHARE) - OTHER_LINES - len(said)
        listed.styles.height = max(1, min(len(objects), MAX_OBJECT_LINES, room))
        listed.show(objects)
        consequences = self.query_one("#consequences", Lines)
        consequences.styles.height = len(said) + 2
        consequences.show(((), *(((" ", "text"), *line) for line in said)))
        shown = short_command(plan.command, plan.ids)
        command: Cell = ((" $ ", "dim"), *foreign(shown, "text", glyphs)) if plan.objects else ()
        self.query_one("#command", Lines).show((command,))
        self.query_one("#typed", Lines).show(self._state_lines())
        does = f"{self._word('confirm')}  {plan.title[0].lower()}{plan.title[1:]}"
        self.query_one("#do", Choice).relabel(does, role)
        self.query_one("#do").display = bool(plan.objects)

    def _word(self, name: str) -> str:
        return self.drawing().word("preview", name)

    def _state_lines(self) -> list[Cell]:
        wanted = self.plan.typed_count
        if self._said:
            return [(), ((" ", "text"), *self._said)]
        if not self.plan.objects:
            return [(), ((" There is nothing to do.", "warn"),)]
        if wanted:
            done = self._typed == str(wanted)
            spans: list[Span] = [(f" Type {wanted} to confirm: ", "text"), (self._typed or "_", "strong")]
            spans.append((f"  now {self._word('confirm')}" if done else "", "accent"))
            return [(), tuple(spans)]
        if self.plan.with_reason is not None and not self._reason:
            return [(), ((f" {self._word('reason')}", "key"), ("  say why", "dim"))]
        return []

    def on_key(self, event: events.Key) -> None:
        if not self.plan.typed_count or self._busy:
            return
        if event.character and event.character.isdigit() and event.character.isascii():
            self._typed = (self._typed + event.character)[:9]
        elif event.key == "backspace":
            self._typed = self._typed[:-1]
        else:
            return
        event.stop()
        self._said = ()
        self._show()

    def unbound(self, key: str) -> None:
        """A key that means nothing here."""
        if not self._busy:
            confirm, leave = self._word("confirm"), self._word("give_up")
            self._say(f"{key} does nothing here: {confirm} does it, {leave} leaves it as it is.", "dim")

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        if not self._busy:
            self._say("A paste confirms nothing here: type it.", "warn")

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self._clicked_s = event.time

    def action_give_up(self) -> None:
        if not self._busy:
            self.dismiss(None)

    def action_confirm(self) -> None:
        """Judge the plan again by what is known now, and carry it out if it still holds."""
        if self._busy or not self.plan.objects:
            return
        if max(self.console.typed_s, self._clicked_s) < self.painted_s:
            self._say("That key came before this was shown. Look, then press it again.", "warn")
            return
        if self.plan.typed_count and self._typed != str(self.plan.typed_count):
            self._say(f"Type {self.plan.typed_count} first.", "warn")
            return
        now = self._planned()
        if not now.objects or not self.plan.still_covers(now):
            self.plan, self._typed = now, ""
            self._say("It has changed while it was shown. Look again.", "warn")
            return
        self.plan = now
        if self._away() and self._put_off():
            return
        self._busy = True
        self._say("Asking the cluster.", "dim")
        self.carry_out()

    def remake(self) -> None:
        """More is known: show it; should more be harmed than was shown, say so."""
        if self._busy:
            return
        shown, self.plan = self.plan, self._planned()
        if not self.is_mounted:
            return
        if not shown.still_covers(self.plan):
            self._typed = ""
            self._said = foreign("It has changed while it was shown. Look again.", "warn", self.console.glyphs)
        self._show()

    def tick(self) -> None:
        """Time went by: show what a plan says of it."""
        if self.plan.live and not self._busy and self.is_mounted:
            now = self._planned()
            if (now.objects, now.consequences) != (self.plan.objects, self.plan.consequences):
                self.remake()

    def _planned(self) -> Plan:
        """The plan by what is known now, with the reason that was given."""
        plan = self._make()
        return plan.with_reason(self._reason) if self._reason and plan.with_reason is not None else plan

    def action_reason(self) -> None:
        """Ask for a reason, where the plan takes one."""
        if self._busy or self.plan.with_reason is None or not self.plan.objects:
            return

        def given(reason: str) -> None:
            self._reason = reason
            now = self._planned()
            if self.plan.still_covers(now):
                self.plan = now
            self._show()

        wrong = f"It has more than {MAX_REASON_CHARS} characters: shorten it."
        question = Question(
            self.plan.title, "Why, for those who look later", self._reason, "It need not be given.",
            lambda text: wrong if len(text) > MAX_REASON_CHARS else "",
        )  # fmt: skip
        self.console.ask(question, given)

    @work(exclusive=True, group="mutation")
    async def carry_out(self) -> None:
        try:
            done = await self.plan.call(self._mutator())
        except SourceError as error:
            self._busy = False
            if error.code in AWAY_CODES and self._put_off():
                return
            self._say(f"{error.message} {error.remedy}".strip(), "bad")
            return
        self.dismiss(done)

    def _put_off(self) -> bool:
        """Have the plan kept until the cluster is back, if somebody keeps it."""
        if self._keep is None:
            return False
        self.dismiss(None)
        self._keep(self.plan)
        return True

    def _say(self, text: str, role: str) -> None:
        self._said = foreign(text, role, self.console.glyphs)
        self._show()

    @on(Choice.Pressed)
    def _pressed(self, message: Choice.Pressed) -> None:
        message.stop()
        if message.choice.id == "do":
            self.action_confirm()
        else:
            self.action_give_up()
