"""Workflows of the fake cluster: rows and calls. Nothing advances by itself; a test starts, finishes and ends."""

from __future__ import annotations

from typing import Any

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as types
from tests.tui.fake_cluster import ENDED, FakeCluster, Refusal

WORKFLOW_ENDED = frozenset({3, 4, 5})


def find_workflow(cluster: FakeCluster, prefix: str) -> types.Workflow:
    found = [row for key, row in cluster.workflows.items() if key.startswith(prefix)]
    if not found:
        raise Refusal("not_found", f"There is no workflow {prefix!r}.", "List them with `cortex workflow list`.")
    return found[0]


def members(cluster: FakeCluster, workflow_id: str) -> list[types.Task]:
    return [task for task in cluster.tasks.values() if task.workflow_id == workflow_id]


def put_workflow(cluster: FakeCluster, row: types.Workflow) -> None:
    """Commits a new version of the row."""
    cluster.workflows[row.id] = row
    cluster.publish(types.Change(workflow=row))


def end_workflow(
    cluster: FakeCluster, workflow_id: str, state: types.WorkflowState.ValueType, reason: str = ""
) -> None:
    row = types.Workflow()
    row.CopyFrom(cluster.workflows[workflow_id])
    row.state, row.reason, row.remaining, row.completed_at_us = state, reason, 0, cluster.now_us()
    put_workflow(cluster, row)


def skip(cluster: FakeCluster, task_id: str, reason: types.SkipReason.ValueType) -> None:
    task = cluster.copy_of(task_id)
    task.state, task.skip_reason, task.completed_at_us = types.TASK_STATE_SKIPPED, reason, cluster.now_us()
    cluster.put(task, types.EVENT_TYPE_SKIPPED)


def accept_workflow(cluster: FakeCluster, request: pb.SubmitWorkflowRequest) -> types.Workflow:
    cluster.index += 1
    row = types.Workflow(
        id=f"w{cluster.index:05d}",
        name=request.name,
        state=types.WORKFLOW_STATE_PENDING,
        run=1,
        context=request.context,
        policy=request.policy or types.FAILURE_POLICY_CONTINUE,
        max_failures=request.max_failures,
        count=len(request.tasks),
        remaining=len(request.tasks),
        submit_key=request.submit_key,
        created_at_us=cluster.now_us(),
        started_at_us=cluster.now_us(),
        created_index=cluster.index,
    )
    numbers = {task.key: number for number, task in enumerate(request.tasks)}
    for task in request.tasks:
        cluster.add_task(
            f"{row.id}.{numbers[task.key]}",
            name=task.task.name or task.key,
            state=types.TASK_STATE_PENDING if task.depends_on else types.TASK_STATE_QUEUED,
            workflow_id=row.id,
            task_key=task.key,
            member=numbers[task.key],
            depends_on=[numbers[key] for key in task.depends_on],
            rule=task.rule or types.RULE_ALL_SUCCESS,
        )
    put_workflow(cluster, row)
    return row


class WorkflowServicer:
    """The calls of one daemon; FakeServicer admits, deduplicates and refuses."""

    _cluster: FakeCluster

    def _SubmitWorkflow(self, request: pb.SubmitWorkflowRequest) -> pb.SubmitWorkflowReply:
        cluster = self._cluster
        if request.dry_run:
            return pb.SubmitWorkflowReply(tasks=len(request.tasks), index=cluster.index)
        for row in cluster.workflows.values():
            if request.submit_key and row.submit_key == request.submit_key:
                return pb.SubmitWorkflowReply(id=row.id, deduplicated=True, index=cluster.index, tasks=row.count)
        row = accept_workflow(cluster, request)
        return pb.SubmitWorkflowReply(id=row.id, index=cluster.index, tasks=row.count)

    def _ListWorkflows(self, request: pb.ListWorkflowsRequest) -> pb.ListWorkflowsReply:
        found = [
            row
            for row in reversed(self._cluster.workflows.values())
            if (not request.states or row.state in request.states) and request.text in f"{row.id} {row.name}"
        ]
        begin = int(request.cursor or 0)
        page = found[begin : begin + (request.limit or 50)]
        more = begin + len(page) < len(found)
        return pb.ListWorkflowsReply(
            workflows=page,
            total=len(found),
            next_cursor=str(begin + len(page)) if more else "",
            index=self._cluster.index,
        )

    def _GetWorkflow(self, request: pb.GetWorkflowRequest) -> pb.GetWorkflowReply:
        row = find_workflow(self._cluster, request.id)
        status = pb.WorkflowStatus(workflow=row, tasks=members(self._cluster, row.id))
        return pb.GetWorkflowReply(status=status, index=self._cluster.index)

    def _CancelWorkflow(self, request: pb.CancelWorkflowRequest) -> pb.MutationReply:
        cluster = self._cluster
        row = find_workflow(cluster, request.id)
        if row.state in WORKFLOW_ENDED:
            raise Refusal("wrong_state", f"Workflow {row.id} has ended.", "Look at it first.")
        for task in members(cluster, row.id):
            if task.state not in ENDED:
                copy = cluster.copy_of(task.id)
                copy.state, copy.cancel_reason = types.TASK_STATE_CANCELLED, request.reason
                cluster.put(copy, types.EVENT_TYPE_CANCELLED)
        end_workflow(cluster, row.id, types.WORKFLOW_STATE_CANCELLED, request.reason)
        return self._replied(request, [row.id])

    def _ResumeWorkflow(self, request: pb.ResumeWorkflowRequest) -> pb.MutationReply:
        cluster = self._cluster
        row = find_workflow(cluster, request.id)
        again = [
            task
            for task in members(cluster, row.id)
            if task.task_key == request.key or (not request.key and task.state != types.TASK_STATE_COMPLETED)
        ]
        if not request.dry_run:
            for task in again:
                copy = cluster.copy_of(task.id)
                copy.state, copy.run = types.TASK_STATE_QUEUED, copy.run + 1
                cluster.put(copy, types.EVENT_TYPE_RETRIED)
            row.state, row.run, row.remaining = types.WORKFLOW_STATE_RUNNING, row.run + 1, len(again)
            put_workflow(cluster, row)
        return self._replied(request, [task.id for task in again])

    def _replied(self, request: Any, ids: list[str]) -> pb.MutationReply:
        return pb.MutationReply(operation_id=request.mutation.request_id, index=self._cluster.index, ids=ids)
