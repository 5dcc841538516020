"""Workflows built in Python: the same requests as files, and a synchronous submit."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from cortex.v1 import types_pb2 as types
from tests.tui.conftest import SECRET
from tests.tui.fake_cluster import FakeCluster, Refusal
from tests.tui.fake_daemon import FakeDaemon
from tests.tui.fake_workflows import end_workflow
from tui.workflow import ClusterError, Workflow, submit
from tui.written.document import Document
from tui.written.workflowfile import read_workflow, workflow_request

FILE = """
name: release
key: once
context: {target: prod}
policy: max_failures
max_failures: 2
tasks:
  lint: {command: [make, lint], retries: 0, env: {A: b}}
  build: {command: make, depends_on: [lint], map: {over: [a, b]}, priority: 3}
  deploy:
    command: make deploy
    depends_on: [build]
    condition: parent.build.exitCode === 0
    rule: all_done
    can_fail: true
  tell: {command: date, finally: true}
"""


def release() -> Workflow:
    flow = Workflow("release", context={"target": "prod"}, policy="max_failures", max_failures=2, key="once")
    flow.task("lint", ["make", "lint"], retries=0, env={"A": "b"})
    flow.task("build", command="make", depends_on="lint", map=["a", "b"], priority=3)
    return flow.task(
        "deploy",
        command="make deploy",
        depends_on=["build"],
        condition="parent.build.exitCode === 0",
        rule="all_done",
        can_fail=True,
    ).task("tell", "date", finally_=True)


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    monkeypatch.setenv("CORTEX_SECRET_FILE", str(file))


def test_the_same_request_as_from_a_file() -> None:
    assert release().request() == read_workflow(FILE, "f.yaml")


def test_the_document_is_a_files_and_a_copy() -> None:
    flow = release()
    document = flow.document()
    assert workflow_request(Document(document), "d") == flow.request()
    document["tasks"]["lint"]["command"] = "rm"
    assert flow.document()["tasks"]["lint"]["command"] == ["make", "lint"]


def test_mistakes_are_told_by_the_name_of_the_workflow() -> None:
    with pytest.raises(ClusterError, match="workflow x: task a: colour: there is no such key"):
        Workflow("x").task("a", "true", colour="red").request()
    with pytest.raises(ClusterError, match="workflow x: tasks: there is none"):
        Workflow("x").request()
    with pytest.raises(ClusterError, match="a: it holds something that JSON cannot"):
        Workflow("x", context={"a": object()}).task("a", "true").request()
    with pytest.raises(ValueError, match="has a task 'a' already"):
        Workflow("x").task("a", "true").task("a", "true")


@pytest.mark.usefixtures("secret")
async def test_submit_waits_for_the_end(cluster: FakeCluster, daemon: FakeDaemon) -> None:
    told: list[str] = []
    flow = Workflow("x", context={"n": [1]}).task("a", "true").task("b", "false", depends_on="a")
    waiting = asyncio.create_task(asyncio.to_thread(submit, flow, cluster=daemon.address, progress=told.append))
    await cluster.called("Watch")
    workflow_id = next(iter(cluster.workflows))
    cluster.start(f"{workflow_id}.0")
    cluster.finish(f"{workflow_id}.0", 0)
    cluster.start(f"{workflow_id}.1")
    cluster.finish(f"{workflow_id}.1", 4, error="exit code 4")
    end_workflow(cluster, workflow_id, types.WORKFLOW_STATE_FAILED)
    result = await waiting
    assert (result.id, result.state, result.completed, result.run) == (workflow_id, "failed", False, 1)
    assert result.context == {"n": [1]}
    assert {key: (task.state, task.exit_code, task.reason) for key, task in result.tasks.items()} == {
        "a": ("completed", 0, ""),
        "b": ("dead_letter", 4, "exit code 4"),
    }
    assert told[-1] == "b dead_letter: exit code 4 (2 of 2 ended)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.state = "completed"  # type: ignore[misc]
    with pytest.raises(TypeError):
        result.tasks["c"] = result.tasks["a"]  # type: ignore[index]


@pytest.mark.usefixtures("secret")
async def test_submit_without_waiting(daemon: FakeDaemon) -> None:
    flow = Workflow("x").task("a", "true")
    result = await asyncio.to_thread(submit, flow, cluster=daemon.address, wait=False)
    assert (result.state, result.tasks["a"].state) == ("pending", "queued")


@pytest.mark.usefixtures("secret")
async def test_submit_raises_what_the_cluster_says(cluster: FakeCluster, daemon: FakeDaemon) -> None:
    cluster.refuse["SubmitWorkflow"] = Refusal("invalid", "Task a depends on itself.", "Remove it.")
    with pytest.raises(ClusterError, match="depends on itself"):
        await asyncio.to_thread(submit, Workflow("x").task("a", "true"), cluster=daemon.address)


async def test_submit_does_not_block_an_event_loop() -> None:
    with pytest.raises(RuntimeError, match="within an event loop await"):
        submit(Workflow("x").task("a", "true"), cluster="127.0.0.1:1")
