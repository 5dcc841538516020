"""Operations of the fake cluster. What has an undo window begins only when a test calls carry_out()."""

from __future__ import annotations

from typing import Any

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as types
from tests.tui.fake_cluster import ENDED, FakeCluster, Output, Refusal

WINDOW_MS = 10_000
LIVE = frozenset({types.OPERATION_STATE_SCHEDULED, types.OPERATION_STATE_RUNNING})


def _then(request: pb.ListCausesRequest | pb.ListOperationsRequest | pb.GetOperationRequest) -> pb.Moment | None:
    """The moment that a reply about the past is of."""
    return pb.Moment(index=request.at.index, at_us=1_000_000) if request.HasField("at") else None


def find_operation(cluster: FakeCluster, prefix: str) -> types.Operation:
    found = [row for key, row in cluster.operations.items() if key.startswith(prefix)]
    if not found:
        raise Refusal("not_found", f"There is no operation {prefix!r}.", "List them with `cortex operations`.")
    return found[0]


def meant(cluster: FakeCluster, row: types.Operation) -> list[str]:
    if row.bulk.fingerprint:
        letters = [task for task in cluster.tasks.values() if task.state == types.TASK_STATE_DEAD_LETTER]
        return [task.id for task in letters if task.fingerprint == row.bulk.fingerprint]
    return list(row.bulk.ids)


def put_operation(cluster: FakeCluster, row: types.Operation) -> None:
    cluster.operations[row.id] = row
    cluster.publish(types.Change(operation=row))


def end_operation(
    cluster: FakeCluster, operation_id: str, state: types.OperationState.ValueType, outcome: str = ""
) -> None:
    row = types.Operation()
    row.CopyFrom(cluster.operations[operation_id])
    row.state, row.outcome, row.ended_at_us = state, outcome, cluster.now_us()
    put_operation(cluster, row)


def carry_out(cluster: FakeCluster, operation_id: str) -> list[str]:
    """Does what an operation means, and ends it; ids of the tasks."""
    row = cluster.operations[operation_id]
    ids = meant(cluster, row)
    for task_id in ids:
        task = cluster.copy_of(task_id)
        if row.kind == types.OPERATION_KIND_RETRY:
            task.state = types.TASK_STATE_QUEUED
            cluster.put(task, types.EVENT_TYPE_RETRIED)
        elif row.kind == types.OPERATION_KIND_PRIORITY:
            task.priority = row.bulk.priority
            cluster.put(task, types.EVENT_TYPE_PRIORITY_CHANGED)
        else:
            task.state, task.completed_at_us = types.TASK_STATE_CANCELLED, cluster.now_us()
            cluster.put(task, types.EVENT_TYPE_CANCELLED, row.reason)
    row.counts.total = row.counts.issued = len(ids)
    end_operation(cluster, operation_id, types.OPERATION_STATE_DONE, f"{len(ids)} of {len(ids)} tasks")
    return ids


