"""The table of a grouping: enter opens and closes a group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui.columns.base import Draw, TableSpec
from tui.lists.filter import Filter
from tui.lists.grouping import HEAD, Grouping, Line
from tui.lists.rows import Rows
from tui.operator.themes import Palette
from tui.widgets.table import Table


class GroupTable(Table[Line]):
    """Filters the tasks that are grouped, not the lines. Groups stay in their order."""

    def __init__(
        self,
        spec: TableSpec[Line],
        grouping: Grouping,
        tasks: Rows[Any],
        task_spec: TableSpec[Any],
        draw: Callable[[], Draw],
        palette: Callable[[], Palette],
        *,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(spec, grouping.lines, draw, palette, id=id)
        self.grouping = grouping
        self._tasks = tasks
        self._task_spec = task_spec
        self._wanted: Filter[int] | None = None

    def sync(self) -> None:
        self.grouping.update()
        super().sync()

    def apply_filter(self, source: str) -> None:
        wanted = self._task_spec.parse(source, self._tasks, self.now_us)
        self.filter_text = source.strip()
        self._wanted = wanted
        self.grouping.filter_by(wanted)
        self.sync()
        self.redraw()

    @property
    def filter_in_use(self) -> Filter[int] | None:
        return self._wanted

    @property
    def filtered_rows(self) -> int:
        return len(self._tasks)

    def judge_again(self) -> None:
        self.grouping.filter_by(self._wanted)

    def chosen(self) -> list[str]:
        """Ids of tasks that an action concerns; a group stands for all its tasks."""
        keys: dict[str, None] = {}
        for key in super().chosen():
            if key.startswith(HEAD):
                keys.update((task.id, None) for task in self.grouping.members(key.removeprefix(HEAD)))
            else:
                keys[key] = None
        return list(keys)

    def action_open(self) -> None:
        key = self.cursor_key
        if key.startswith(HEAD):
            self.grouping.toggle(key.removeprefix(HEAD))
            self.sync()
        else:
            super().action_open()

    def action_invert(self) -> None:
        """A group stands above its tasks."""

    def on_unmount(self) -> None:
        self.grouping.close()
        super().on_unmount()
