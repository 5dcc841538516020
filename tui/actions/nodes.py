"""Actions on nodes."""

from __future__ import annotations

from collections.abc import Sequence

from tui.actions.base import ActionsBase
from tui.plans import nodes


class NodeActions(ActionsBase):
    """Cordon, uncordon."""

    def cordon(self, ids: Sequence[str]) -> None:
        self._preview_of(ids, lambda: nodes.cordon(self._stage.fresh_drawing(), ids))

    def uncordon(self, ids: Sequence[str]) -> None:
        self._preview_of(ids, lambda: nodes.uncordon(self._stage.fresh_drawing(), ids))
