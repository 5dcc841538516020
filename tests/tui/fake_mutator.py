"""What would change the cluster of a test: every call is noted in its source, and answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui.fake import NOW_US

if TYPE_CHECKING:
    from tests.tui.fake_source import FakeSource


class FakeMutator:
    """Notes every call, and answers it."""

    def __init__(self, source: FakeSource) -> None:
        self._source = source

    def _note(self, verb: str, *what: object) -> cluster_pb2.MutationReply:
        if self._source.refuse is not None:
            raise self._source.refuse
        self._source.calls.append((verb, *what))
        return cluster_pb2.MutationReply(operation_id=f"op-{len(self._source.calls)}", index=2000)

    def _end(self, key: str, state: types_pb2.OperationState.ValueType) -> None:
        row = types_pb2.Operation()
        row.CopyFrom(self._source.operations[key])
        row.state, row.ended_at_us, row.modified_index = state, NOW_US, row.modified_index + 1
        self._source.push(row)

    def _schedule(self, reply: cluster_pb2.MutationReply, row: types_pb2.Operation) -> cluster_pb2.MutationReply:
        """An operation that begins in 10 s, told to the stream."""
        row.id, row.state, row.actor = reply.operation_id, types_pb2.OPERATION_STATE_SCHEDULED, "uid:1000"
        row.created_at_us, row.not_before_us = NOW_US, NOW_US + 10_000_000
        row.created_index = row.modified_index = 2000 + len(self._source.calls)
        row.counts.total = len(row.bulk.ids)
        self._source.push(row)
        return reply

    async def submit(self, request: cluster_pb2.TaskRequest) -> cluster_pb2.SubmitReply:
        self._note("submit", request)
        return cluster_pb2.SubmitReply(id="01jx00000099", index=2000)

    async def cancel(self, ids: Sequence[str], reason: str = "") -> cluster_pb2.MutationReply:
        return self._note("cancel", tuple(ids), reason)

    async def retry(
        self,
        ids: Sequence[str] = (),
        *,
        cause: str = "",
        canary: bool = False,
        edited_spec: types_pb2.TaskSpec | None = None,
        undo_window_ms: int | None = None,
    ) -> cluster_pb2.MutationReply:
        if edited_spec is not None:
            return self._note("retry", tuple(ids), edited_spec)
        if not cause:
            return self._note("retry", tuple(ids))
        reply = self._note("canary" if canary else "retry_cause", cause)
        bulk = types_pb2.BulkPlan(fingerprint=cause, canary=canary)
        return self._schedule(reply, types_pb2.Operation(kind=types_pb2.OPERATION_KIND_RETRY, bulk=bulk))

    async def discard(
        self, ids: Sequence[str], reason: str, *, cause: str = "", undo_window_ms: int | None = None
    ) -> cluster_pb2.MutationReply:
        reply = self._note("discard", tuple(ids) or cause, reason)
        bulk = types_pb2.BulkPlan(fingerprint=cause, ids=ids)
        row = types_pb2.Operation(kind=types_pb2.OPERATION_KIND_DISCARD, bulk=bulk, reason=reason)
        return self._schedule(reply, row)

    async def set_priority(
        self, ids: Sequence[str], priority: int, *, undo_window_ms: int | None = None
    ) -> cluster_pb2.MutationReply:
        reply = self._note("set_priority", tuple(ids), priority)
        bulk = types_pb2.BulkPlan(ids=ids, priority=priority)
        return self._schedule(reply, types_pb2.Operation(kind=types_pb2.OPERATION_KIND_PRIORITY, bulk=bulk))

    async def annotate(self, task_id: str, text: str) -> cluster_pb2.MutationReply:
        return self._note("annotate", task_id, text)

    async def undo_operation(self, operation_id: str, reason: str = "") -> cluster_pb2.MutationReply:
        reply = self._note("undo_operation", operation_id)
        self._end(operation_id, types_pb2.OPERATION_STATE_UNDONE)
        return reply

    async def stop_operation(self, operation_id: str, reason: str = "") -> cluster_pb2.MutationReply:
        reply = self._note("stop_operation", operation_id)
        self._end(operation_id, types_pb2.OPERATION_STATE_STOPPED)
        return reply

    async def cordon(self, node: str, message: str = "") -> cluster_pb2.MutationReply:
        return self._note("cordon", node, message)

    async def uncordon(self, node: str) -> cluster_pb2.MutationReply:
        return self._note("uncordon", node)

    async def drain_node(self, request: cluster_pb2.DrainRequest) -> cluster_pb2.DrainNodeReply:
        if self._source.refuse_plan is not None:
            refusal, self._source.refuse_plan = self._source.refuse_plan, None
            raise refusal
        reply = self._note("drain_node", request)
        plan = self._source.plans[request.plan_id]
        operation = types_pb2.Operation(
            id=reply.operation_id,
            kind=types_pb2.OPERATION_KIND_DRAIN,
            state=types_pb2.OPERATION_STATE_SCHEDULED,
            node=request.node,
            drain=plan,
            created_at_us=NOW_US,
            not_before_us=NOW_US + 10_000_000,
            deadline_us=NOW_US + plan.deadline_ms * 1000 if plan.deadline_ms else 0,
            modified_index=reply.index,
        )
        self._source.push(operation)
        return cluster_pb2.DrainNodeReply(operation_id=reply.operation_id, index=reply.index, plan=plan)

    async def remove_node(self, node: str, message: str = "") -> cluster_pb2.MutationReply:
        return self._note("remove_node", node)

    async def cancel_workflow(self, workflow_id: str, reason: str = "") -> cluster_pb2.MutationReply:
        return self._note("cancel_workflow", workflow_id, reason)

    async def resume_workflow(self, workflow_id: str, key: str = "") -> cluster_pb2.MutationReply:
        return self._note("resume_workflow", workflow_id, key)
