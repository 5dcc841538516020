"""The scheduler as a leader's duties see it: the queue, and what the leader alone knows of the nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cortex.v1.types_pb2 import NodeState, Task
from node.core import scheduler
from node.core.model import QUEUED, Change, ClusterState, Table
from node.core.scheduler import Limits, Planned, Queue
from node.env import Clock
from node.leader.port import Settings
from node.leader.roster import Roster, slots_of, used

_WAITING_LIMIT = 20


class Planner:
    """Times are leader time."""

    def __init__(self, clock: Clock, settings: Settings, roster: Roster) -> None:
        self._clock = clock
        self._settings = settings
        self._roster = roster
        self._queue = Queue()
        self._kinds: Counter[int] = Counter()

    def begin(self, state: ClusterState) -> None:
        """Take up the queue as it stands."""
        self._queue.load(state)
        self._kinds = Counter(task.spec.type for task in state.tasks.values() if task.state == QUEUED)

    def observe(self, changes: Sequence[Change]) -> None:
        self._queue.observe(changes)
        for change in changes:
            if change.table is Table.TASKS:
                if isinstance(change.old, Task) and change.old.state == QUEUED:
                    self._kinds[change.old.spec.type] -= 1
                if isinstance(change.new, Task) and change.new.state == QUEUED:
                    self._kinds[change.new.spec.type] += 1

    @property
    def queued(self) -> int:
        """Queued tasks, due or not."""
        return len(self._queue)

    def plan(self, state: ClusterState, now_us: int) -> list[Planned]:
        """One entry's worth of placements that fit together, onto nodes that are connected."""
        if not self.queued:
            return []
        limit = self._settings.placements_per_entry
        return scheduler.plan(self._queue, state, self._roster.samples(), self.limits(), now_us, limit)

    def urgent(self, state: ClusterState) -> bool:
        """Whether a connected node has a free slot for a kind of task that is queued, or little left to do."""
        now_us = self._clock.boot_us()
        kinds = [kind for kind, count in self._kinds.items() if count > 0]
        for node_id, known in self._roster.nodes.items():
            row = state.nodes.get(node_id)
            if known.session is None or row is None or row.state != NodeState.NODE_STATE_ACTIVE:
                continue
            low = known.pace.prefetch(now_us, self._settings.prefetch_limit) // 2
            slots = slots_of(row)
            for kind in kinds:
                count = slots.get(kind, 0)
                if count and used(state, node_id, kind) < count + low:
                    return True
        return False

    def next_due_us(self) -> int | None:
        """When the next task that is not due yet becomes due."""
        return self._queue.next_due_us()

    def waiting(self, state: ClusterState) -> list[Task]:
        """The first due tasks that found no place."""
        return [state.tasks[task_id] for task_id in self._queue.waiting(_WAITING_LIMIT)]

    def could_take(self, state: ClusterState, node_id: str, task: Task) -> bool:
        """Whether a node meets all that a task asks for, free slots aside."""
        return scheduler.could_take(state, self._roster.samples(), node_id, task)

    def limits(self) -> Limits:
        """Silent nodes get nothing new: what they were given could wait there for the whole lease."""
        now_us = self._clock.boot_us()
        reachable = {
            node_id: known
            for node_id, known in self._roster.nodes.items()
            if known.session is not None and not known.suspected
        }
        limit = self._settings.prefetch_limit
        prefetch = {node_id: known.pace.prefetch(now_us, limit) for node_id, known in reachable.items()}
        return Limits(prefetch=prefetch, reachable=reachable.keys())
