"""Calls about workflows."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.calls.base import Calls


class WorkflowCalls(Calls):
    """Submit, list, show, cancel, resume."""

    async def submit_workflow(
        self, request: cluster_pb2.SubmitWorkflowRequest, *, dry_run: bool = False
    ) -> cluster_pb2.SubmitWorkflowReply:
        """`request` without mutation, which is made here; `dry_run` only has it validated."""
        asked = cluster_pb2.SubmitWorkflowRequest()
        asked.CopyFrom(request)
        asked.mutation.CopyFrom(self._mutation())
        asked.dry_run = dry_run
        reply: cluster_pb2.SubmitWorkflowReply = await self._write("SubmitWorkflow", asked, self._timeout_s * 3)
        return reply

    async def cancel_workflow(self, workflow_id: str, reason: str = "") -> cluster_pb2.MutationReply:
        request = cluster_pb2.CancelWorkflowRequest(mutation=self._mutation(), id=workflow_id, reason=reason)
        reply: cluster_pb2.MutationReply = await self._write("CancelWorkflow", request)
        return reply

    async def resume_workflow(
        self, workflow_id: str, key: str = "", *, dry_run: bool = False
    ) -> cluster_pb2.MutationReply:
        """Returns the ids of the tasks that run again, or would. An empty `key` means what did not complete."""
        request = cluster_pb2.ResumeWorkflowRequest(
            mutation=self._mutation(), id=workflow_id, key=key, dry_run=dry_run
        )
        reply: cluster_pb2.MutationReply = await self._write("ResumeWorkflow", request)
        return reply

    async def get_workflow(
        self, workflow_id: str, *, at: cluster_pb2.Moment | None = None
    ) -> cluster_pb2.GetWorkflowReply:
        """`at`: as it was then."""
        request = cluster_pb2.GetWorkflowRequest(id=workflow_id, freshness=self._freshness(), at=at)
        reply: cluster_pb2.GetWorkflowReply = await self._show("GetWorkflow", request, self._patience_s(at))
        return reply

    async def list_workflows(
        self,
        *,
        states: Sequence[types_pb2.WorkflowState.ValueType] = (),
        text: str = "",
        limit: int = 50,
        cursor: str = "",
        at: cluster_pb2.Moment | None = None,
    ) -> cluster_pb2.ListWorkflowsReply:
        """`at`: as they were then."""
        request = cluster_pb2.ListWorkflowsRequest(
            states=states, text=text, limit=limit, cursor=cursor, freshness=self._freshness(), at=at
        )
        reply: cluster_pb2.ListWorkflowsReply = await self._call("ListWorkflows", request, self._patience_s(at))
        return reply
