"""Calls about tasks and their events."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.calls.base import Calls
from tui.errors import ClusterError

# What a busy cluster accepts at least.
_BATCH_TASKS_PER_S = 500


class TaskCalls(Calls):
    """Submit, show, cancel, retry, explain."""

    async def submit(self, task: cluster_pb2.TaskRequest, *, dry_run: bool = False) -> cluster_pb2.SubmitReply:
        request = cluster_pb2.SubmitRequest(mutation=self._mutation(), task=task, dry_run=dry_run)
        reply: cluster_pb2.SubmitReply = await self._write("Submit", request)
        return reply

    async def submit_batch(self, tasks: Sequence[cluster_pb2.TaskRequest]) -> cluster_pb2.SubmitBatchReply:
        request = cluster_pb2.SubmitBatchRequest(mutation=self._mutation(), tasks=tasks)
        timeout_s = self._timeout_s * 6 + len(tasks) / _BATCH_TASKS_PER_S
        reply: cluster_pb2.SubmitBatchReply = await self._write("SubmitBatch", request, timeout_s)
        return reply

    async def dispatch_subagents(
        self, prompt: str, context: str = "", *, count: int, task: cluster_pb2.TaskRequest
    ) -> cluster_pb2.SubmitBatchReply:
        """`task` says what else holds for each of the `count` tasks: name, priority, constraints."""
        if not 0 <= count < 1 << 32:
            raise ClusterError("invalid", f"count is {count}, it goes from 1 to 1000.", "Give a whole number.")
        request = cluster_pb2.DispatchSubagentsRequest(
            mutation=self._mutation(), prompt=prompt, count=count, context=context, task=task
        )
        reply: cluster_pb2.SubmitBatchReply = await self._write("DispatchSubagents", request, self._timeout_s * 6)
        return reply

    async def cancel(self, ids: Sequence[str], reason: str = "") -> cluster_pb2.MutationReply:
        request = cluster_pb2.CancelTaskRequest(mutation=self._mutation(), ids=ids, reason=reason)
        reply: cluster_pb2.MutationReply = await self._write("CancelTask", request)
        return reply

    async def get_task(self, task_id: str, *, at: cluster_pb2.Moment | None = None) -> cluster_pb2.GetTaskReply:
        """`at`: as it was then."""
        request = cluster_pb2.GetTaskRequest(id=task_id, freshness=self._freshness(), at=at)
        reply: cluster_pb2.GetTaskReply = await self._show("GetTask", request, self._patience_s(at))
        return reply

    async def list_tasks(
        self,
        *,
        states: Sequence[types_pb2.TaskState.ValueType] = (),
        node: str = "",
        workflow: str = "",
        operation: str = "",
        text: str = "",
        limit: int = 50,
        cursor: str = "",
        cause: str = "",
        at: cluster_pb2.Moment | None = None,
    ) -> cluster_pb2.ListTasksReply:
        """`at`: as they were then."""
        request = cluster_pb2.ListTasksRequest(
            states=states,
            node=node,
            workflow=workflow,
            operation=operation,
            text=text,
            limit=limit,
            cursor=cursor,
            fingerprint=cause,
            freshness=self._freshness(),
            at=at,
        )
        reply: cluster_pb2.ListTasksReply = await self._call("ListTasks", request, self._patience_s(at))
        return reply

    async def why(self, task_id: str, *, at: cluster_pb2.Moment | None = None) -> cluster_pb2.WhyReply:
        """`at`: as of then; without it a task that was placed is judged as of its last placement."""
        request = cluster_pb2.WhyRequest(id=task_id, freshness=self._freshness(), at=at)
        reply: cluster_pb2.WhyReply = await self._call("Why", request, self._timeout_s)
        return reply
