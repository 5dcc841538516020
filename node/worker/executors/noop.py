"""No-op tasks: complete at once, to measure what the engine itself costs."""

from __future__ import annotations

from cortex.v1.types_pb2 import TaskResult, TaskType
from cortex.v1.worker_pb2 import Assignment, Ended


class NoopExecutor:
    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_NOOP

    def run(self, assignment: Assignment, now_us: int) -> Ended:
        result = TaskResult(exit_code=0, started_at_us=now_us, ended_at_us=now_us)
        return Ended(task=assignment.task, fence=assignment.fence, result=result)
