"""Workflows in an operator's hands and under failures: cancel, resume, a killed leader, 1,000 tasks, the docs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.console_blocks import Shell, agrees, steps_of
from tests.e2e.harness import Cluster
from tests.e2e.workflow_kit import Journal, ended, step, submit, until, wait_for_leader
from tui.errors import ClusterError
from tui.workflow import Workflow

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture
def serving(make_cluster: Callable[..., Cluster]) -> Callable[[int], Cluster]:
    """Makes a cluster of so many voters, which has a leader."""

    def make(voters: int) -> Cluster:
        cluster = make_cluster(voters)
        wait_for_leader(cluster)
        return cluster

    return make


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


async def test_cancel_and_resume(serving: Callable[[int], Cluster], journal: Journal, tmp_path: Path) -> None:
    cluster = serving(1)
    gate = tmp_path / "gate"
    flow = Workflow("cancelled")
    step(flow, journal, "a")
    step(flow, journal, "b", "a", then=f"test -e {gate} || sleep 60")
    step(flow, journal, "c", "b")
    step(flow, journal, "tell", finally_=True)
    async with cluster.client() as client:
        workflow_id = await submit(client, flow)
        await until(client, workflow_id, "b", "running")
        await journal.has("+b")
        reply = await client.cancel_workflow(workflow_id[:-1], "wrong branch")
        assert list(reply.ids) == [workflow_id]
        found = await ended(client, workflow_id)
        assert (found.state, found.states["b"], found.states["tell"]) == ("cancelled", "cancelled", "completed")
        assert found.states["c"].startswith(("cancelled", "skipped"))
        with pytest.raises(ClusterError, match="has ended"):
            await client.cancel_workflow(workflow_id)

        gate.touch()
        would = await client.resume_workflow(workflow_id, dry_run=True)
        assert (await client.get_workflow(workflow_id)).status.workflow.run == 1
        done = await client.resume_workflow(workflow_id)
        assert set(done.ids) == set(would.ids)
        found = await ended(client, workflow_id)
    assert (found.state, found.status.workflow.run) == ("completed", 2)
    assert {key: (task.run, found.states[key]) for key, task in found.tasks.items()} == {
        "a": (1, "completed"),
        "b": (2, "completed"),
        "c": (2, "completed"),
        "tell": (2, "completed"),
    }
    assert journal.begun() == {"a": 1, "b": 2, "c": 1, "tell": 2}


async def test_resume_from_what_failed_and_from_a_key(
    serving: Callable[[int], Cluster], journal: Journal, tmp_path: Path
) -> None:
    cluster = serving(1)
    gate = tmp_path / "gate"
    flow = Workflow("failed")
    step(flow, journal, "a")
    step(flow, journal, "b", "a", then=f"test -e {gate}")
    step(flow, journal, "c", "b")
    step(flow, journal, "d", "c")
    step(flow, journal, "other")
    async with cluster.client() as client:
        workflow_id = await submit(client, flow)
        assert (await ended(client, workflow_id)).state == "failed"
        gate.touch()
        await client.resume_workflow(workflow_id)
        assert (await ended(client, workflow_id)).state == "completed"
        assert journal.begun() == {"a": 1, "b": 2, "c": 1, "d": 1, "other": 1}

        await client.resume_workflow(workflow_id, "c")
        found = await ended(client, workflow_id)
        assert (found.state, found.status.workflow.run) == ("completed", 3)
        assert journal.begun() == {"a": 1, "b": 2, "c": 2, "d": 2, "other": 1}
        with pytest.raises(ClusterError, match="ghost") as caught:
            await client.resume_workflow(workflow_id, "ghost")
        assert caught.value.remedy == f"Look at it with `cortex workflow show {workflow_id}`."
        with pytest.raises(ClusterError, match="nothing to resume"):
            await client.resume_workflow(workflow_id)


async def test_a_retried_task_goes_on_with_what_comes_after(
    serving: Callable[[int], Cluster], journal: Journal, tmp_path: Path
) -> None:
    cluster = serving(1)
    gate = tmp_path / "gate"
    flow = Workflow("retried")
    step(flow, journal, "a", then=f"test -e {gate}")
    step(flow, journal, "b", "a")
    step(flow, journal, "c", "b")
    step(flow, journal, "alarm", "a", rule="one_failed")
    async with cluster.client() as client:
        workflow_id = await submit(client, flow)
        found = await ended(client, workflow_id)
        assert (found.state, found.states["c"]) == ("failed", "skipped upstream_skipped")
        gate.touch()
        ran = cluster.cortex("retry", found.tasks["a"].id)
        assert ran.returncode == 0, ran.stderr
        found = await ended(client, workflow_id)
    assert (found.state, found.states["c"]) == ("completed", "completed")
    assert journal.begun() == {"a": 2, "b": 1, "c": 1, "alarm": 1}


async def test_the_leader_is_killed_in_the_middle_of_200_tasks(
    serving: Callable[[int], Cluster], journal: Journal
) -> None:
    cluster = serving(3)
    flow = Workflow("large")
    needs: dict[str, list[str]] = {}
    for layer in range(20):
        for place in range(10):
            before = [f"t{layer - 1}-{(place + offset) % 10}" for offset in range(3)] if layer else []
            needs[f"t{layer}-{place}"] = before
            condition = f'parent["t{layer - 1}-{place}"].exitCode === 0' if layer % 5 == 4 else None
            step(flow, journal, f"t{layer}-{place}", *before, condition=condition)
    async with cluster.client() as client:
        workflow_id = await submit(client, flow)
        waiting = asyncio.create_task(ended(client, workflow_id, 120))
        for key in ("t4-0", "t11-5"):
            await until(client, workflow_id, key, "completed")
            leader = await cluster.leader(client)
            cluster.kill(leader)
            cluster.start(leader)
        found = await waiting
    assert found.state == "completed", cluster.logs()
    assert set(found.states.values()) == {"completed"}
    assert len(found.tasks) == 200
    journal.check_order(needs)
    assert set(journal.begun().values()) == {1}


async def test_the_leader_is_killed_at_every_step(serving: Callable[[int], Cluster], journal: Journal) -> None:
    cluster = serving(3)
    flow = Workflow("steps", context={"steps": 0})
    count = 4
    for number in range(count):
        before = [f"t{number - 1}"] if number else []
        update = f"""echo '{{"steps": {number + 1}}}' > "$CORTEX_CONTEXT_UPDATE\""""
        condition = (
            f"parent.t{number - 1}.exitCode === 0 && workflow.context.steps === {number}" if number else None
        )
        step(flow, journal, f"t{number}", *before, then=f"sleep 0.2; {update}", condition=condition)
    async with cluster.client() as client:
        workflow_id = await submit(client, flow)
        waiting = asyncio.create_task(ended(client, workflow_id, 120))
        for number in range(count):
            await until(client, workflow_id, f"t{number}", "completed")
            leader = await cluster.leader(client)
            cluster.kill(leader)
            cluster.start(leader)
        found = await waiting
    assert (found.state, found.context) == ("completed", {"steps": count}), cluster.logs()
    assert journal.begun() == {f"t{number}": 1 for number in range(count)}


