"""The scheduler as the placement loop sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from cortex.v1.types_pb2 import NodeState, Placement, Task
from node.core.model import QUEUED, Change, ClusterState, Table
from node.leader.roster import Roster


class Planner(Protocol):
    """Knows the queue, and where its tasks may go. Times are leader time."""

    def begin(self, state: ClusterState) -> None:
        """Take up the queue as it stands."""

    def observe(self, changes: Sequence[Change]) -> None: ...

    def plan(self, state: ClusterState, roster: Roster, now_us: int, limit: int) -> list[tuple[str, Placement]]:
        """Task ids with their places, at most `limit`, all fitting together."""

    def undo(self, task_ids: Iterable[str]) -> None:
        """These were planned, but not all of it was recorded: plan what still waits again."""

    def next_due_us(self, now_us: int) -> int | None:
        """When the next task that is not due yet becomes due."""

    def waiting(self, state: ClusterState, now_us: int) -> list[Task]:
        """Some due tasks that found no place, highest priority first."""

    def could_take(self, state: ClusterState, roster: Roster, node_id: str, task: Task) -> bool:
        """Whether a node meets all that a task asks for, free slots aside."""


class FifoPlanner:
    """By priority and age onto the node with the most free slots; stands in until the scheduler takes over."""

    def __init__(self) -> None:
        self._queued: dict[str, Task] = {}

    def begin(self, state: ClusterState) -> None:
        self._queued = {task.id: task for task in state.tasks.values() if task.state == QUEUED}

    def observe(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.table is Table.TASKS:
                self._queued.pop(change.id, None)
                if isinstance(change.new, Task) and change.new.state == QUEUED:
                    self._queued[change.id] = change.new

    def plan(self, state: ClusterState, roster: Roster, now_us: int, limit: int) -> list[tuple[str, Placement]]:
        free = {
            node.id: sum(slots.count for slots in node.slots)
            + known.pace.prefetch(known.heard_us, 512)
            - len(state.by_node.get(node.id, ()))
            for node in state.nodes.values()
            if node.online
            and node.state == NodeState.NODE_STATE_ACTIVE
            and (known := roster.nodes.get(node.id)) is not None
            and known.session is not None
        }
        planned: list[tuple[str, Placement]] = []
        for task in sorted(self._queued.values(), key=lambda task: (-task.priority, task.created_at_us, task.id)):
            if len(planned) >= limit or not free:
                break
            if task.scheduled_after_us > now_us:
                continue
            node_id = max(free, key=lambda node_id: (free[node_id], node_id))
            if free[node_id] <= 0:
                break
            free[node_id] -= 1
            planned.append((task.id, Placement(node=node_id, reason="first free slot")))
        return planned

    def undo(self, task_ids: Iterable[str]) -> None:
        pass

    def next_due_us(self, now_us: int) -> int | None:
        later = [task.scheduled_after_us for task in self._queued.values() if task.scheduled_after_us > now_us]
        return min(later, default=None)

    def waiting(self, state: ClusterState, now_us: int) -> list[Task]:
        due = [task for task in self._queued.values() if task.scheduled_after_us <= now_us]
        return sorted(due, key=lambda task: -task.priority)[:100]

    def could_take(self, state: ClusterState, roster: Roster, node_id: str, task: Task) -> bool:
        return True
