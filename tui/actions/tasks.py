"""Actions on tasks."""

from __future__ import annotations

from collections.abc import Sequence

from tui.actions.base import ActionsBase
from tui.plans import tasks


class TaskActions(ActionsBase):
    """Cancel, retry."""

    def cancel(self, ids: Sequence[str]) -> None:
        self._preview_of(ids, lambda: tasks.cancel(self._stage.fresh_drawing(), ids))

    def retry(self, ids: Sequence[str]) -> None:
        self._preview_of(ids, lambda: tasks.retry(self._stage.fresh_drawing(), ids))