async def test_a_thousand_tasks(serving: Callable[[int], Cluster], tmp_path: Path) -> None:
    cluster = serving(1)
    file = tmp_path / "flow.json"
    gate = {"command": f"until test -e {tmp_path}/gate; do sleep 0.1; done"}
    tasks = {"gate": gate} | {
        f"t{i}": {"command": "true", "depends_on": ["gate" if i < 500 else f"t{i - 500}"]} for i in range(999)
    }
    file.write_text(json.dumps({"name": "large", "tasks": tasks}))
    workflow_id = cluster.cortex("workflow", "submit", str(file)).stdout.decode().strip()
    shown = json.loads(cluster.cortex("workflow", "show", "--json", workflow_id).stdout)
    assert len(shown["tasks"]) == 1000
    table = cluster.cortex("workflow", "show", workflow_id).stdout.decode().splitlines()
    assert len(table) > 1000
    cancelled = cluster.cortex("workflow", "cancel", workflow_id)
    assert cancelled.returncode == 0, cancelled.stderr
    async with cluster.client() as client:
        found = await ended(client, workflow_id)
    assert (found.state, set(found.states.values())) == ("cancelled", {"cancelled"})
    tasks["one too many"] = {"command": "true"}
    file.write_text(json.dumps({"name": "large", "tasks": tasks}))
    assert b"1001 tasks, the limit is 1000" in cluster.cortex("workflow", "submit", str(file)).stderr


async def test_what_was_acknowledged_survives_the_loss_of_all_daemons(
    serving: Callable[[int], Cluster], journal: Journal, tmp_path: Path
) -> None:
    cluster = serving(1)
    gate = tmp_path / "gate"
    flow = Workflow("restart")
    step(flow, journal, "a", then=f"until test -e {gate}; do sleep 0.1; done")
    step(flow, journal, "b", "a", condition="parent.a.exitCode === 0")
    step(flow, journal, "c", "b")
    async with cluster.client() as client:
        workflow_id = await submit(client, flow)
        await until(client, workflow_id, "a", "running")
        cluster.kill()
        cluster.start()
        await cluster.leader(client)
        gate.touch()
        found = await ended(client, workflow_id)
    assert found.state == "completed"
    assert journal.begun() == {"a": 1, "b": 1, "c": 1}


def test_the_page_about_workflows_is_true(tmp_path: Path) -> None:
    page = (ROOT / "docs/workflows.md").read_text()
    for name, text in files_of(page).items():
        (tmp_path / name).write_text(text)
    kept = ("HOME", "LANG", "USER", "TMPDIR")
    environ = {name: os.environ[name] for name in kept if name in os.environ}
    environ |= {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
    }
    environ |= {f"XDG_{name}_HOME": str(tmp_path / name.lower()) for name in ("CONFIG", "STATE", "DATA")}
    shell = Shell(tmp_path, environ)
    try:
        for step_ in steps_of(page):
            shown = shell.run(step_.command, 60.0)
            where = f"docs/workflows.md:{step_.line}: {step_.command}\nexit {shown.status}, printed:\n{shown.text}"
            assert shown.status == 0 or step_.may_fail, where
            assert agrees(step_.expected, shown.text), f"{where}\nbut the page says:\n{step_.expected}"
    finally:
        shell.close()
        subprocess.run([BIN / "cortex", "down", "--data", tmp_path / "demo"], env=environ, check=False)


def files_of(page: str) -> dict[str, str]:
    """Texts of the blocks that follow a line with a file's name and a colon."""
    files: dict[str, str] = {}
    lines = page.splitlines()
    for number, line in enumerate(lines):
        named = line.endswith((".yaml:", ".py:")) and " " not in line
        if named and lines[number + 2].startswith("```"):
            end = lines.index("```", number + 3)
            files[line.removesuffix(":")] = "\n".join(lines[number + 3 : end]) + "\n"
    return files
