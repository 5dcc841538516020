"""Machines that freeze or die under running commands: one result per run, one line of the ledger each."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster, can_unshare, eventually, shell, state_name, wait_all_ended
from tests.e2e.test_cluster import results_per_run
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]

# Replicated settings, smallest first where one bounds another.
TIMES = {
    "renew_ms": 500,
    "lease_ms": 6_000,
    "lease_margin_ms": 500,
    "heartbeat_ms": 500,
    "suspect_ms": 1_500,
    "offline_ms": 2_500,
}


@asynccontextmanager
async def short_leases(cluster: Cluster) -> AsyncIterator[tuple[ClusterClient, str]]:
    """A client, and the leader's id; all nodes are there, with leases of 6 s."""
    async with cluster.client() as client:
        leader = await cluster.leader(client)
        for name, value in TIMES.items():
            await client.set_setting(name, str(value))
        for node_id in cluster.nodes:
            await online(client, node_id)
        yield client, leader


async def online(client: ClusterClient, node_id: str, wanted: bool = True) -> None:
    async def look() -> str:
        views = {view.node.id: view.node for view in (await client.list_nodes()).nodes}
        return "yes" if node_id in views and views[node_id].online == wanted else ""

    await eventually(look, 60)


async def running_on(client: ClusterClient, task_id: str) -> str:
    """The node on which a task runs, once the cluster knows that it has started."""

    async def look() -> str:
        task = (await client.get_task(task_id)).task
        return task.node if state_name(task) == "running" else ""

    return await eventually(look, 60)


async def has_lines(file: Path, count: int) -> None:
    """Return when commands have written so many: one that runs by what the cluster knows may not have yet."""

    async def look() -> str:
        lines = file.read_text().splitlines() if file.exists() else []  # noqa: ASYNC240
        return "yes" if len(lines) >= count else ""

    await eventually(look, 60)


def on_any_but(leader: str, command: str, **spec: object) -> cluster_pb2.TaskRequest:
    request = shell(command)
    request.spec.constraints.excluded_nodes.append(leader)
    request.spec.kill_timeout_ms = 500
    for name, value in spec.items():
        setattr(request.spec, name, value)
    return request


async def proven(client: ClusterClient, node_id: str) -> None:
    """`node_id` takes, runs and reports a command of its own: what it had to say before has been heard."""
    await online(client, node_id)
    request = shell("true")
    request.spec.constraints.target_node = node_id
    task_id = (await client.submit(request)).id
    tasks = await wait_all_ended(client, {task_id}, 60)
    assert state_name(tasks[task_id]) == "completed"


def signal_machine(cluster: Cluster, node_id: str, number: signal.Signals) -> None:
    """To the daemon and its supervisor; the command knows nothing of it."""
    node = cluster.nodes[node_id]
    assert node.process is not None
    for pid in (node.process.pid, int((node.data / "supervisor.pid").read_text())):
        os.kill(pid, number)


