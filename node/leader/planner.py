"""The scheduler as a leader's duties see it: the queue, and what the leader alone knows of the nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from cortex.v1.types_pb2 import NodeState, Task
from node.core import scheduler
from node.core.drain import Scene, Times
from node.core.exclusion import NOWHERE, Exclusions
from node.core.filters import NodeInfo, ask_of, filters_of, may_wait
from node.core.model import ASSIGNED, QUEUED, Change, Table
from node.core.queue import Group
from node.core.room import room_of
from node.core.scheduler import Limits, Planned, Queue
from node.core.state import ClusterState
from node.core.waiting import Survey
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
        self._unstarted: dict[str, Counter[int]] = {}
        self._kept_free: frozenset[str] = frozenset()
        self._kept: Mapping[str, str] = {}  # by the last pass: node -> task that it is kept for
        self._coming: dict[str, tuple[str, int]] = {}  # task -> node and type

    def begin(self, state: ClusterState) -> None:
        """Take up the queue as it stands."""
        self._queue.load(state)
        for task in state.tasks.values():
            self._count(task, 1)

    def observe(self, changes: Sequence[Change]) -> None:
        self._queue.observe(changes)
        for change in changes:
            if change.table is Table.TASKS:
                self._coming.pop(change.id, None)
                if isinstance(change.old, Task):
                    self._count(change.old, -1)
                if isinstance(change.new, Task):
                    self._count(change.new, 1)

    def _count(self, task: Task, sign: int) -> None:
        if task.state == QUEUED:
            self._kinds[task.spec.type] += sign
        elif task.state == ASSIGNED:
            counts = self._unstarted.get(task.node)
            if counts is None:
                counts = self._unstarted[task.node] = Counter()
            counts[task.priority] += sign

    def expect(self, task_id: str, node_id: str, kind: int) -> None:
        """A task that is not in the state yet is proposed together with its assignment to a node."""
        self._coming[task_id] = (node_id, kind)

    def unexpect(self, task_id: str) -> bool:
        """It does not come, or has come; whether it was still expected."""
        return self._coming.pop(task_id, None) is not None

    @property
    def queued(self) -> int:
        """Queued tasks, due or not."""
        return len(self._queue)

    def plan(self, state: ClusterState, now_us: int) -> list[Planned]:
        """One entry's worth of placements that fit together, onto nodes that are connected."""
        if not self.queued:
            self._kept = {}
            return []
        limit = self._settings.placements_per_entry
        found = scheduler.plan(self._queue, state, self._roster.samples(), self.limits(state), now_us, limit)
        self._kept = found.kept
        return found.placements

    def postpone(self, state: ClusterState, task_id: str, due_us: int) -> None:
        """Plan nothing for a queued task before that leader time, unless its row changes."""
        task = state.tasks.get(task_id)
        if task is not None:
            self._queue.postpone(task, due_us)

    def urgent(self, state: ClusterState) -> bool:
        """Whether a connected node has a free slot for a kind of task that is queued, or little left to do."""
        kinds = [kind for kind, count in self._kinds.items() if count > 0]
        for node_id, known in self._roster.nodes.items():
            row = state.nodes.get(node_id)
            if known.session is None or row is None or row.state != NodeState.NODE_STATE_ACTIVE:
                continue
            low = self.prefetch(state, node_id) // 2
            slots = slots_of(row)
            for kind in kinds:
                count = slots.get(kind, 0)
                if count and used(state, node_id, kind) < count + low:
                    return True
        return False

    def next_due_us(self) -> int | None:
        """When the next task that is not due yet becomes due."""
        return self._queue.next_due_us()

    def group_of(self, task_id: str) -> Group | None:
        """What a queued task waits with."""
        return self._queue.group_of(task_id)

    def all_groups(self) -> Iterable[Group]:
        return self._queue.all_groups()

    def due_groups(self) -> Iterable[Group]:
        return self._queue.groups()

    def survey(self, state: ClusterState) -> Survey:
        """All nodes as they are now."""
        return Survey(state, self._queue, self._roster.samples(), self.limits(state))

    def waiting(self, state: ClusterState) -> list[Task]:
        """The first due tasks that found no place, but for those that a lock or limit keeps waiting anywhere."""
        tasks = (state.tasks[task_id] for task_id in self._queue.waiting(_WAITING_LIMIT))
        return [task for task in tasks if not _blocked(state, task)]

    def takers(self, state: ClusterState, task: Task) -> Takers:
        """Connected nodes that meet all that a task asks for, free slots aside."""
        return Takers(self._roster, self._queue, state, task)

    def lowest_unstarted(self, node_id: str) -> int | None:
        """Lowest priority among what a node was given and has not started."""
        counts = self._unstarted.get(node_id)
        return min((priority for priority, count in counts.items() if count > 0), default=None) if counts else None

    def keep_free(self, nodes: frozenset[str]) -> None:
        """Let these run dry: something waits there for a slot that it may not be prefetched for."""
        self._kept_free = nodes

    def prefetch(self, state: ClusterState, node_id: str) -> int:
        """Assignments that a node may hold beyond its slots now."""
        known, row = self._roster.nodes.get(node_id), state.nodes.get(node_id)
        if known is None or row is None or node_id in self._kept_free:
            return 0
        slots = min((count for count in slots_of(row).values() if count > 0), default=0)
        return known.pace.prefetch(self._clock.boot_us(), slots, self._settings.prefetch_limit)

    def limits(self, state: ClusterState) -> Limits:
        """Silent nodes get nothing new: what they were given could wait there for the whole lease."""
        reachable = frozenset(
            node_id
            for node_id, known in self._roster.nodes.items()
            if known.session is not None and not known.suspected
        )
        prefetch = {node_id: self.prefetch(state, node_id) for node_id in reachable}
        coming: dict[str, Counter[int]] = {}
        for node_id, kind in self._coming.values():
            coming.setdefault(node_id, Counter())[kind] += 1
        return Limits(prefetch=prefetch, reachable=reachable, kept=self._kept, coming=coming)

    def scene(self, state: ClusterState, now_us: int, voters: Mapping[str, bool], times: Times) -> Scene:
        """What a rehearsal begins from."""
        return Scene(self._queue, state, self._roster.samples(), self.limits(state), voters, now_us, times)


