"""What can be changed in the made-up cluster."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.demo import tasks
from tui.demo.cluster import DemoCluster
from tui.demo.drains import DemoDrains
from tui.demo.operations import WINDOW_MS, DemoOperations, Push
from tui.source import SourceError

_ACTOR = "uid:1000"


class DemoMutator:
    """Implements tui.source.Mutator: tasks and letters end or run again, nodes are cordoned and drained.

    More it refuses.
    """

    def __init__(self, cluster: DemoCluster, push: Push, operations: DemoOperations, drains: DemoDrains) -> None:
        self._cluster = cluster
        self._push = push
        self._operations, self._drains = operations, drains

    async def submit(self, task: cluster_pb2.TaskRequest) -> cluster_pb2.SubmitReply:
        raise _not_here("submit")

    async def cancel(self, ids: Sequence[str], reason: str = "") -> cluster_pb2.MutationReply:
        return self._cancel(ids)

    async def retry(
        self,
        ids: Sequence[str] = (),
        *,
        cause: str = "",
        canary: bool = False,
        edited_spec: types_pb2.TaskSpec | None = None,
        undo_window_ms: int | None = None,
    ) -> cluster_pb2.MutationReply:
        if canary:
            raise _not_here("canaries")
        if not cause:
            return self._requeue(ids)
        row = types_pb2.Operation(kind=types_pb2.OPERATION_KIND_RETRY)
        row.bulk.fingerprint = cause
        return self._operations.begin_later(row, self._of_cause(cause), self._requeue, undo_window_ms)

    async def discard(
        self, ids: Sequence[str], reason: str, *, cause: str = "", undo_window_ms: int | None = None
    ) -> cluster_pb2.MutationReply:
        row = types_pb2.Operation(kind=types_pb2.OPERATION_KIND_DISCARD, reason=reason)
        row.bulk.fingerprint = cause
        row.bulk.ids.extend(ids)
        chosen = self._of_cause(cause) if cause else ids
        return self._operations.begin_later(row, chosen, self._cancel, undo_window_ms)

    async def set_priority(
        self, ids: Sequence[str], priority: int, *, undo_window_ms: int | None = None
    ) -> cluster_pb2.MutationReply:
        raise _not_here("priority")

    async def annotate(self, task_id: str, text: str) -> cluster_pb2.MutationReply:
        raise _not_here("annotate")

    async def undo_operation(self, operation_id: str, reason: str = "") -> cluster_pb2.MutationReply:
        return self._operations.undo(operation_id, reason)

    async def stop_operation(self, operation_id: str, reason: str = "") -> cluster_pb2.MutationReply:
        raise _not_here("operations")

    async def cordon(self, node: str, message: str = "") -> cluster_pb2.MutationReply:
        return self._node_to(node, types_pb2.NODE_STATE_CORDONED, types_pb2.EVENT_TYPE_NODE_CORDONED, message)

    async def uncordon(self, node: str) -> cluster_pb2.MutationReply:
        return self._node_to(node, types_pb2.NODE_STATE_ACTIVE, types_pb2.EVENT_TYPE_NODE_UNCORDONED, "")

    async def drain_node(self, request: cluster_pb2.DrainRequest) -> cluster_pb2.DrainNodeReply:
        plan = self._drains.commit(request.plan_id)
        row = types_pb2.Operation(kind=types_pb2.OPERATION_KIND_DRAIN, node=plan.node, drain=plan)
        ids = [move.task for move in plan.moves]
        window_ms = min(WINDOW_MS, plan.deadline_ms // 4) if plan.deadline_ms else WINDOW_MS
        reply = self._operations.begin_later(
            row, ids, lambda _ids: self._drains.carry_out(plan, self._move), window_ms,
            lambda: self._drains.restore(plan),
        )  # fmt: skip
        return cluster_pb2.DrainNodeReply(operation_id=reply.operation_id, index=reply.index, plan=plan)

    async def remove_node(self, node: str, message: str = "") -> cluster_pb2.MutationReply:
        raise _not_here("remove")

    async def cancel_workflow(self, workflow_id: str, reason: str = "") -> cluster_pb2.MutationReply:
        raise _not_here("workflow cancel")

    async def resume_workflow(self, workflow_id: str, key: str = "") -> cluster_pb2.MutationReply:
        raise _not_here("workflow resume")

    def _requeue(self, ids: Sequence[str]) -> cluster_pb2.MutationReply:
        return self._to(ids, tasks.QUEUED, types_pb2.EVENT_TYPE_RETRIED)

    def _move(self, ids: Sequence[str]) -> None:
        """Off their node: they wait again with run and attempt as they are."""
        for task_id in ids:
            if (row := self._cluster.task(task_id)) is not None:
                changed = types_pb2.Task()
                changed.CopyFrom(row)
                changed.state, changed.node, changed.queued_at_us = tasks.QUEUED, "", self._cluster.now_us
                self._push(self._cluster.put(changed, types_pb2.EVENT_TYPE_MIGRATED))

    def _cancel(self, ids: Sequence[str]) -> cluster_pb2.MutationReply:
        return self._to(ids, types_pb2.TASK_STATE_CANCELLED, types_pb2.EVENT_TYPE_CANCELLED)

    def _of_cause(self, fingerprint: str) -> list[str]:
        return [row.id for row in self._cluster.letters() if row.fingerprint == fingerprint]

    def _to(
        self, ids: Sequence[str], state: types_pb2.TaskState.ValueType, kind: types_pb2.EventType.ValueType
    ) -> cluster_pb2.MutationReply:
        for task_id in ids:
            row = self._cluster.task(task_id)
            if row is None:
                raise SourceError(f"There is no task {task_id}.")
            changed = types_pb2.Task()
            changed.CopyFrom(row)
            changed.state = state
            if state == tasks.QUEUED:
                changed.run, changed.attempt, changed.queued_at_us = row.run + 1, 0, self._cluster.now_us
                changed.ClearField("completed_at_us")
            else:
                changed.completed_at_us = self._cluster.now_us
            self._push(self._cluster.put(changed, kind, _ACTOR))
        return cluster_pb2.MutationReply(operation_id="demo", index=self._cluster.index, ids=ids)

    def _node_to(
        self,
        node: str,
        state: types_pb2.NodeState.ValueType,
        kind: types_pb2.EventType.ValueType,
        message: str,
    ) -> cluster_pb2.MutationReply:
        row = self._cluster.nodes.get(node)
        if row is None:
            raise SourceError(f"There is no node {node}.")
        changed = types_pb2.Node()
        changed.CopyFrom(row)
        changed.state, changed.message = state, message
        self._push(self._cluster.put_node(changed, kind))
        return cluster_pb2.MutationReply(operation_id="demo", index=self._cluster.index, ids=[node])


def _not_here(verb: str) -> SourceError:
    return SourceError(f"The demo does not do {verb}.", "Try it on a real cluster: `cortex up`.")
