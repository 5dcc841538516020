"""Workflows for the console's tests: rows made from a few words."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake

ENDED = (fake.COMPLETED, fake.FAILED, fake.CANCELLED, types_pb2.TASK_STATE_SKIPPED, fake.DEAD)
PENDING = types_pb2.TASK_STATE_PENDING
SKIPPED = types_pb2.TASK_STATE_SKIPPED


def member(
    workflow: str,
    number: int,
    key: str,
    state: types_pb2.TaskState.ValueType,
    *needs: int,
    template: str = "",
    final: bool = False,
    condition: str = "",
    rule: types_pb2.Rule.ValueType = types_pb2.RULE_ALL_SUCCESS,
    took_s: float = 20,
) -> types_pb2.Task:
    """Task `number` of the workflow; an ended one took `took_s` and ended 10 s ago."""
    ended, failed = state in ENDED, state in (fake.FAILED, fake.DEAD)
    runs = state == fake.RUNNING
    row = fake.task(
        number + 1, key, state, f"./{key}",
        node="" if state in (PENDING, fake.QUEUED, SKIPPED) else "anvil",
        started_s=took_s + 10 if ended and state != SKIPPED else took_s if runs else 0,
        ended_s=10 if ended else 0, created_s=90,
        exit_code=None if not ended or state in (SKIPPED, fake.CANCELLED) else 1 if failed else 0,
        error="exit 1: it broke" if failed else "",
    )  # fmt: skip
    row.id, row.workflow_id, row.task_key = f"{workflow}.{number}", workflow, key
    row.member, row.template, row.condition, row.rule = number, template, condition, rule
    row.depends_on.extend(needs)
    setattr(row, "finally", final)
    if state == SKIPPED:
        row.skip_reason = types_pb2.SKIP_REASON_UPSTREAM_FAILED
        row.reason = "test failed"
        row.ClearField("result")
    return row


def status(
    workflow: str,
    name: str,
    tasks: Sequence[types_pb2.Task],
    state: types_pb2.WorkflowState.ValueType = types_pb2.WORKFLOW_STATE_RUNNING,
    *,
    index: int = 100,
    run: int = 1,
) -> cluster_pb2.GetWorkflowReply:
    over = state in (3, 4, 5)
    row = types_pb2.Workflow(
        id=workflow, name=name, state=state, run=run, count=len(tasks), actor="uid:1000",
        remaining=sum(task.state not in ENDED for task in tasks),
        failures=sum(task.state in (fake.FAILED, fake.DEAD) for task in tasks),
        created_at_us=fake.NOW_US - 90 * fake.SECOND_US, started_at_us=fake.NOW_US - 88 * fake.SECOND_US,
        completed_at_us=fake.NOW_US - 10 * fake.SECOND_US if over else 0, modified_index=index,
        reason="test failed" if state == types_pb2.WORKFLOW_STATE_FAILED else "",
    )  # fmt: skip
    return cluster_pb2.GetWorkflowReply(status=cluster_pb2.WorkflowStatus(workflow=row, tasks=tasks), index=index)


def release() -> cluster_pb2.GetWorkflowReply:
    """Half done: tests failed, a map runs, the deployment is skipped, the build waits."""
    key = "01wf0000000a"
    return status(
        key, "release",
        [
            member(key, 0, "lint", fake.COMPLETED),
            member(key, 1, "test", fake.DEAD, took_s=42),
            *(
                member(key, 2 + at, f"pack[{at}]", state, 0, template="pack")
                for at, state in enumerate((fake.COMPLETED, fake.COMPLETED, fake.RUNNING, fake.QUEUED))
            ),
            member(key, 6, "deploy", SKIPPED, 1),
            member(key, 7, "publish", PENDING, 2, 3, 4, 5, condition="parent['pack[0]'].exitCode === 0"),
            member(key, 8, "announce", PENDING, 7),
            member(key, 9, "tell", PENDING, final=True),
        ],
    )  # fmt: skip


def nightly() -> cluster_pb2.GetWorkflowReply:
    """Ended and failed: the middle one of three."""
    key = "01wf0000000b"
    tasks = [
        member(key, 0, "fetch", fake.COMPLETED),
        member(key, 1, "check", fake.DEAD, 0),
        member(key, 2, "store", SKIPPED, 1),
    ]
    return status(key, "nightly", tasks, types_pb2.WORKFLOW_STATE_FAILED)


def sample_workflows() -> dict[str, cluster_pb2.GetWorkflowReply]:
    return {reply.status.workflow.id: reply for reply in (release(), nightly())}


def reruns(reply: cluster_pb2.GetWorkflowReply, key: str) -> list[str]:
    """Ids that a resume runs again: what ended without success or has the key, and all ended that comes after."""
    tasks = reply.status.tasks
    found = {
        task.member
        for task in tasks
        if (key in (task.task_key, task.template) if key else task.state in ENDED and task.state != fake.COMPLETED)
    }
    while more := {task.member for task in tasks if found & set(task.depends_on)} - found:
        found |= more
    return [task.id for task in tasks if task.member in found and task.state in ENDED]
