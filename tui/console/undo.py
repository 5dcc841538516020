"""Operations that this console began: which of them can still be taken back, and how they ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cortex.v1 import types_pb2
from tui.columns.base import Draw
from tui.columns.operations import about, begins_s, brief, progress
from tui.drawing.draw import EMPTY, Cell, count_of, foreign, plain
from tui.store.operations import settled
from tui.store.view import ClusterView

MAX_KNOWN = 100


class OwnOperations:
    """Ids of what was begun here, oldest first."""

    def __init__(self) -> None:
        self._untold: dict[str, bool] = {}

    def add(self, ids: Iterable[str]) -> None:
        for key in ids:
            if key:
                self._untold[key] = True
        while len(self._untold) > MAX_KNOWN:
            del self._untold[next(iter(self._untold))]

    def pending(self, view: ClusterView) -> list[types_pb2.Operation]:
        """Those that have not begun and so can be undone, the newest first."""
        known = [row for key in self._untold if (row := view.operations.get(key)) is not None]
        waiting = [row for row in known if row.state == types_pb2.OPERATION_STATE_SCHEDULED]
        return sorted(waiting, key=lambda row: row.created_index, reverse=True)

    def hint(self, draw: Draw, *, short: bool = False) -> Cell:
        """For the footer: what `u` would take back, and for how long still; `short` leaves out what."""
        waiting = self.pending(draw.view)
        if not waiting:
            return EMPTY
        left_s = begins_s(waiting[0], draw) or 0
        more = f" +{len(waiting) - 1}" if len(waiting) > 1 else ""
        what = EMPTY if short else ((" ", "dim"), *foreign(brief(waiting[0]), "text", draw.glyphs))
        return ((draw.word("app", "undo"), "key"), (" undo", "dim"), *what, (f" {left_s}s", "warn"), (more, "dim"))

    def news(self, draw: Draw) -> list[tuple[str, str]]:
        """What ended since it was asked last, each as a sentence and its role."""
        told: list[tuple[str, str]] = []
        for key, untold in self._untold.items():
            row = draw.view.operations.get(key)
            if not untold or row is None or not settled(row):
                continue
            self._untold[key] = False
            if row.state == types_pb2.OPERATION_STATE_DONE and not row.begun_at_us > row.created_at_us:
                continue  # it was done when it was asked for, and that was said
            told.append((_ended(row, draw), _role(row)))
        return told


def _ended(row: types_pb2.Operation, draw: Draw) -> str:
    counts = row.counts
    if row.kind == types_pb2.OPERATION_KIND_PRIORITY and row.state == types_pb2.OPERATION_STATE_DONE:
        rest = (
            f", {count_of(counts.total - counts.issued)} had begun or ended" if counts.issued < counts.total else ""
        )
        count = f"{count_of(counts.issued)} task{'' if counts.issued == 1 else 's'}"
        return f"Priority {row.bulk.priority} for {count}{rest}."
    # A node is named as it is: names have their own case.
    what = about(row)
    return f"{what if row.node else what[0].upper() + what[1:]}: {plain(progress(row, draw))}."


def _role(row: types_pb2.Operation) -> str:
    good = row.state in (types_pb2.OPERATION_STATE_DONE, types_pb2.OPERATION_STATE_UNDONE)
    return "ok" if good and not row.counts.failed else "bad"
