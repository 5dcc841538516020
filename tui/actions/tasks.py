"""Actions on tasks."""

from __future__ import annotations

from collections.abc import Sequence

from tui.actions.base import ActionsBase, Question
from tui.plans import tasks
from tui.written.taskspec import priority as parsed


class TaskActions(ActionsBase):
    """Cancel, retry, priority."""

    def cancel(self, ids: Sequence[str]) -> None:
        self._preview_of(ids, lambda: tasks.cancel(self._stage.fresh_drawing(), ids))

    def retry(self, ids: Sequence[str]) -> None:
        self._preview_of(ids, lambda: tasks.retry(self._stage.fresh_drawing(), ids))

    def set_priority(self, ids: Sequence[str]) -> None:
        """Asks which."""
        if not ids or self._refused() or self._too_many(ids):
            return

        def given(text: str) -> None:
            number = parsed(text)
            self._preview(lambda: tasks.set_priority(self._stage.fresh_drawing(), ids, number))

        count = "1 task" if len(ids) == 1 else f"{len(ids)} tasks"
        self._stage.ask(Question(f"Priority of {count}", "0 to 10, or P0, P1, P2", check=_flaw), given)


def _flaw(text: str) -> str:
    """What is wrong with a priority, in a sentence."""
    try:
        parsed(text)
    except ValueError:
        return "It is a whole number from 0 to 10, or P0, P1 or P2."
    return ""
