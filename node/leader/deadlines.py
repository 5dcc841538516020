"""When queued tasks have waited too long: queue timeouts, soonest first, in leader time."""

from __future__ import annotations

import heapq

from cortex.v1.types_pb2 import Task
from node.core.model import QUEUED, queue_deadline_us
from node.leader.port import Replica

# Times of tasks that left the queue before, which long timeouts would keep for long.
_SLACK = 10_000


class Deadlines:
    """Every wait is noted; what a task's row says of it is asked once its time has come."""

    def __init__(self, replica: Replica, slack: int = _SLACK) -> None:
        self._replica = replica
        self._slack = self._limit = slack
        self._times: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._times)

    def watch(self, task: Task) -> None:
        """Note when a task has waited too long, if it waits and that is limited."""
        deadline_us = queue_deadline_us(task) if task.state == QUEUED else None
        if deadline_us is not None:
            self.again(deadline_us, task.id)

    def again(self, due_us: int, task_id: str) -> None:
        """Look at a task at that time."""
        if len(self._times) > self._limit:
            self._forget_gone()
        heapq.heappush(self._times, (due_us, task_id))

    def next_us(self) -> int | None:
        """When to look next; None when nothing is to come."""
        return self._times[0][0] if self._times else None

    def take(self, now_us: int, limit: int) -> list[Task]:
        """Tasks that have waited too long, at most `limit`."""
        late: dict[str, Task] = {}  # each change in the queue left a time
        while self._times and self._times[0][0] <= now_us and len(late) < limit:
            _, task_id = heapq.heappop(self._times)
            task = self._waiting(task_id)
            deadline_us = queue_deadline_us(task) if task is not None else None
            if task is None or deadline_us is None:
                continue
            if deadline_us <= now_us:
                late[task_id] = task
            else:
                heapq.heappush(self._times, (deadline_us, task_id))
        return list(late.values())

    def _waiting(self, task_id: str) -> Task | None:
        task = self._replica.state.tasks.get(task_id)
        return task if task is not None and task.state == QUEUED else None

    def _forget_gone(self) -> None:
        """Keep the soonest time of each task that waits: at that one its row tells the right one."""
        soonest: dict[str, int] = {}
        for due_us, task_id in self._times:
            if self._waiting(task_id) is not None:
                soonest[task_id] = min(due_us, soonest.get(task_id, due_us))
        self._times = [(due_us, task_id) for task_id, due_us in soonest.items()]
        heapq.heapify(self._times)
        self._limit = 2 * len(self._times) + self._slack
