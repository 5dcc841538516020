"""`cortex workflow` against a fake cluster: documents, tables, waiting, Ctrl-C, lost links, refusals."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys

import pytest

from cortex.v1 import types_pb2 as types
from tests.tui.command_line import CommandLine
from tests.tui.fake_cluster import FakeCluster, Refusal
from tests.tui.fake_daemon import FakeDaemon
from tests.tui.fake_workflows import end_workflow, skip

FLOW = b"""
name: release
context: {target: prod, tries: 3}
tasks:
  lint: {command: make lint}
  test: {command: make test}
  build: {command: make, depends_on: [lint, test]}
  deploy: {command: make deploy, dependsOn: build, rule: all_done}
"""


@pytest.fixture
def flow(cortex: CommandLine) -> str:
    (cortex.folder / "flow.yaml").write_bytes(FLOW)
    return "flow.yaml"


async def submitted(cluster: FakeCluster) -> str:
    """Id of the one workflow, once it is watched."""
    await cluster.called("Watch")
    return next(iter(cluster.workflows))


def run_through(cluster: FakeCluster, workflow_id: str) -> None:
    """lint completes, test fails, the rest is skipped."""
    cluster.start(f"{workflow_id}.0")
    cluster.finish(f"{workflow_id}.0", 0)
    cluster.start(f"{workflow_id}.1")
    cluster.finish(f"{workflow_id}.1", 2, error="exit code 2")
    skip(cluster, f"{workflow_id}.2", types.SKIP_REASON_UPSTREAM_FAILED)
    skip(cluster, f"{workflow_id}.3", types.SKIP_REASON_UPSTREAM_SKIPPED)
    end_workflow(cluster, workflow_id, types.WORKFLOW_STATE_FAILED, "test failed")


@pytest.mark.parametrize("before", [True, False])
async def test_submit_prints_the_id_or_the_document(
    cortex: CommandLine, cluster: FakeCluster, flow: str, before: bool
) -> None:
    ran = await cortex("workflow", "submit", flow)
    assert (ran.code, ran.text) == (0, f"{next(iter(cluster.workflows))}\n")
    ran = await cortex(*(("--json", "workflow", "submit") if before else ("workflow", "submit", "--json")), flow)
    assert ran.document == {"id": list(cluster.workflows)[1], "index": cluster.index}


async def test_submit_from_stdin(cortex: CommandLine, cluster: FakeCluster) -> None:
    ran = await cortex("workflow", "submit", "-", stdin=b'{"name": "x", "tasks": {"a": {"command": "true"}}}')
    assert ran.code == 0
    assert next(iter(cluster.workflows.values())).name == "x"


async def test_dry_run_submits_nothing(cortex: CommandLine, cluster: FakeCluster, flow: str) -> None:
    ran = await cortex("workflow", "submit", "--dry-run", flow)
    assert (ran.code, ran.text) == (0, "valid: 4 tasks; nothing was submitted\n")
    ran = await cortex("workflow", "submit", "--dry-run", "--json", flow)
    assert ran.document == {"id": None, "dry_run": True, "tasks": 4, "index": cluster.index}
    assert not cluster.workflows
    assert (await cortex("workflow", "submit", "--dry-run", "--wait", flow)).code == 2


async def test_a_key_submits_once(cortex: CommandLine, cluster: FakeCluster, flow: str) -> None:
    first = await cortex("workflow", "submit", "--key", "k1", flow)
    again = await cortex("workflow", "submit", "--key", "k1", flow)
    assert first.text == again.text
    assert "stands for workflow" in again.err
    assert len(cluster.workflows) == 1
    both = await cortex("workflow", "submit", "--key", "other", "-", stdin=FLOW + b"key: k1\n")
    assert (both.code, "different keys" in both.err) == (2, True)


async def test_a_lost_answer_submits_no_second_time(cortex: CommandLine, cluster: FakeCluster, flow: str) -> None:
    cluster.lost_replies["SubmitWorkflow"] = 1
    ran = await cortex("workflow", "submit", flow)
    assert ran.text.split() == list(cluster.workflows)
    first, second = (request for method, request in cluster.calls if method == "SubmitWorkflow")
    assert first.mutation == second.mutation


async def test_a_bad_file_is_refused_before_anything_is_sent(cortex: CommandLine, cluster: FakeCluster) -> None:
    ran = await cortex("workflow", "submit", "-", "--json", stdin=b"name: x\ntasks: {a: {comand: y}}\n")
    assert (ran.code, ran.error["code"]) == (1, "invalid")
    assert ran.error["message"].startswith(
        "stdin: line 2, task a: comand: there is no such key; the nearest is command"
    )
    assert ran.error["remedy"].endswith("Nothing was submitted.")
    assert (await cortex("workflow", "submit", "nothere.yaml")).code == 2
    assert (await cortex("workflow", "submit")).code == 2
    assert not cluster.calls


async def test_what_the_cluster_refuses_is_passed_on(cortex: CommandLine, cluster: FakeCluster, flow: str) -> None:
    cluster.refuse["SubmitWorkflow"] = Refusal("invalid", "Tasks a and b depend on each other.", "Break the cycle.")
    ran = await cortex("workflow", "submit", flow)
    assert (ran.code, ran.err) == (1, "cortex: Tasks a and b depend on each other.\nBreak the cycle.\n")


async def test_wait_ends_with_the_workflow(cortex: CommandLine, cluster: FakeCluster, flow: str) -> None:
    process = await cortex.start("workflow", "submit", "--wait", "--json", flow)
    workflow_id = await submitted(cluster)
    run_through(cluster, workflow_id)
    ran = await cortex.end(process)
    assert (ran.code, ran.err) == (1, "")
    assert ran.document["state"] == "failed"
    assert ran.document == (await cortex("workflow", "show", "--json", workflow_id)).document


async def test_wait_for_what_completed(cortex: CommandLine, cluster: FakeCluster) -> None:
    process = await cortex.start("workflow", "submit", "--wait", "-")
    assert process.stdin is not None
    process.stdin.write(b"{name: one, tasks: {a: {command: date}}}")
    process.stdin.close()
    workflow_id = await submitted(cluster)
    cluster.start(f"{workflow_id}.0")
    cluster.finish(f"{workflow_id}.0", 0)
    end_workflow(cluster, workflow_id, types.WORKFLOW_STATE_COMPLETED)
    async with asyncio.timeout(30):
        assert process.stdout is not None
        text = (await process.stdout.read()).decode()
        assert await process.wait() == 0
    assert "state:   completed" in text


async def test_wait_survives_lost_links_and_positions(
    cortex: CommandLine, cluster: FakeCluster, daemon: FakeDaemon, flow: str
) -> None:
    process = await cortex.start("workflow", "submit", "--wait", flow)
    workflow_id = await submitted(cluster)
    await daemon.stop()
    run_through(cluster, workflow_id)
    cluster.forget()
    await daemon.start()
    ran = await cortex.end(process)
    assert (ran.code, "test failed" in ran.text) == (1, True)


async def test_interrupted_while_waiting(cortex: CommandLine, cluster: FakeCluster, flow: str) -> None:
    process = await cortex.start("workflow", "submit", "--wait", flow)
    workflow_id = await submitted(cluster)
    process.send_signal(signal.SIGINT)
    ran = await cortex.end(process)
    assert ran.code == 130
    assert ran.err == (
        "cortex: Stopped waiting; the workflow goes on.\n"
        f"End it with `cortex workflow cancel {workflow_id}`, look with `cortex workflow show {workflow_id}`.\n"
    )


async def test_interrupted_before_the_answer(cortex: CommandLine, cluster: FakeCluster, flow: str) -> None:
    cluster.refuse["SubmitWorkflow"] = Refusal("no_leader", "There is no leader.")
    process = await cortex.start("workflow", "submit", flow)
    await cluster.called("SubmitWorkflow")
    process.send_signal(signal.SIGINT)
    ran = await cortex.end(process)
    assert (ran.code, "whether the workflow was submitted is not known" in ran.err) == (130, True)


async def test_progress_is_told_at_a_terminal(cortex: CommandLine, cluster: FakeCluster, flow: str) -> None:
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tui.cli",
        *("workflow", "submit", "--wait", flow),
        cwd=cortex.folder,
        env=cortex.environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=slave,
    )
    os.close(slave)
    run_through(cluster, await submitted(cluster))
    async with asyncio.timeout(30):
        assert await process.wait() == 1
    told = os.read(master, 65536).decode().splitlines()
    os.close(master)
    assert told == [
        "cortex: lint runs on n1 (0 of 4 ended)",
        "cortex: lint completed (1 of 4 ended)",
        "cortex: test runs on n1 (1 of 4 ended)",
        "cortex: test dead_letter: exit code 2 (2 of 4 ended)",
        "cortex: build skipped: upstream_failed (3 of 4 ended)",
        "cortex: deploy skipped: upstream_skipped (4 of 4 ended)",
    ]


async def test_show_as_a_table(cortex: CommandLine, cluster: FakeCluster, flow: str) -> None:
    workflow_id = (await cortex("workflow", "submit", flow)).text.strip()
    run_through(cluster, workflow_id)
    ran = await cortex("workflow", "show", workflow_id[:3])
    assert ran.code == 0
    head, _, table = ran.text.partition("TASK")
    assert head.splitlines()[:7] == [
        f"id:      {workflow_id}",
        "name:    release",
        "state:   failed: test failed",
        "run:     1",
        "tasks:   4 of 4 ended",
        "policy:  continue",
        'context: target="prod", tries=3',
    ]
    rows = [" ".join(line.split()) for line in table.splitlines()]
    assert [row for row in rows if row] == [
        "STATE AFTER RULE NODE EXIT TRY TIME REASON",
        "lint completed all_success n1 0 0 0.0s",
        "test dead_letter all_success n1 2 0 0.0s exit code 2",
        "└ build skipped lint, test all_success - - 0 - upstream_failed",
        "└ deploy skipped build all_done - - 0 - upstream_skipped",
    ]


async def test_list(cortex: CommandLine, cluster: FakeCluster, flow: str) -> None:
    for _ in range(3):
        await cortex("workflow", "submit", flow)
    newest, middle, oldest = reversed(cluster.workflows)
    end_workflow(cluster, oldest, types.WORKFLOW_STATE_COMPLETED)
    page = (await cortex("workflow", "list", "--json", "--limit", "2")).document
    assert ([row["id"] for row in page["workflows"]], page["total"]) == ([newest, middle], 3)
    rest = (await cortex("workflow", "list", "--json", "--cursor", page["next_cursor"])).document
    assert ([row["id"] for row in rest["workflows"]], rest["next_cursor"]) == ([oldest], None)
    done = await cortex("workflow", "list", "--state", "completed")
    assert [line.split()[:2] for line in done.text.splitlines()] == [["ID", "STATE"], [oldest, "completed"]]
    assert "2 of 3; the next with --cursor" in (await cortex("workflow", "list", "--limit", "2")).err
    assert (await cortex("workflow", "list", "--state", "odd")).code == 2


async def test_cancel_and_resume(cortex: CommandLine, cluster: FakeCluster, flow: str) -> None:
    workflow_id = (await cortex("workflow", "submit", flow)).text.strip()
    ran = await cortex("workflow", "cancel", workflow_id, "--reason", "wrong branch", "--json")
    assert (ran.document["ids"], set(ran.document)) == ([workflow_id], {"operation_id", "index", "ids"})
    assert cluster.workflows[workflow_id].reason == "wrong branch"
    again = await cortex("workflow", "cancel", workflow_id)
    assert (again.code, "has ended" in again.err) == (1, True)
    would = await cortex("workflow", "resume", workflow_id, "--dry-run")
    assert would.text.split() == [f"{workflow_id}.{number}" for number in range(4)]
    assert cluster.workflows[workflow_id].run == 1
    ran = await cortex("workflow", "resume", workflow_id, "--from", "build", "--json")
    assert ran.document["ids"] == [f"{workflow_id}.2"]
    assert cluster.workflows[workflow_id].run == 2


async def test_not_found_and_no_verb(cortex: CommandLine) -> None:
    for verb in ("show", "cancel", "resume"):
        assert (await cortex("workflow", verb, "nothere")).code == 3
    assert "Missing command" in (await cortex("workflow")).err
    assert "Commands: submit, list, show, cancel, resume" in (await cortex("workflow", "delete")).err