async def test_a_frozen_machine_s_result_is_refused(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(voters=3)
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    async with short_leases(cluster) as (client, leader):
        command = f"echo $CORTEX_FENCE >> {begun}; until test -e {gate}; do sleep 0.1; done; echo done"
        task_id = (await client.submit(on_any_but(leader, command))).id
        first = await running_on(client, task_id)
        await has_lines(begun, 1)
        signal_machine(cluster, first, signal.SIGSTOP)
        gate.touch()
        try:
            tasks = await wait_all_ended(client, {task_id}, 60)
        finally:
            signal_machine(cluster, first, signal.SIGCONT)
        task = tasks[task_id]
        assert (state_name(task), task.attempt, task.losses) == ("completed", 0, 1), cluster.logs()
        assert task.node != first
        fences = [int(word) for word in begun.read_text().split()]
        assert len(fences) == 2
        assert fences[0] < fences[1] == task.fence
        await proven(client, first)
        found = (await client.get_task(task_id)).task
        assert found.modified_index == task.modified_index, "the frozen machine's own end changed nothing"
        assert set((await results_per_run(client)).values()) == {1}
        (line,) = (await client.list_double_runs()).double_runs
        assert (line.task, line.first_node, line.first_fence) == (task_id, first, fences[0])
        assert (line.node, line.fence) == (task.node, task.fence)
        assert "did not renew its lease" in line.reason


async def test_a_frozen_machine_s_hold_task_counts_when_it_is_back(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(voters=3)
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    async with short_leases(cluster) as (client, leader):
        command = f"echo x >> {begun}; until test -e {gate}; do sleep 0.1; done"
        task_id = (await client.submit(on_any_but(leader, command, on_lost=types_pb2.ON_LOST_HOLD))).id
        first = await running_on(client, task_id)
        signal_machine(cluster, first, signal.SIGSTOP)

        async def marked() -> str:
            return "lost" if (await client.get_task(task_id)).task.lost_at_us else ""

        try:
            await eventually(marked, 60)
            gate.touch()
        finally:
            signal_machine(cluster, first, signal.SIGCONT)
        task = (await wait_all_ended(client, {task_id}, 60))[task_id]
        assert (state_name(task), task.node, task.run, task.losses) == ("completed", first, 1, 0)
        assert begun.read_text() == "x\n", "at most once"
        assert not (await client.list_double_runs()).double_runs


@pytest.mark.skipif(not can_unshare(), reason="pid namespaces need root")
async def test_a_killed_machine_s_tasks_begin_again_elsewhere(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(voters=3, machines=True, environment={"CORTEX_SLOTS": "4"})
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    async with short_leases(cluster) as (client, leader):
        command = f"echo $CORTEX_TASK >> {begun}; until test -e {gate}; do sleep 0.1; done"
        requests = [on_any_but(leader, command) for _ in range(4)]
        ids = set((await client.submit_batch(requests)).ids)
        nodes = {task_id: await running_on(client, task_id) for task_id in ids}
        await has_lines(begun, len(ids))
        dead = sorted(nodes.values())[0]
        died = {task_id for task_id, node in nodes.items() if node == dead}
        cluster.kill(dead)
        gate.touch()
        tasks = await wait_all_ended(client, ids, 90)
        assert {state_name(task) for task in tasks.values()} == {"completed"}, cluster.logs()
        assert {task_id for task_id, task in tasks.items() if task.losses} == died
        cluster.start(dead)
        await proven(client, dead)
        assert set((await results_per_run(client)).values()) == {1}
        lines = (await client.list_double_runs()).double_runs
        assert {line.task for line in lines} == died
        assert len(lines) == len(died), (lines, cluster.logs())
        words = begun.read_text().split()
        assert {task_id: words.count(task_id) for task_id in ids} == {
            task_id: 2 if task_id in died else 1 for task_id in ids
        }


async def test_a_retry_goes_to_another_node(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(voters=3)
    async with cluster.client() as client:
        await cluster.whole(client)
        request = shell(f"test -e {tmp_path}/tried || ! touch {tmp_path}/tried")
        request.spec.retry.CopyFrom(types_pb2.RetryPolicy(max_retries=2, backoff_ms=10, retryable=True))
        task_id = (await client.submit(request)).id
        task = (await wait_all_ended(client, {task_id}, 60))[task_id]
        assert (state_name(task), task.attempt) == ("completed", 1)
        (failure,) = task.failures
        assert (failure.cause, failure.exit_code) == (types_pb2.CAUSE_EXIT, 1)
        assert task.node != failure.node
        assert not (await client.list_double_runs()).double_runs


async def test_any_node_serves_any_task_s_output(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(voters=3)
    gate = tmp_path / "gate"
    async with cluster.client() as client:
        await cluster.whole(client)
        request = shell(f"printf first; until test -e {gate}; do sleep 0.1; done; printf second")
        request.spec.constraints.target_node = "n2"
        task_id = (await client.submit(request)).id
        await running_on(client, task_id)
        signal_daemon = cluster.nodes["n2"].process
        assert signal_daemon is not None
        await cluster.caught_up(client)
        for node_id in cluster.nodes:
            async with cluster.client(node_id) as other:
                assert await read(other, task_id, 0, 5) == b"first"
        signal_daemon.send_signal(signal.SIGKILL)
        signal_daemon.wait()
        cluster.start("n2")
        await online(client, "n2")
        gate.touch()
        await wait_all_ended(client, {task_id}, 60)
        await cluster.caught_up(client)
        for node_id in cluster.nodes:
            async with cluster.client(node_id) as other:
                assert await read(other, task_id, 3, 8) == b"stsecond"


async def read(client: ClusterClient, task_id: str, offset: int, size: int) -> bytes:
    """`size` bytes of stdout from `offset` on."""
    data = b""
    async with asyncio.timeout(60):
        async for reply in client.output(
            task_id, stream=cluster_pb2.STREAM_KIND_STDOUT, offset=offset, follow=True
        ):
            data += reply.data
            if len(data) >= size:
                break
    return data


async def test_silent_work_is_escalated_and_idle_work_goes_elsewhere(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(voters=3)
    begun = tmp_path / "begun"
    async with cluster.client() as client:
        await cluster.whole(client)
        request = shell(f"test -e {begun} || {{ touch {begun}; sleep 1000; }}")
        request.spec.idle_timeout_ms = 4_000
        request.spec.stall_after_ms = 2_500
        request.spec.kill_timeout_ms = 500
        task_id = (await client.submit(request)).id
        task = (await wait_all_ended(client, {task_id}, 60))[task_id]
        assert (state_name(task), task.attempt, task.idles) == ("completed", 0, 1)
        events = (await client.get_task(task_id)).events
        kinds = [event.type for event in events]
        assert kinds.count(types_pb2.EVENT_TYPE_ESCALATED) == 1
        nodes = [event.node for event in events if event.type == types_pb2.EVENT_TYPE_STARTED]
        assert len(set(nodes)) == 2
        asked, again = (
            next(event.at_us for event in events if event.type == kind)
            for kind in (types_pb2.EVENT_TYPE_MIGRATE_REQUESTED, types_pb2.EVENT_TYPE_REASSIGNED)
        )
        assert asked <= again
        (line,) = (await client.list_double_runs(task_id)).double_runs
        assert "its agent was idle" in line.reason
