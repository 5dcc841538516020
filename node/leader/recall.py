"""Which prefetched assignments to ask back: what would start sooner, or more justly, elsewhere."""

from __future__ import annotations

from collections import Counter

from cortex.v1.types_pb2 import Node, NodeState, OperationState, Task, TaskState
from node.core.queue import Group
from node.core.state import ClusterState
from node.env import Clock
from node.leader.planner import Planner, Takers, prefetchable
from node.leader.port import Replica
from node.leader.roster import Roster, slots_of, used
from node.leader.session import Session

_ASSIGNED = TaskState.TASK_STATE_ASSIGNED
_LEAVING: frozenset[int] = frozenset(
    {NodeState.NODE_STATE_CORDONED, NodeState.NODE_STATE_DRAINING, NodeState.NODE_STATE_DRAINED}
)
_WORTH_WAIT_US = 500_000
_LOOK_AGAIN_US = 250_000

# Group of a queued task, and the nodes that could not start it: what tasks with the same takers have in common.
_Alike = tuple[Group | str | None, ...]
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
            if known.session is not None and row is not None and _leaves(state, row):
                known.session.recall(self._unstarted(state, node_id))
        kept_free: set[str] = set()
        able: dict[_Alike, list[str]] = {}
        promised: Counter[tuple[str, int]] = Counter()
        lower: dict[int, list[str]] = {}
        for task in sorted(self._planner.waiting(state), key=lambda task: -task.priority):
            if prefetchable(task):
                if task.priority not in lower:
                    lower[task.priority] = self._lower(task.priority)
                if lower[task.priority]:
                    self._make_room(state, task, promised, lower[task.priority])
            else:
                self._clear_way(state, task, kept_free, able)
        self._planner.keep_free(frozenset(kept_free))
        return self._for_free_slots(state)

    def _make_room(
        self, state: ClusterState, task: Task, promised: Counter[tuple[str, int]], lower_nodes: list[str]
    ) -> None:
        """Call back as many prefetched tasks of lower priority from one node as let `task` in there.

        Where even all of them are too few they go all the same: none is to start before it. `lower_nodes` are those
        that have some.
        """
        kind = task.spec.type
        partial: tuple[Session, list[Task]] | None = None
        takers = self._planner.takers(state, task)
        for node_id in lower_nodes:
            session = self._roster.session(node_id)
            if session is None or node_id not in takers:
                continue
            room = slots_of(state.nodes[node_id]).get(kind, 0) + self._planner.prefetch(state, node_id)
            held = used(state, node_id, kind) + promised[node_id, kind]
            need = held - self._unanswered(state, session, kind) - room + 1
            lower = self._callable(state, session, kind, task.priority) if need > 0 else []
            if len(lower) >= need:
                session.recall(lower[: max(0, need)])
                promised[node_id, kind] += 1
                return
            partial = partial or (session, lower)
        if partial is not None:
            partial[0].recall(partial[1])

    def _clear_way(
        self, state: ClusterState, task: Task, kept_free: set[str], able: dict[_Alike, list[str]]
    ) -> None:
        """Let a node run dry for a task that needs a slot of its own, and call back what is below it there.

        `able`: the nodes that would do, as far as they were looked for.
        """
        if len(kept_free) * 2 >= len(self._roster.nodes) > 1:
            return
        kind = task.spec.type
        alike = (self._planner.group_of(task.id), *task.unstartable_nodes)
        if alike not in able:
            able[alike] = list(self._planner.takers(state, task))
        takers = [one for one in able[alike] if one not in kept_free]
        if not takers:
            return
        node_id = min(takers, key=lambda taker: (used(state, taker, kind), taker))
        kept_free.add(node_id)
        session = self._roster.session(node_id)
        if session is not None:
            session.recall(self._callable(state, session, kind, task.priority))

    def _lower(self, priority: int) -> list[str]:
        """Nodes that hold something unstarted of a lower priority."""
        found: list[str] = []
        for node_id in self._roster.nodes:
            lowest = self._planner.lowest_unstarted(node_id)
            if lowest is not None and lowest < priority:
                found.append(node_id)
        return found

    def _callable(self, state: ClusterState, session: Session, kind: int, below: int) -> list[Task]:
        """Unstarted tasks below a priority that were not called back yet, last to start first."""
        tasks = sorted(self._unstarted(state, session.node_id), key=_start_order, reverse=True)
        return [
            task
            for task in tasks
            if task.spec.type == kind and task.priority < below and (task.id, task.fence) not in session.recalled
        ]

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
        takers: Takers | None = None
        for (node_id, kind), count in free.items():
            if count <= 0 or kind != task.spec.type or node_id == task.node:
                continue
            takers = takers or self._planner.takers(state, task)
            if node_id in takers:
                free[node_id, kind] -= 1
                return True
        return False

    def _unanswered(self, state: ClusterState, session: Session, kind: int) -> int:
        """Recalls that will still bring something back: what started meanwhile stays where it is."""
        found = 0
        for task_id, fence in session.recalled:
            task = state.tasks.get(task_id)
            if task is not None and task.fence == fence and task.state == _ASSIGNED:
                found += task.spec.type == kind
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


def _leaves(state: ClusterState, node: Node) -> bool:
    """Whether what has not started there is to go: not while a drain that cordoned the node may be undone."""
    if node.state not in _LEAVING:
        return False
    drain = state.operations.get(node.operation) if node.operation else None
    undoable = drain is not None and drain.state == OperationState.OPERATION_STATE_SCHEDULED
    return not undoable or (drain is not None and drain.drain.former_state in _LEAVING)


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
