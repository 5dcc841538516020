"""Who is at fault on real machines: a node that cannot end a command, one that breaks them, or a task itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster, eventually, shell, state_name, wait_all_ended
from tests.e2e.test_losses import running_on
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]


async def node_row(client: ClusterClient, node_id: str) -> types_pb2.Node:
    return next(view.node for view in (await client.list_nodes()).nodes if view.node.id == node_id)


async def test_what_kill_does_not_end_cordons_its_node_with_an_alarm(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=3, module="tests.e2e.impatient_daemon")
    async with cluster.client() as client:
        await cluster.whole(client)
        request = shell("exec sleep 600")
        request.spec.kill_timeout_ms = 100
        task_id = (await client.submit(request)).id
        stuck = await running_on(client, task_id)
        held = cluster.nodes[stuck].data / "held"
        held.touch()
        try:
            await client.cancel([task_id], "enough")

            async def alarmed() -> str:
                reply = await client.list_nodes()
                row = next(view.node for view in reply.nodes if view.node.id == stuck)
                if row.alarm:
                    assert row.state == types_pb2.NODE_STATE_CORDONED
                    client.saw(reply.index)
                return row.alarm

            alarm = await eventually(alarmed)
            assert f"Task {task_id}: " in alarm
            assert "outlived KILL" in alarm
            task = (await client.get_task(task_id)).task
            assert (state_name(task), task.cancel_requested) == ("running", True), "it is there, so it is not over"
            await cluster.caught_up(client)
            assert alarm.encode() in cluster.cortex("events", "--node", stuck, "--type", "alarm").stdout
            assert f"ALARM: {alarm}".encode() in cluster.cortex("nodes").stdout
            ids = {(await client.submit(shell("true"))).id for _ in range(4)}
            others = await wait_all_ended(client, ids, 60)
            assert {state_name(other) for other in others.values()} == {"completed"}
            assert stuck not in {other.node for other in others.values()}
        finally:
            held.unlink()
        ended = (await wait_all_ended(client, {task_id}, 60))[task_id]
        assert (state_name(ended), ended.node) == ("cancelled", stuck)
        await client.uncordon(stuck)
        row = await node_row(client, stuck)
        assert (row.state, row.alarm) == (types_pb2.NODE_STATE_ACTIVE, ""), "who uncordons it has seen the alarm"


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[Cluster]:
    """Three voters, each with a home of its own, in which something may be broken."""
    cluster = Cluster(tmp_path / "cluster")
    for node_id in cluster.nodes:
        home = tmp_path / node_id
        home.mkdir()
        cluster.environment = {"HOME": str(home)}
        cluster.start(node_id)
    yield cluster
    cluster.close()


def home_of(cluster: Cluster, node_id: str) -> Path:
    return cluster.root.parent / node_id


def between(command: str, *nodes: str, retries: int = 0) -> cluster_pb2.TaskRequest:
    request = shell(command)
    request.spec.constraints.allowed_nodes.extend(nodes)
    request.spec.retry.max_retries, request.spec.retry.retryable = retries, retries > 0
    request.spec.retry.backoff_ms = 10
    return request


async def succeeds_then_fails(
    homes: Cluster, client: ClusterClient, names: tuple[str, str]
) -> tuple[types_pb2.Task, types_pb2.Task]:
    """Two commands that end well on n2, then fail on n1 one after the other and go on to n2: those that failed."""
    commands = {
        name: f": {name}; until test -e ~/{name}; do sleep 0.05; done; test ! -e ~/broken" for name in names
    }
    for name in commands:
        (home_of(homes, "n2") / name).touch()
    good = {(await client.submit(between(command, "n2"))).id for command in commands.values()}
    assert {state_name(task) for task in (await wait_all_ended(client, good, 60)).values()} == {"completed"}

    await client.cordon("n2", "so that both begin on n1")
    begun = {}
    for name, command in commands.items():
        begun[name] = (await client.submit(between(command, "n1", "n2", retries=2))).id
        assert await running_on(client, begun[name]) == "n1"
    await client.uncordon("n2")
    ended = {}
    for name, task_id in begun.items():
        (home_of(homes, "n1") / name).touch()
        ended[name] = (await wait_all_ended(client, {task_id}, 60))[task_id]
        assert (state_name(ended[name]), ended[name].node) == ("completed", "n2")
    first, second = (ended[name] for name in names)
    return first, second


async def test_a_node_that_breaks_what_runs_elsewhere_takes_the_blame(homes: Cluster) -> None:
    """Two commands that succeeded on n2 fail on n1: the second failure is n1's, and costs its task nothing."""
    (home_of(homes, "n1") / "broken").touch()
    async with homes.client() as client:
        await homes.whole(client)
        for names in (("alpha", "beta"), ("gamma", "delta"), ("epsilon", "zeta")):
            term = (await client.status()).term
            first, second = await succeeds_then_fails(homes, client, names)
            if (await client.status()).term == term:
                break
            # A new leader begins with nothing, and blames nobody.
        assert (first.attempt, first.excused) == (1, 0), "one command alone does not tell whose fault it is"
        assert (second.attempt, second.excused) == (0, 1)
        assert [(failure.node, failure.blame) for failure in second.failures] == [("n1", types_pb2.BLAME_NODE)]
        row = await node_row(client, "n1")
        assert row.suspect_reason
        assert row.state == types_pb2.NODE_STATE_ACTIVE, "a cordon is proposed, and an operator's to decide"
        await homes.caught_up(client)
        assert b"suspect" in homes.cortex("node", "n1").stdout


async def test_a_task_that_fails_everywhere_takes_the_blame_itself(homes: Cluster) -> None:
    async with homes.client() as client:
        await homes.whole(client)
        task_id = (await client.submit(between(": gamma; exit 3", "n1", "n2", retries=1))).id
        task = (await wait_all_ended(client, {task_id}, 60))[task_id]
        assert (state_name(task), task.attempt, task.excused) == ("dead_letter", 1, 0)
        assert {failure.node for failure in task.failures} == {"n1", "n2"}
        assert task.failures[-1].blame == types_pb2.BLAME_TASK
        rows = [await node_row(client, node_id) for node_id in homes.nodes]
        assert not any(row.suspect_reason for row in rows)
