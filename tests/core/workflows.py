"""Short ways to say what workflows do, against a state machine by itself."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.cluster_pb2 import SubmitWorkflowRequest, TaskRequest, WorkflowTaskRequest
from cortex.v1.log_pb2 import (
    Command,
    CommandReply,
    TaskComplete,
    WorkflowAdvance,
    WorkflowCancel,
    WorkflowResume,
)
from cortex.v1.types_pb2 import RetryPolicy, Rule, Task, TaskResult, TaskSpec, TaskState, Workflow, WorkflowState
from node.core import rules, workflow
from node.core.model import Key, Table, member_id
from tests.core.cluster import Machine, failed

ONCE = RetryPolicy(max_retries=0)


def step(
    key: str,
    *after: str,
    rule: str = "",
    final: bool = False,
    spec: dict[str, object] | None = None,
    **more: object,
) -> WorkflowTaskRequest:
    """A task of a workflow that runs `true` once, after the tasks of these keys."""
    full = TaskSpec(**{"argv": [b"true"], "retry": ONCE, **(spec or {})})  # type: ignore[arg-type]
    made = WorkflowTaskRequest(key=key, depends_on=after, task=TaskRequest(spec=full), **more)  # type: ignore[arg-type]
    if rule:
        made.rule = Rule.Value(f"RULE_{rule.upper()}")
    if final:
        setattr(made, "finally", True)
    return made


def request(*steps: WorkflowTaskRequest, **more: object) -> SubmitWorkflowRequest:
    return SubmitWorkflowRequest(tasks=steps, **{"name": "w", **more})  # type: ignore[arg-type]


def try_submit(m: Machine, *steps: WorkflowTaskRequest, **more: object) -> CommandReply:
    made = workflow.complete(request(*steps, **more), m.new_id())
    return m.one(Command(workflow_submit=made))


def submit(m: Machine, *steps: WorkflowTaskRequest, **more: object) -> str:
    """Submit a workflow, which must be accepted; its id."""
    reply = try_submit(m, *steps, **more)
    assert reply.accepted, reply
    return reply.id


def row(m: Machine, workflow_id: str) -> Workflow:
    found = m.rows[Key(Table.WORKFLOWS, workflow_id)]
    assert isinstance(found, Workflow)
    return found


def member(m: Machine, workflow_id: str, key: str) -> Task:
    """A task by its key."""
    for number in range(row(m, workflow_id).count):
        task = m.task(member_id(workflow_id, number))
        if task.task_key == key:
            return task
    raise KeyError(key)


def states(m: Machine, workflow_id: str) -> dict[str, str]:
    """State names by key."""
    tasks = (m.task(member_id(workflow_id, number)) for number in range(row(m, workflow_id).count))
    return {task.task_key: TaskState.Name(task.state).removeprefix("TASK_STATE_").lower() for task in tasks}


def state(m: Machine, workflow_id: str) -> str:
    return WorkflowState.Name(row(m, workflow_id).state).removeprefix("WORKFLOW_STATE_").lower()


def start(m: Machine, workflow_id: str, key: str) -> int:
    """Assign a queued task; its fence."""
    return m.assign(member(m, workflow_id, key).id)


def finish(m: Machine, workflow_id: str, *keys: str, update: bytes = b"") -> None:
    """Run queued tasks to success, one after the other."""
    for key in keys:
        task = member(m, workflow_id, key)
        fence = task.fence if task.state in (types_pb2.TASK_STATE_ASSIGNED, types_pb2.TASK_STATE_RUNNING) else 0
        fence = fence or m.assign(task.id)
        result = TaskResult(exit_code=0, context_update=update)
        assert m.one(Command(task_complete=TaskComplete(id=task.id, fence=fence, result=result))).accepted


def fail(m: Machine, workflow_id: str, *keys: str) -> None:
    """Run queued tasks to failure."""
    for key in keys:
        task = member(m, workflow_id, key)
        assert m.one(failed(task.id, m.assign(task.id))).accepted


def verdict(m: Machine, task_id: str, *, value: bool = True, **more: object) -> CommandReply:
    """Say what the condition of a task is, for the inputs that it has now."""
    task = m.task(task_id)
    parents = [m.task(member_id(task.workflow_id, number)) for number in task.depends_on]
    made = WorkflowAdvance(task=task_id, verdict=value, input_sha256=rules.input_sha256(parents), **more)  # type: ignore[arg-type]
    return m.one(Command(workflow_advance=made))


def judge(m: Machine, workflow_id: str, key: str, *, value: bool = True, **more: object) -> None:
    reply = verdict(m, member(m, workflow_id, key).id, value=value, **more)
    assert reply.accepted, reply


def cancel(workflow_id: str, reason: str = "") -> Command:
    return Command(workflow_cancel=WorkflowCancel(id=workflow_id, reason=reason))


def resume(workflow_id: str, key: str = "") -> Command:
    return Command(workflow_resume=WorkflowResume(id=workflow_id, key=key))
