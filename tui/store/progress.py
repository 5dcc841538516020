"""How far running tasks are, as they tell it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cortex.v1 import types_pb2

Progress = types_pb2.TaskProgress


class LiveProgress:
    """The last word of each task that runs."""

    def __init__(self) -> None:
        self._known: dict[str, Progress] = {}
        self.version = 0

    def fold(self, items: Iterable[Progress]) -> None:
        for item in items:
            self._known[item.task] = item
            self.version += 1

    def seen(self, task: types_pb2.Task) -> None:
        """A row came: what an attempt before it told is forgotten."""
        if task.id in self._known and self.of(task) is None:
            del self._known[task.id]
            self.version += 1

    def of(self, task: types_pb2.Task) -> Progress | None:
        item = self._known.get(task.id)
        live = task.state in (types_pb2.TASK_STATE_RUNNING, types_pb2.TASK_STATE_ASSIGNED)
        return item if item is not None and live and item.fence == task.fence else None


def is_starting(task: types_pb2.Task, told: Progress | None) -> bool:
    """Whether it is a service that was ready and is begun again: its row tells of the life before."""
    return told is not None and told.starting and bool(task.ready_at_us) and told.fence == task.fence


def counted(item: Progress) -> str:
    """Such as `3 of 10 (30 %)`, or `3` where the total is not known."""
    if item.total <= 0:
        return str(item.current)
    return f"{item.current} of {item.total} ({min(100, item.current * 100 // item.total)} %)"


def worded(item: Progress) -> str:
    """counted(), with what it said beside; that alone where nothing is counted."""
    if item.message and not (item.current or item.total):
        return item.message
    return f"{counted(item)}: {item.message}" if item.message else counted(item)
