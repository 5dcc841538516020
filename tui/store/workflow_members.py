"""The tasks of one workflow: asked for once, then kept up by the stream. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.lists.rows import Changes
from tui.store.view import ClusterView

Task = types_pb2.Task


class Members:
    """Rows by their number in the workflow. `take()` costs what changed, not what there is."""

    def __init__(self, workflow_id: str, view: ClusterView) -> None:
        self.workflow_id = workflow_id
        self.tasks: dict[int, Task] = {}
        self.states: Counter[int] = Counter()
        self.loaded = False
        self._view = view
        self._changes: Changes[Task] = Changes(view.tasks)
        self._news: dict[int, Task] = {}

    def load(self, reply: cluster_pb2.GetWorkflowReply) -> None:
        """Take in the whole workflow, as the cluster answered it."""
        self.loaded = True
        self._view.put_workflow(reply.status.workflow)
        for task in reply.status.tasks:
            self._put(task)
            known = self._view.tasks.get(task.id)
            if known is not None:
                self._put(known)

    def take(self) -> Sequence[Task]:
        """Tasks that are new or changed since the last call, by number."""
        for task in self._changes.take():
            if task.workflow_id == self.workflow_id and self.loaded:
                self._put(task)
        news, self._news = self._news, {}
        return sorted(news.values(), key=lambda task: task.member)

    def close(self) -> None:
        self._changes.close()

    def _put(self, task: Task) -> None:
        known = self.tasks.get(task.member)
        if known is not None:
            older = known.modified_index > task.modified_index
            if known is task or (older and not self._view.past):
                return
            self.states[known.state] -= 1
        self.states[task.state] += 1
        self.tasks[task.member] = task
        self._news[task.member] = task
