"""The same nodes in Textual's own DataTable: `python -m bench._datatable ROWS RATE`."""

from __future__ import annotations

import sys
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from cortex.v1 import cluster_pb2
from tui.demo.cluster import DemoCluster
from tui.demo.size import DemoSize

_COLUMNS = ("node", "state", "score", "cpu", "memory", "disk", "network", "running", "load", "address")


class Peer(App[None]):
    """One table. The rows are those of the demo, as far as they go."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", show=False),
        Binding("k", "move(-1)", show=False),
    ]

    def __init__(self, rows: int, rate: int) -> None:
        super().__init__()
        self._rows = rows
        self._rate = rate
        self._cluster = DemoCluster(DemoSize(nodes=min(rows, 1000), tasks=0, rate=rate))

    def compose(self) -> ComposeResult:
        yield DataTable[str](cursor_type="row")

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        self._keys = table.add_columns(*_COLUMNS)
        views = self._cluster.samples()
        table.add_rows(_cells(views[number % len(views)]) for number in range(self._rows))
        table.focus()
        if self._rate:
            self.set_interval(1 / self._rate, self._tick)

    def action_move(self, step: int) -> None:
        table = self.query_one(DataTable)
        table.move_cursor(row=table.cursor_row + step)

    def _tick(self) -> None:
        self._cluster.step()
        table = self.query_one(DataTable)
        for row, view in zip(table.rows, self._cluster.samples(), strict=False):
            for column, cell in zip(self._keys, _cells(view), strict=True):
                if table.get_cell(row, column) != cell:
                    table.update_cell(row, column, cell)


def _cells(view: cluster_pb2.NodeView) -> tuple[str, ...]:
    resources, terms = view.resources, view.terms
    return (
        view.node.id,
        "active" if view.node.online else "offline",
        f"{view.score:.1f}",
        f"{resources.cpu_percent:.0f}%",
        f"{terms.memory:.1f}",
        f"{terms.disk:.1f}",
        f"{terms.network:.1f}",
        f"{view.running}+{view.assigned}",
        f"{resources.load_1m:.2f}",
        view.node.address,
    )


if __name__ == "__main__":
    Peer(int(sys.argv[1]), int(sys.argv[2])).run()
