"""Actions on nodes."""

from __future__ import annotations

from collections.abc import Sequence

from tui.actions.base import ActionsBase
from tui.plans import nodes
from tui.plans.base import Done
from tui.store.drains import drain_of


class NodeActions(ActionsBase):
    """Cordon, uncordon, drain, remove."""

    def cordon(self, ids: Sequence[str]) -> None:
        self._preview_of(ids, lambda: nodes.cordon(self._stage.fresh_drawing(), ids))

    def uncordon(self, ids: Sequence[str]) -> None:
        self._preview_of(ids, lambda: nodes.uncordon(self._stage.fresh_drawing(), ids))

    def remove(self, ids: Sequence[str]) -> None:
        self._preview_of(ids, lambda: nodes.remove(self._stage.fresh_drawing(), ids))

    def drain(self, ids: Sequence[str]) -> None:
        """A sheet for each node, one after the other: each is rehearsed after the one before was decided.

        Giving one up gives up those after it. A node that is being drained, or is drained, shows how that goes or
        went instead.
        """
        known = drain_of(self._stage.fresh_drawing().view, ids[0]) if len(ids) == 1 else ""
        if known:
            self._stage.open_drain(known)
        elif ids and not self._refused():
            self._drain_from(tuple(ids), 0)

    def _drain_from(self, ids: tuple[str, ...], at: int) -> None:
        def decided(done: Done | None) -> None:
            if done is None:
                if left := len(ids) - at - 1:
                    self._stage.say(f"Not drained: this node and the {left} after it.", "warn")
                return
            if at + 1 < len(ids):
                self._stage.say(done.said, "ok")
                self._drain_from(ids, at + 1)
                return
            self._stage.carried_out(done)
            if done.operation:
                self._stage.open_drain(done.operation)

        self._stage.rehearse(ids[at], at + 1, len(ids), decided)
