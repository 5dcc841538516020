"""Workflows on real daemons: submit, wait, and the order in which their commands ran."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster
from tui.documents import json_view, workflow_view
from tui.link.client import ClusterClient
from tui.link.workflow_follow import follow_workflow
from tui.workflow import Workflow

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Ended:
    """A workflow that has ended."""

    status: cluster_pb2.WorkflowStatus

    @property
    def id(self) -> str:
        return self.status.workflow.id

    @property
    def state(self) -> str:
        return workflow_view.workflow_state(self.status.workflow.state)

    @property
    def context(self) -> dict[str, object]:
        return {item.key: workflow_view.context_value(item) for item in self.status.workflow.context}

    @property
    def tasks(self) -> Mapping[str, types_pb2.Task]:
        return {task.task_key: task for task in self.status.tasks}

    @property
    def states(self) -> dict[str, str]:
        """`completed`, or `skipped upstream_failed`, by key."""
        return {key: _told(task) for key, task in self.tasks.items()}


def _told(task: types_pb2.Task) -> str:
    state = json_view.task_state(task.state)
    return f"{state} {workflow_view.reason(task)}" if task.skip_reason and state == "skipped" else state


class Journal:
    """A file to which commands append one line when they begin and one when they end."""

    _numbers = itertools.count()

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"journal{next(self._numbers)}"
        self.path.touch()

    def command(self, key: str, then: str = "true") -> str:
        """A shell command that writes `+KEY`, does `then`, and writes `-KEY` if that succeeded."""
        return f"echo '+{key}' >> {self.path}; {then} && echo '-{key}' >> {self.path}"

    def lines(self) -> list[str]:
        return self.path.read_text().split()

    async def has(self, line: str) -> None:
        """Return when it is there: a command that runs by what the cluster knows may not have written it yet."""
        async with asyncio.timeout(TIMEOUT_S):
            while line not in self.lines():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def begun(self) -> Counter[str]:
        return Counter(line[1:] for line in self.lines() if line[0] == "+")

    def check_order(self, depends_on: Mapping[str, list[str]]) -> None:
        """Every key began, and never before all that it depends on had ended."""
        ended: set[str] = set()
        for line in self.lines():
            if line[0] == "-":
                ended.add(line[1:])
            else:
                missing = set(depends_on.get(line[1:], ())) - ended
                assert not missing, f"{line[1:]} began before {sorted(missing)}"
        assert self.begun().keys() >= depends_on.keys()


def wait_for_leader(cluster: Cluster) -> None:
    """Blocks, within a running event loop, too."""

    async def wait() -> None:
        async with cluster.client() as client:
            await cluster.leader(client)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, wait()).result()


async def submit(client: ClusterClient, flow: Workflow) -> str:
    return (await client.submit_workflow(flow.request())).id


async def ended(client: ClusterClient, workflow_id: str, timeout_s: float = TIMEOUT_S) -> Ended:
    async with asyncio.timeout(timeout_s):
        return Ended(await follow_workflow(client, workflow_id))


async def run(cluster: Cluster, flow: Workflow, timeout_s: float = TIMEOUT_S) -> Ended:
    """Submits it and waits for its end."""
    async with cluster.client() as client:
        return await ended(client, await submit(client, flow), timeout_s)


async def until(client: ClusterClient, workflow_id: str, key: str, state: str) -> types_pb2.Task:
    """The task `key` once it is in that state, told by the cluster's own stream."""
    async with asyncio.timeout(TIMEOUT_S):
        reply = await client.get_workflow(workflow_id)
        found = [task for task in reply.status.tasks if task.task_key == key]
        if found and json_view.task_state(found[0].state) == state:
            return found[0]
        async for news in client.watch(reply.index):
            for change in news.changes:
                task = change.task
                mine = task.workflow_id == workflow_id and task.task_key == key
                if mine and json_view.task_state(task.state) == state:
                    return task
    raise AssertionError("a watch does not end")


def step(flow: Workflow, journal: Journal, key: str, *needs: str, then: str = "true", **fields: object) -> Workflow:
    """A task that keeps the journal and is not retried."""
    return flow.task(key, journal.command(key, then), depends_on=needs, retries=0, **fields)  # type: ignore[arg-type]
