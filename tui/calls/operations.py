"""Calls about operations, and about dead letters by their cause."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.calls.base import Calls


class OperationCalls(Calls):
    """Retry, discard, priority, run on nodes; undo and stop; causes and annotations.

    `cause` is the fingerprint of dead letters, instead of ids; `undo_window_ms` None = the cluster's own, 0 = at
    once.
    """

    async def retry(
        self,
        ids: Sequence[str] = (),
        *,
        cause: str = "",
        canary: bool = False,
        edited_spec: types_pb2.TaskSpec | None = None,
        undo_window_ms: int | None = None,
    ) -> cluster_pb2.MutationReply:
        request = cluster_pb2.RetryTaskRequest(
            mutation=self._mutation(),
            ids=ids,
            fingerprint=cause,
            canary=canary,
            edited_spec=edited_spec,
            undo_window_ms=undo_window_ms,
        )
        reply: cluster_pb2.MutationReply = await self._write("RetryTask", request)
        return reply

    async def discard(
        self, ids: Sequence[str], reason: str, *, cause: str = "", undo_window_ms: int | None = None
    ) -> cluster_pb2.MutationReply:
        request = cluster_pb2.CancelTaskRequest(
            mutation=self._mutation(), ids=ids, reason=reason, fingerprint=cause, undo_window_ms=undo_window_ms
        )
        reply: cluster_pb2.MutationReply = await self._write("DiscardTask", request)
        return reply

    async def set_priority(
        self, ids: Sequence[str], priority: int, *, undo_window_ms: int | None = None
    ) -> cluster_pb2.MutationReply:
        request = cluster_pb2.SetPriorityRequest(
            mutation=self._mutation(), ids=ids, priority=priority, undo_window_ms=undo_window_ms
        )
        reply: cluster_pb2.MutationReply = await self._write("SetPriority", request)
        return reply

    async def annotate(self, task_id: str, text: str) -> cluster_pb2.MutationReply:
        request = cluster_pb2.AnnotateTaskRequest(mutation=self._mutation(), id=task_id, text=text)
        reply: cluster_pb2.MutationReply = await self._write("AnnotateTask", request)
        return reply

    async def run_on_nodes(
        self, task: cluster_pb2.TaskRequest, nodes: Sequence[str] = (), *, everywhere: bool = False
    ) -> cluster_pb2.RunOnNodesReply:
        request = cluster_pb2.RunOnNodesRequest(mutation=self._mutation(), task=task, nodes=nodes, all=everywhere)
        reply: cluster_pb2.RunOnNodesReply = await self._write("RunOnNodes", request)
        return reply

    async def undo_operation(self, operation_id: str, reason: str = "") -> cluster_pb2.MutationReply:
        """Refused once it has begun."""
        request = cluster_pb2.StopOperationRequest(mutation=self._mutation(), id=operation_id, reason=reason)
        reply: cluster_pb2.MutationReply = await self._write("UndoOperation", request)
        return reply

    async def stop_operation(self, operation_id: str, reason: str = "") -> cluster_pb2.MutationReply:
        """Where it stands; undone if it has not begun."""
        request = cluster_pb2.StopOperationRequest(mutation=self._mutation(), id=operation_id, reason=reason)
        reply: cluster_pb2.MutationReply = await self._write("StopOperation", request)
        return reply

    async def list_causes(
        self, limit: int = 0, *, at: cluster_pb2.Moment | None = None
    ) -> cluster_pb2.ListCausesReply:
        request = cluster_pb2.ListCausesRequest(limit=limit, freshness=self._freshness(), at=at)
        reply: cluster_pb2.ListCausesReply = await self._call("ListCauses", request, self._patience_s(at))
        return reply

    async def list_operations(
        self, *, live: bool = False, limit: int = 50, cursor: str = "", at: cluster_pb2.Moment | None = None
    ) -> cluster_pb2.ListOperationsReply:
        request = cluster_pb2.ListOperationsRequest(
            live=live, limit=limit, cursor=cursor, freshness=self._freshness(), at=at
        )
        reply: cluster_pb2.ListOperationsReply = await self._call("ListOperations", request, self._patience_s(at))
        return reply

    async def get_operation(
        self, operation_id: str, *, at: cluster_pb2.Moment | None = None
    ) -> cluster_pb2.GetOperationReply:
        request = cluster_pb2.GetOperationRequest(id=operation_id, freshness=self._freshness(), at=at)
        reply: cluster_pb2.GetOperationReply = await self._show("GetOperation", request, self._patience_s(at))
        return reply
