"""No-op tasks: complete at once, to measure what the engine itself costs."""

from __future__ import annotations

from cortex.v1.types_pb2 import TaskResult, TaskType
from cortex.v1.worker_pb2 import Assignment, Ended
from node.worker.executors.port import Offer, Setup

# A no-op ends as it begins.
_SLOTS = 64


class NoopExecutor:
    def __init__(self, setup: Setup) -> None:
        """It needs nothing of its machine."""

    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_NOOP

    def probe(self) -> Offer:
        return Offer(True, slots=_SLOTS)

    def run(self, assignment: Assignment, now_us: int) -> Ended:
        result = TaskResult(exit_code=0, started_at_us=now_us, ended_at_us=now_us)
        return Ended(task=assignment.task, fence=assignment.fence, result=result)
