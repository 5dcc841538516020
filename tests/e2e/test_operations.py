"""Operations under real daemons: letters triaged by cause, a canary whose leader is killed, undo, run on nodes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from cortex.v1.types_pb2 import Operation
from node.core.model import CANCELLED, COMPLETED, DEAD_LETTER
from node.core.operations import DONE, STOPPED, UNDONE
from tests.e2e.harness import Cluster, all_tasks, eventually, shell, wait_all_ended
from tui.documents.operations_view import LIVE
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]

PATIENCE_S = 120.0
CAUSES = ("disk", "network", "password", "memory", "kernel")


async def letters(client: ClusterClient, requests: list[cluster_pb2.TaskRequest]) -> list[str]:
    """Tasks that end as dead letters; their ids."""
    ids = list((await client.submit_batch(requests)).ids)
    tasks = await wait_all_ended(client, set(ids), PATIENCE_S)
    assert {task.state for task in tasks.values()} == {DEAD_LETTER}
    return ids


async def ended(client: ClusterClient, operation_id: str) -> Operation:
    """The operation once it has ended, and what it revived has, too."""

    async def over() -> str:
        row = (await client.get_operation(operation_id)).operation
        revives = row.kind == types_pb2.OPERATION_KIND_RETRY and row.bulk.fingerprint
        settled = not revives or row.counts.succeeded + row.counts.failed == row.counts.issued
        return "yes" if row.state not in LIVE and settled else ""

    await eventually(over, PATIENCE_S)
    return (await client.get_operation(operation_id)).operation


def cortex(cluster: Cluster, *words: str, code: int = 0) -> Any:
    """The document that a verb prints."""
    ran = cluster.cortex("--json", *words, timeout_s=PATIENCE_S)
    assert ran.returncode == code, (words, ran.stdout, ran.stderr)
    return json.loads(ran.stdout or ran.stderr)


async def all_are(client: ClusterClient, state: int) -> None:
    """Wait until every task is in that state, wherever this is read."""

    async def are() -> str:
        return "yes" if {task.state for task in await all_tasks(client)} == {state} else ""

    await eventually(are, PATIENCE_S)


def needs(path: Path, cause: str) -> cluster_pb2.TaskRequest:
    """A task that fails for a cause for as long as a file is missing."""
    return shell(f"test -e {path} || {{ echo {cause} is broken >&2; exit 1; }}")


async def test_500_letters_of_5_causes_are_triaged_by_cause(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster()
    async with cluster.client() as client:
        await cluster.leader(client)
        requests = [needs(tmp_path / cause, cause) for cause in CAUSES for _ in range(100)]
        ids = await letters(client, requests)
        of = {cause: set(ids[number * 100 : number * 100 + 100]) for number, cause in enumerate(CAUSES)}
        await cluster.caught_up(client)

        found = cortex(cluster, "dead-letters", "--group")["causes"]
        assert [cause["count"] for cause in found] == [100] * 5
        print_of = {
            next(name for name in CAUSES if item["sample"] in of[name]): item["fingerprint"] for item in found
        }
        assert set(print_of) == set(CAUSES)

        gone = cortex(cluster, "discard", "--cause", print_of["disk"], "--reason", "disk was replaced", "--now")
        assert (await ended(client, gone["operation_id"])).counts.issued == 100

        (tmp_path / "network").touch()
        again = cortex(cluster, "retry", "--cause", print_of["network"], "--now", "--wait")
        assert (again["state"], again["counts"]["succeeded"]) == ("done", 100)

        still = cortex(cluster, "retry", "--cause", print_of["password"], "--canary", "--now", "--wait", code=1)
        assert (still["state"], still["outcome"]) == (
            "stopped",
            "1 of 1 failed the same way again; 99 are untouched",
        )

        (tmp_path / "memory").touch()
        good = cortex(cluster, "retry", "--cause", print_of["memory"], "--canary", "--now", "--wait")
        assert (good["state"], good["step"], good["counts"]["succeeded"]) == ("done", 3, 100)

        wanted = {
            "disk": {CANCELLED: 100},
            "network": {COMPLETED: 100},
            "password": {DEAD_LETTER: 100},
            "memory": {COMPLETED: 100},
            "kernel": {DEAD_LETTER: 100},
        }
        tasks: dict[str, types_pb2.Task] = {}

        async def as_wanted() -> str:
            tasks.update({task.id: task for task in await all_tasks(client)})
            states = {cause: Counter(tasks[task_id].state for task_id in of[cause]) for cause in CAUSES}
            return "yes" if states == wanted else ""

        await eventually(as_wanted, PATIENCE_S)
        runs = {cause: Counter(tasks[task_id].run for task_id in of[cause]) for cause in CAUSES}
        assert runs["password"] == {1: 99, 2: 1}
        assert runs["memory"] == runs["network"] == {2: 100}
        await cluster.caught_up(client)
        left = cortex(cluster, "dead-letters", "--group")["causes"]
        assert {cause["fingerprint"] for cause in left} == {print_of["password"], print_of["kernel"]}


async def test_a_canary_goes_on_when_its_leader_is_killed(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster()
    async with cluster.client() as client:
        await cluster.leader(client)
        fixed, gate = tmp_path / "fixed", tmp_path / "gate"
        # The first to run again ends at once, all others wait at the gate.
        first = f"mkdir {tmp_path}/first 2>/dev/null"
        passes = f"{first} || until test -e {gate}; do sleep 0.1; done"
        command = f"test -e {fixed} || {{ echo broken >&2; exit 1; }}; {passes}"
        ids = await letters(client, [shell(command) for _ in range(60)])
        (cause,) = (await client.list_causes()).causes
        assert cause.count == 60
        fixed.touch()
        reply = await client.retry(cause=cause.fingerprint, canary=True, undo_window_ms=0)

        async def under_way() -> str:
            row = (await client.get_operation(reply.operation_id)).operation
            return "yes" if row.state in LIVE and row.bulk.step == 2 else ""

        await eventually(under_way, PATIENCE_S)
        leader = await cluster.leader(client)
        cluster.kill(leader)
        assert await cluster.leader(client) != leader
        cluster.start(leader)
        gate.touch()
        operation = await ended(client, reply.operation_id)
        assert (operation.state, operation.bulk.step) == (DONE, 3), cluster.logs()
        counts = operation.counts
        assert (counts.issued, counts.succeeded, counts.passed_over) == (60, 60, 0)
        tasks = await wait_all_ended(client, set(ids), PATIENCE_S)
        assert Counter((task.state, task.run) for task in tasks.values()) == {(COMPLETED, 2): 60}


async def test_a_discard_is_undone_in_time(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    async with cluster.client() as client:
        await cluster.leader(client)
        ids = await letters(client, [shell("exit 1") for _ in range(3)])
        begun = await client.discard(ids, "a mistake", undo_window_ms=300_000)
        assert list(begun.ids) == ids
        await cluster.caught_up(client)
        listed = cortex(cluster, "operations", "--live")["operations"]
        assert [(item["id"], item["state"]) for item in listed] == [(begun.operation_id, "scheduled")]
        cortex(cluster, "undo", begun.operation_id, "--reason", "not these")
        operation = await ended(client, begun.operation_id)
        assert (operation.state, operation.outcome) == (UNDONE, "not these")
        await all_are(client, DEAD_LETTER)
        refused = cortex(cluster, "undo", begun.operation_id, code=1)["error"]
        assert refused["code"] == "wrong_state"

        reply = await client.discard(ids, "for good", undo_window_ms=500)
        operation = await ended(client, reply.operation_id)
        assert (operation.state, operation.counts.issued) == (DONE, 3)
        assert operation.begun_at_us - operation.created_at_us >= 500_000
        await all_are(client, CANCELLED)

        (late,) = await letters(client, [shell("exit 1")])
        await cluster.caught_up(client)
        assert cortex(cluster, "discard", late, "--reason", "for good", "--now")["ids"] == [late]
        await all_are(client, CANCELLED)


async def test_a_canary_is_stopped_by_its_operator(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(voters=1)
    async with cluster.client() as client:
        await cluster.leader(client)
        fixed = tmp_path / "fixed"
        await letters(client, [shell(f"test -e {fixed} || exit 1; sleep 1000") for _ in range(10)])
        (cause,) = (await client.list_causes()).causes
        fixed.touch()
        reply = await client.retry(cause=cause.fingerprint, canary=True, undo_window_ms=0)

        async def waits() -> str:
            row = (await client.get_operation(reply.operation_id)).operation
            return "yes" if row.counts.issued == 1 else ""

        await eventually(waits, PATIENCE_S)
        cortex(cluster, "undo", reply.operation_id, "--stop")
        operation = (await client.get_operation(reply.operation_id)).operation
        assert (operation.state, operation.counts.issued) == (STOPPED, 1)


async def test_run_on_all_nodes(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    async with cluster.client() as client:
        await cluster.whole(client)
        same = cortex(cluster, "run", "--all", "--", "sh", "-c", "echo hello; echo there >&2")
        assert same["task_ids"] == [f"{same['operation_id']}.{number}" for number in range(3)]
        (group,) = same["groups"]
        assert (group["nodes"], group["exit_code"]) == (["n1", "n2", "n3"], 0)
        assert (group["stdout"], group["stderr"]) == ("hello\n", "there\n")
        operation = await ended(client, same["operation_id"])
        assert (operation.state, operation.counts.succeeded) == (DONE, 3)
        tasks = [(await client.get_task(task_id)).task for task_id in same["task_ids"]]
        assert [task.node for task in tasks] == ["n1", "n2", "n3"]

        command = 'test "${CORTEX_TASK##*.}" = 1 && exit 3; echo fine'
        mixed = cortex(cluster, "run", "--all", "--", "sh", "-c", command, code=1)
        assert [(item["nodes"], item["exit_code"]) for item in mixed["groups"]] == [(["n1", "n3"], 0), (["n2"], 3)]
        await ended(client, mixed["operation_id"])
        assert not (await client.list_causes()).causes, "a run leaves no letters"

        await client.cordon("n2")
        await cluster.caught_up(client)
        rest = cortex(cluster, "run", "--all", "--", "true")
        assert [row["node"] for row in rest["skipped"]] == ["n2"]
        refused = cortex(cluster, "run", "--nodes", "n1,n2", "--", "true", code=1)["error"]
        assert refused["message"] == "Nothing was run: n2 is cordoned."


async def test_edited_retry_and_priority(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=1)
    async with cluster.client() as client:
        await cluster.leader(client)
        (task_id,) = await letters(client, [shell("exit 1")])
        task = (await client.get_task(task_id)).task
        spec = types_pb2.TaskSpec()
        spec.CopyFrom(task.spec)
        spec.shell_command = b"true"
        await client.retry([task_id], edited_spec=spec)
        assert (await wait_all_ended(client, {task_id}, PATIENCE_S))[task_id].state == COMPLETED
        details = [event.detail for event in (await client.get_task(task_id)).events]
        assert "edited: shell_command" in details
        await client.annotate(task_id, "it was a typo")
        assert (await client.get_task(task_id)).task.annotations[0].text == "it was a typo"

        held = shell("true")
        held.spec.constraints.target_node = "nowhere"
        waiting = (await client.submit(held)).id
        reply = await client.set_priority([waiting], 7, undo_window_ms=0)
        assert list(reply.ids) == [waiting]
        assert (await client.get_task(waiting)).task.priority == 7
