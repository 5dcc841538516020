"""Express: a task that finds a free slot at once is placed by the entry that submits it.

That saves one of the three commits of a task alone. It is done only where the next pass would do the same: nothing
else waits, and nothing that the task asks for is shared. What apply refuses all the same stays queued, for the
pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cortex.v1.log_pb2 import Command, TaskAssign, TaskSubmit
from cortex.v1.types_pb2 import Task
from node.core import scheduler
from node.core.model import QUEUED, Change, Table
from node.core.scheduler import Limits, Queue
from node.leader.planner import Planner, prefetchable
from node.leader.port import Replica
from node.leader.quiet import Quiet
from node.leader.roster import Roster

# A plan looks at every node; where there are more, those that are submitted together had better share one.
_NODES_MOST = 64


class Express:
    """Nodes to which an assignment is on its way take no other: nobody knows yet what they have free."""

    def __init__(
        self, replica: Replica, roster: Roster, planner: Planner, quiet: Quiet, changed: Callable[[], None]
    ) -> None:
        """`changed` is called when a node may take something else after all."""
        self._replica = replica
        self._roster = roster
        self._planner = planner
        self._quiet = quiet
        self._queue = Queue()
        self._changed = changed

    @contextmanager
    def placing(self, submission: TaskSubmit) -> Iterator[list[Command]]:
        """What is to follow the submission in its entry, for as long as that is proposed."""
        planned = self._plan(submission)
        if planned is None:
            yield []
            return
        task_id, placement = planned
        self._planner.expect(task_id, placement.node, submission.spec.type)
        try:
            yield [Command(task_assign=TaskAssign(id=task_id, placement=placement, express=True))]
        finally:
            if self._planner.unexpect(task_id):
                self._changed()

    def _plan(self, submission: TaskSubmit) -> scheduler.Planned | None:
        state, now_us = self._replica.state, self._replica.now_us()
        if self._planner.queued or self._quiet.left_us() or len(state.nodes) > _NODES_MOST:
            return None
        task = Task(id=submission.id, state=QUEUED, priority=submission.priority, spec=submission.spec, run=1)
        task.created_at_us = task.queued_at_us = now_us
        # Under a submit key it may turn out to be there already.
        if submission.submit_key or not prefetchable(task):
            return None
        limits = self._planner.limits(state)
        free = Limits(reachable=frozenset(limits.reachable or ()) - limits.coming.keys())
        self._queue.observe([Change(Table.TASKS, task.id, None, task)])
        found = scheduler.plan(self._queue, state, self._roster.samples(), free, now_us, 1).placements
        self._queue.observe([Change(Table.TASKS, task.id, task, None)])
        return found[0] if found else None
