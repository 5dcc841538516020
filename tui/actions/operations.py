"""Actions on operations."""

from __future__ import annotations

from tui.actions.base import ActionsBase
from tui.plans import operations


class OperationActions(ActionsBase):
    """Undo, stop."""

    def undo(self, key: str) -> None:
        """Take back the operation, or say that there is none."""
        if key:
            self._preview(lambda: operations.undo(self._stage.fresh_drawing(), key))
        elif not self._refused():
            said = "Nothing to undo: what this console began has begun. {app.operations} lists all operations."
            self._say(said, "dim")

    def stop(self, key: str) -> None:
        if key:
            self._preview(lambda: operations.stop(self._stage.fresh_drawing(), key))
