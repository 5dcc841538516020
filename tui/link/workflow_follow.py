"""Waits until a workflow has ended, across lost links and changes of leader."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from cortex.v1 import cluster_pb2, types_pb2
from tui.documents import json_view, workflow_view
from tui.link.client import ClusterClient
from tui.link.follow import ENDED, PATIENCE_S

Progress = Callable[[str], None]
_TOLD = ENDED | {types_pb2.TASK_STATE_RUNNING}


async def follow_workflow(
    client: ClusterClient, workflow_id: str, progress: Progress | None = None
) -> cluster_pb2.WorkflowStatus:
    """The ended workflow with its tasks; `workflow_id` is an id or a unique prefix.

    `progress` gets a line for each task that begins or ends. Raises ClusterError, a transient one after 60 s in
    which nobody answered.
    """
    reply = await client.get_workflow(workflow_id)
    status, workflow_id = reply.status, reply.status.workflow.id
    if status.workflow.state in workflow_view.ENDED:
        return status
    told: dict[str, tuple[int, int]] = {task.id: (task.run, task.state) for task in status.tasks}
    count = status.workflow.count
    ended = {task.id for task in status.tasks if task.state in ENDED}

    def see(task: types_pb2.Task) -> None:
        if task.state in ENDED:
            ended.add(task.id)
        else:
            ended.discard(task.id)
        if told.get(task.id) != (task.run, task.state):
            told[task.id] = (task.run, task.state)
            if progress is not None and task.state in _TOLD:
                progress(f"{_line(task)} ({len(ended)} of {count} ended)")

    async with aclosing(client.watch(reply.index, patience_s=PATIENCE_S)) as replies:
        async for news in replies:
            over = news.snapshot_end
            for change in news.changes:
                if change.task.workflow_id == workflow_id:
                    see(change.task)
                elif change.workflow.id == workflow_id:
                    over = over or change.workflow.state in workflow_view.ENDED
            if over:
                # A snapshot has only what lives, and what comes after the end may have been a resume: so ask.
                status = (await client.get_workflow(workflow_id)).status
                if status.workflow.state in workflow_view.ENDED:
                    return status
    raise AssertionError("a watch does not end")


def _line(task: types_pb2.Task) -> str:
    """As `build failed: exit code 2`, or `build runs on n1`."""
    if task.state == types_pb2.TASK_STATE_RUNNING:
        return f"{task.task_key} runs on {task.node}"
    why = workflow_view.reason_text(task) if task.state != types_pb2.TASK_STATE_COMPLETED else ""
    return f"{task.task_key} {json_view.task_state(task.state)}" + (f": {why}" if why else "")
