"""How far running tasks are, as they told it last. Kept while leading only, never in the log: workers tell a new
leader all of it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cortex.v1.types_pb2 import Task, TaskProgress
from node.core import checks
from node.core.model import ASSIGNED, RUNNING, Change, Table
from node.core.state import ClusterState

_MESSAGE_CHARS = 200
_LIVE = frozenset({ASSIGNED, RUNNING})


class Progress:
    def __init__(self, state: Callable[[], ClusterState]) -> None:
        self._state = state
        self._known: dict[str, TaskProgress] = {}

    def told(self, node_id: str, items: Iterable[TaskProgress]) -> None:
        """A node says how far its attempts are. What is none of its own is left out, as is what cannot be shown."""
        tasks = self._state().tasks
        for item in items:
            task = tasks.get(item.task)
            if task is None or task.state not in _LIVE or (task.fence, task.node) != (item.fence, node_id):
                continue
            if len(item.message) > _MESSAGE_CHARS or checks.UNSAFE.search(item.message):
                item.message = checks.UNSAFE.sub("?", item.message[:_MESSAGE_CHARS])
            self._known[item.task] = item

    def observe(self, changes: Sequence[Change]) -> None:
        """What has ended is forgotten."""
        if not self._known:
            return
        for change in changes:
            if change.table is Table.TASKS and (item := self._known.get(change.id)) is not None:
                task = change.new
                if not isinstance(task, Task) or task.state not in _LIVE or task.fence != item.fence:
                    del self._known[change.id]

    def of(self, task_id: str) -> TaskProgress | None:
        return self._known.get(task_id)

    def all(self) -> list[TaskProgress]:
        return list(self._known.values())
