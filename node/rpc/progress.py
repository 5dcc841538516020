"""How far running tasks are, as watches tell it."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1.types_pb2 import TaskProgress


class ToldProgress:
    """What one watch was told, so that it is told only what changed. That a task is over its row says."""

    def __init__(self) -> None:
        self._told: dict[str, TaskProgress] = {}

    def news(self, items: Sequence[TaskProgress]) -> list[TaskProgress]:
        before, self._told = self._told, {item.task: item for item in items}
        return [item for item in items if (known := before.get(item.task)) is not item and known != item]
