"""Which prefetched assignments to ask back: what would start sooner, or more justly, elsewhere."""

from __future__ import annotations

from cortex.v1.types_pb2 import NodeState, Task, TaskState
from node.core.model import ClusterState
from node.env import Clock
from node.leader.planner import Planner
from node.leader.port import Replica
from node.leader.roster import Roster, slots_of, used
from node.leader.session import Session

_ASSIGNED = TaskState.TASK_STATE_ASSIGNED
_LEAVING: frozenset[int] = frozenset(
    {NodeState.NODE_STATE_CORDONED, NodeState.NODE_STATE_DRAINING, NodeState.NODE_STATE_DRAINED}
)
_WORTH_WAIT_US = 500_000
_LOOK_AGAIN_US = 250_000

# Free slots by node and task type.
Free = dict[tuple[str, int], int]


class Recaller:
    """Level-triggered: what it asks follows from the state alone, and a session is asked once per attempt."""

    def __init__(self, clock: Clock, replica: Replica, roster: Roster, planner: Planner) -> None:
        self._clock = clock
        self._replica = replica
        self._roster = roster
        self._planner = planner

    def recall(self) -> int | None:
        """Ask back what should go; microseconds until it is worth looking again, None when nothing may come."""
        state = self._replica.state
        for node_id, known in self._roster.nodes.items():
            row = state.nodes.get(node_id)
            if known.session is not None and row is not None and row.state in _LEAVING:
                known.session.recall(self._unstarted(state, node_id))
        waiting = self._planner.waiting(state)
        if waiting:
            self._for_priority(state, waiting)
            return None
        return self._for_free_slots(state)

    def _for_priority(self, state: ClusterState, waiting: list[Task]) -> None:
        """Make room for waiting tasks of higher priority, one prefetched task for each."""
        asked = sum(self._unanswered(state, session) for session in self._roster.sessions())
        rising = sorted(waiting, key=lambda task: -task.priority)[asked:]
        for node_id, known in self._roster.nodes.items():
            if not rising:
                return
            if known.session is None or len(state.by_node.get(node_id, ())) <= len(known.session.recalled):
                continue
            chosen: list[Task] = []
            for task in sorted(self._unstarted(state, node_id), key=_start_order, reverse=True):
                if not rising or task.priority >= rising[0].priority:
                    break
                asked_before = (task.id, task.fence) in known.session.recalled
                if not asked_before and self._planner.could_take(state, node_id, rising[0]):
                    chosen.append(task)
                    rising.pop(0)
            known.session.recall(chosen)

    def _for_free_slots(self, state: ClusterState) -> int | None:
        """Move what waits behind a full node to free slots of others, if it would wait there for long."""
        free = self._free_slots(state)
        if not free:
            return None
        look_again: int | None = None
        now_us = self._clock.boot_us()
        for node_id, known in self._roster.nodes.items():
            excess = _excess(state, node_id)
            if known.session is None or not excess:
                continue
            if sum(excess.values()) < known.pace.rate(now_us) * _WORTH_WAIT_US / 1e6:
                look_again = _LOOK_AGAIN_US
                continue
            chosen: list[Task] = []
            for task in sorted(self._unstarted(state, node_id), key=_start_order, reverse=True):
                if excess.get(task.spec.type, 0) > 0 and self._move(state, task, free):
                    excess[task.spec.type] -= 1
                    chosen.append(task)
            known.session.recall(chosen)
        return look_again

    def _move(self, state: ClusterState, task: Task, free: Free) -> bool:
        """Take a free slot of another node for `task`, if there is one that it may use."""
        for (node_id, kind), count in free.items():
            usable = count > 0 and kind == task.spec.type and node_id != task.node
            if usable and self._planner.could_take(state, node_id, task):
                free[node_id, kind] -= 1
                return True
        return False

    def _unanswered(self, state: ClusterState, session: Session) -> int:
        """Recalls that will still bring something back: what started meanwhile stays where it is."""
        found = 0
        for task_id, fence in session.recalled:
            task = state.tasks.get(task_id)
            found += task is not None and task.fence == fence and task.state == _ASSIGNED
        return found

    def _unstarted(self, state: ClusterState, node_id: str) -> list[Task]:
        tasks = (state.tasks[task_id] for task_id in sorted(state.by_node.get(node_id, ())))
        return [task for task in tasks if task.state == _ASSIGNED and not task.cancel_requested]

    def _free_slots(self, state: ClusterState) -> Free:
        free: Free = {}
        for node_id, known in self._roster.nodes.items():
            row = state.nodes.get(node_id)
            if known.session is None or row is None or row.state != NodeState.NODE_STATE_ACTIVE:
                continue
            for kind, count in slots_of(row).items():
                left = count - used(state, node_id, kind)
                if left > 0:
                    free[node_id, kind] = left
        return free


def _excess(state: ClusterState, node_id: str) -> dict[int, int]:
    """What a node holds beyond its slots, by task type."""
    row = state.nodes.get(node_id)
    if row is None:
        return {}
    over = {kind: used(state, node_id, kind) - count for kind, count in slots_of(row).items()}
    return {kind: count for kind, count in over.items() if count > 0}


def _start_order(task: Task) -> tuple[int, int, str]:
    """The order in which a worker starts what waits; what comes last is asked back first."""
    return (-task.priority, task.created_at_us, task.id)
