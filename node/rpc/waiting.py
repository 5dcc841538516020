"""Why tasks wait, as lists and watches tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cortex.v1 import cluster_pb2 as pb
from cortex.v1.types_pb2 import Shape, Task, TaskState
from node.core.queue import group_key
from node.core.waiting import early, shape_of

_QUEUED = TaskState.TASK_STATE_QUEUED


class Reasons:
    """Fills the reason of queued tasks in. `now_us` is leader time; `reason_of` says what the leader found."""

    def __init__(self, now_us: int, reason_of: Callable[[Task], str]) -> None:
        self._now_us = now_us
        self._reason_of = reason_of

    def fill(self, tasks: Iterable[Task]) -> list[Task]:
        """The tasks in order; those that wait as copies with their reason."""
        return [self._filled(task) if task.state == _QUEUED else task for task in tasks]

    def _filled(self, task: Task) -> Task:
        reason = early(task, self._now_us) or self._reason_of(task)
        if not reason and task.unstartable_nodes:
            reason = f"could not run on {', '.join(sorted(task.unstartable_nodes)[:5])}, and waits for another node"
        if not reason:
            return task
        filled = Task()
        filled.CopyFrom(task)
        filled.reason = reason
        return filled


def from_leader(waiting: Sequence[pb.Waiting]) -> Callable[[Task], str]:
    """`reason_of` by what the leader said of all shapes."""
    known = {_key(item.shape): item.reason for item in waiting}
    return lambda task: known.get(_key(shape_of(group_key(task.spec))), "")


class Told:
    """What one watch was told, so that it is told only what changed."""

    def __init__(self) -> None:
        self._told: dict[bytes, pb.Waiting] = {}

    def news(self, waiting: Sequence[pb.Waiting]) -> list[pb.Waiting]:
        """What is new or else than before; those that wait no more with an empty reason."""
        now = {_key(item.shape): item for item in waiting}
        before, self._told = self._told, now
        news = [item for key, item in now.items() if key not in before or before[key].reason != item.reason]
        news += [pb.Waiting(shape=item.shape) for key, item in before.items() if key not in now]
        return news


def _key(shape: Shape) -> bytes:
    return shape.SerializeToString(deterministic=True)
