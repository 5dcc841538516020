"""Workflows from Python programs: build one, submit it, wait for it.

from tui.workflow import Workflow, submit

flow = Workflow("release", context={"target": "staging"})
flow.task("build", command=["make"])
flow.task("deploy", command="make deploy", depends_on=["build"], condition="parent.build.exitCode === 0")
result = submit(flow, data="demo")
print(result.state, result.tasks["deploy"].exit_code)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from cortex.v1 import cluster_pb2
from tui.documents import json_view, workflow_view
from tui.link.client import ClusterClient, ClusterError
from tui.link.target import resolve
from tui.link.workflow_follow import Progress, follow_workflow
from tui.written.document import Document
from tui.written.workflowfile import workflow_request

__all__ = ["ClusterError", "TaskOutcome", "Workflow", "WorkflowResult", "submit"]


class Workflow:
    """The document of a workflow, as its file would be; task() adds to it and returns the workflow."""

    def __init__(
        self,
        name: str,
        *,
        context: Mapping[str, Any] | None = None,
        policy: str | None = None,
        max_failures: int | None = None,
        key: str | None = None,
    ) -> None:
        self.name = name
        self._fields: dict[str, Any] = {
            "name": name,
            "key": key,
            "context": None if context is None else dict(context),
        }
        self._fields |= {"policy": policy, "max_failures": max_failures}
        self._tasks: dict[str, dict[str, Any]] = {}

    def task(
        self,
        key: str,
        command: Sequence[str | bytes] | str | None = None,
        *,
        depends_on: Sequence[str] | str = (),
        condition: str | bool | None = None,
        rule: str | None = None,
        map: Sequence[Any] | str | None = None,  # noqa: A002
        can_fail: bool = False,
        finally_: bool = False,
        **fields: Any,
    ) -> Self:
        """Adds a task; `map` is a list or "context.KEY", `fields` are further ones of a task file: env, timeout ...

        Raises ValueError for a key that is there already.
        """
        if key in self._tasks:
            raise ValueError(f"The workflow {self.name!r} has a task {key!r} already.")
        given = {
            "command": command,
            "depends_on": [depends_on] if isinstance(depends_on, str) else list(depends_on) or None,
            "condition": condition,
            "rule": rule,
            "map": None if map is None else {"over": map},
            "can_fail": can_fail or None,
            "finally": finally_ or None,
            **fields,
        }
        self._tasks[key] = {name: value for name, value in given.items() if value is not None}
        return self

    def document(self) -> dict[str, Any]:
        """What a file of this workflow would hold; yours to change."""
        fields = {name: value for name, value in self._fields.items() if value is not None}
        return {**fields, "tasks": {key: dict(task) for key, task in self._tasks.items()}}

    def request(self) -> cluster_pb2.SubmitWorkflowRequest:
        """For ClusterClient.submit_workflow. Raises ClusterError that names all that is wrong."""
        return workflow_request(Document(self.document()), f"workflow {self.name}")


@dataclass(frozen=True)
class TaskOutcome:
    """How one task of a workflow stands; `exit_code` is None if it was killed or never ran."""

    task_id: str
    state: str
    reason: str
    exit_code: int | None
    attempt: int
    run: int


@dataclass(frozen=True)
class WorkflowResult:
    """How a workflow stands: ended if it was waited for. `tasks` and `context` are by key, read-only."""

    id: str
    state: str
    run: int
    context: Mapping[str, Any]
    tasks: Mapping[str, TaskOutcome]

    @property
    def completed(self) -> bool:
        """Whether all went well."""
        return self.state == "completed"


def submit(
    workflow: Workflow,
    *,
    data: str | Path | None = None,
    cluster: str | None = None,
    wait: bool = True,
    progress: Progress | None = None,
) -> WorkflowResult:
    """Submits a workflow to a cluster, named as for `cortex`; with `wait`, returns when it has ended.

    `data` is the folder of `cortex up`, `cluster` addresses; without both, CORTEX_CLUSTER and the context file
    decide. `progress` gets a line for each task that begins or ends. Raises ClusterError, and RuntimeError within a
    running event loop: there, use ClusterClient.submit_workflow and tui.link.workflow_follow.
    """
    if _in_event_loop():
        raise RuntimeError("submit() blocks; within an event loop await ClusterClient.submit_workflow instead.")
    request = workflow.request()
    where = resolve(None if data is None else str(data), cluster)

    async def work() -> cluster_pb2.WorkflowStatus:
        async with ClusterClient(where.targets, where.secret) as client:
            accepted = await client.submit_workflow(request)
            if wait:
                return await follow_workflow(client, accepted.id, progress)
            return (await client.get_workflow(accepted.id)).status

    return _result(asyncio.run(work()))


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _result(status: cluster_pb2.WorkflowStatus) -> WorkflowResult:
    row = status.workflow
    tasks = {
        task.task_key: TaskOutcome(
            task_id=task.id,
            state=json_view.task_state(task.state),
            reason=workflow_view.reason(task),
            exit_code=workflow_view.exit_code(task),
            attempt=task.attempt,
            run=task.run,
        )
        for task in status.tasks
    }
    return WorkflowResult(
        id=row.id,
        state=workflow_view.workflow_state(row.state),
        run=row.run,
        context=MappingProxyType({item.key: workflow_view.context_value(item) for item in row.context}),
        tasks=MappingProxyType(tasks),
    )