class OperationServicer:
    """The calls of one daemon; FakeServicer admits, deduplicates and refuses."""

    _cluster: FakeCluster

    def _begin(self, request: Any, kind: types.OperationKind.ValueType, default_ms: int) -> pb.MutationReply:
        cluster = self._cluster
        row = types.Operation(
            id=request.mutation.request_id,
            kind=kind,
            state=types.OPERATION_STATE_SCHEDULED,
            actor="uid:0",
            reason=getattr(request, "reason", ""),
            created_at_us=cluster.now_us(),
        )
        row.bulk.fingerprint = getattr(request, "fingerprint", "")
        row.bulk.priority = getattr(request, "priority", 0)
        row.bulk.canary = getattr(request, "canary", False)
        row.bulk.ids.extend(cluster.find(task_id).id for task_id in request.ids)
        window_ms = request.undo_window_ms if request.HasField("undo_window_ms") else default_ms
        row.not_before_us = row.created_at_us + window_ms * 1000
        for task_id in meant(cluster, row):
            state = cluster.tasks[task_id].state
            if (state in ENDED) == (kind == types.OPERATION_KIND_PRIORITY):
                raise Refusal("wrong_state", f"Task {task_id} is not meant for that.", "Look at its present state.")
        put_operation(cluster, row)
        if not window_ms:
            carry_out(cluster, row.id)
        return pb.MutationReply(operation_id=row.id, index=cluster.index, ids=row.bulk.ids)

    def _RetryTask(self, request: pb.RetryTaskRequest) -> pb.MutationReply:
        if request.HasField("edited_spec"):
            task = self._cluster.copy_of(request.ids[0])
            task.spec.CopyFrom(request.edited_spec)
            self._cluster.put(task)
        return self._begin(request, types.OPERATION_KIND_RETRY, WINDOW_MS if request.fingerprint else 0)

    def _DiscardTask(self, request: pb.CancelTaskRequest) -> pb.MutationReply:
        return self._begin(request, types.OPERATION_KIND_DISCARD, WINDOW_MS)

    def _SetPriority(self, request: pb.SetPriorityRequest) -> pb.MutationReply:
        return self._begin(request, types.OPERATION_KIND_PRIORITY, WINDOW_MS)

    def _AnnotateTask(self, request: pb.AnnotateTaskRequest) -> pb.MutationReply:
        task = self._cluster.copy_of(self._cluster.find(request.id).id)
        task.annotations.add(at_us=self._cluster.now_us(), actor="uid:0", text=request.text)
        self._cluster.put(task, types.EVENT_TYPE_ANNOTATED, request.text)
        return pb.MutationReply(index=self._cluster.index, ids=[task.id])

    def _ListCauses(self, request: pb.ListCausesRequest) -> pb.ListCausesReply:
        groups: dict[str, list[types.Task]] = {}
        for task in self._cluster.tasks.values():
            if task.state == types.TASK_STATE_DEAD_LETTER:
                groups.setdefault(task.fingerprint, []).append(task)
        causes = [
            pb.DeadLetterCause(
                fingerprint=key,
                count=len(tasks),
                first_at_us=tasks[0].dead_lettered_at_us,
                last_at_us=tasks[-1].dead_lettered_at_us,
                nodes=sorted({task.node for task in tasks}),
                sample=tasks[-1],
            )
            for key, tasks in groups.items()
        ]
        causes.sort(key=lambda cause: -cause.count)
        return pb.ListCausesReply(causes=causes, index=self._cluster.index, at=_then(request))

    def _ListOperations(self, request: pb.ListOperationsRequest) -> pb.ListOperationsReply:
        found = [
            row for row in reversed(self._cluster.operations.values()) if not request.live or row.state in LIVE
        ]
        begin = int(request.cursor or 0)
        page = found[begin : begin + (request.limit or 50)]
        more = begin + len(page) < len(found)
        return pb.ListOperationsReply(
            operations=page,
            next_cursor=str(begin + len(page)) if more else "",
            index=self._cluster.index,
            at=_then(request),
        )

    def _GetOperation(self, request: pb.GetOperationRequest) -> pb.GetOperationReply:
        row = find_operation(self._cluster, request.id)
        return pb.GetOperationReply(operation=row, index=self._cluster.index, at=_then(request))

    def _UndoOperation(self, request: pb.StopOperationRequest) -> pb.MutationReply:
        row = find_operation(self._cluster, request.id)
        if row.state != types.OPERATION_STATE_SCHEDULED:
            raise Refusal("wrong_state", f"Operation {row.id} has begun.", "It can be stopped.")
        end_operation(self._cluster, row.id, types.OPERATION_STATE_UNDONE, request.reason)
        return pb.MutationReply(index=self._cluster.index, ids=[row.id])

    def _StopOperation(self, request: pb.StopOperationRequest) -> pb.MutationReply:
        row = find_operation(self._cluster, request.id)
        end_operation(self._cluster, row.id, types.OPERATION_STATE_STOPPED, request.reason)
        return pb.MutationReply(index=self._cluster.index, ids=[row.id])

    def _RunOnNodes(self, request: pb.RunOnNodesRequest) -> pb.RunOnNodesReply:
        cluster = self._cluster
        for name in request.nodes:
            if name not in cluster.nodes:
                raise Refusal("not_found", f"There is no node {name!r}.", "List the nodes with `cortex nodes`.")
        down = [n for n, view in cluster.nodes.items() if not view.node.online]
        nodes = list(request.nodes) or [node for node in cluster.nodes if node not in down]
        operation_id = request.mutation.request_id
        ids = [f"{operation_id}.{number}" for number in range(len(nodes))]
        for task_id, node in zip(ids, nodes, strict=True):
            task = cluster.add_task(task_id, operation=operation_id)
            task.spec.CopyFrom(request.task.spec)
            task.spec.constraints.target_node = node
            cluster.outputs.setdefault(task_id, Output())
        skipped = [pb.NodeVerdict(node=node, reason="is offline") for node in down if request.all]
        return pb.RunOnNodesReply(
            operation_id=operation_id, index=cluster.index, nodes=nodes, task_ids=ids, skipped=skipped
        )