class Takers:
    """Connected nodes that meet all that a task asks for, free slots aside; whoever asks for one looks at one."""

    def __init__(self, roster: Roster, queue: Queue, state: ClusterState, task: Task) -> None:
        self._roster = roster
        self._queue = queue
        self._state = state
        self._ask = ask_of(task.spec)
        self._filters = filters_of(self._ask)
        self._excluded = NOWHERE
        if task.unstartable_nodes:
            self._excluded = Exclusions(map(self._info, state.nodes)).of(self._ask, task.unstartable_nodes)

    def __contains__(self, node_id: str) -> bool:
        known, state = self._roster.nodes.get(node_id), self._state
        if known is None or known.session is None or known.suspected or node_id not in state.nodes:
            return False
        if node_id in self._excluded:
            return False
        info = self._info(node_id)
        return room_of(state, info, 0).fits(self._ask) and all(check.passes(info) for check in self._filters)

    def _info(self, node_id: str) -> NodeInfo:
        known = self._roster.nodes.get(node_id)
        samples = {node_id: known.resources} if known is not None and known.resources is not None else {}
        return self._queue.info(self._state, samples, node_id)

    def __iter__(self) -> Iterator[str]:
        return (node_id for node_id in self._roster.nodes if node_id in self)


def prefetchable(task: Task) -> bool:
    """Whether a task may wait on its node for a slot."""
    return may_wait(task.spec)


def _blocked(state: ClusterState, task: Task) -> bool:
    spec = task.spec
    if spec.limit_count and state.limit_use.get(spec.limit_key, 0) >= spec.limit_count:
        return True
    return any(lock in state.locks for lock in spec.locks)
