"""Drains under real daemons: of a worker, of the leader, with the leader killed, to a deadline, and undone."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from cortex.v1.types_pb2 import NodeState, Operation, OperationState
from tests.e2e.harness import Cluster, eventually, shell, state_name
from tui.documents import drain_view
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]

PATIENCE_S = 90.0


def task_on(node: str, command: str, *, retryable: bool = True) -> cluster_pb2.TaskRequest:
    """A task that runs on `node` and nowhere else."""
    request = shell(command)
    request.spec.retry.retryable = retryable
    request.spec.constraints.excluded_nodes.extend({"n1", "n2", "n3"} - {node})
    return request


async def running(client: ClusterClient, request: cluster_pb2.TaskRequest) -> str:
    task_id = (await client.submit(request)).id

    async def runs() -> str:
        return task_id if state_name((await client.get_task(task_id)).task) == "running" else ""

    return await eventually(runs, PATIENCE_S)


async def spread(client: ClusterClient, nodes: Collection[str]) -> dict[str, str]:
    """One running task on each of the nodes, though it may run anywhere: the node of each."""
    found: dict[str, str] = {}
    for node in nodes:
        others = [other for other in nodes if other != node]
        for other in others:
            await client.cordon(other)
        request = shell("sleep 1000")
        request.spec.retry.retryable = True
        found[await running(client, request)] = node
        for other in others:
            await client.uncordon(other)
    return found


async def drain(client: ClusterClient, node: str, **fields: object) -> cluster_pb2.DrainNodeReply:
    request = cluster_pb2.DrainRequest(node=node, **fields)  # type: ignore[arg-type]
    return await client.drain_node(request)


async def ended(client: ClusterClient, operation_id: str) -> Operation:
    async def over() -> str:
        operation = (await client.get_operation(operation_id)).operation
        return "yes" if operation.state in drain_view.ENDED else ""

    await eventually(over, PATIENCE_S)
    return (await client.get_operation(operation_id)).operation


async def node_state(client: ClusterClient, node: str) -> int:
    views = (await client.list_nodes()).nodes
    return next(view.node.state for view in views if view.node.id == node)


async def until_node(client: ClusterClient, node: str, *states: int) -> None:
    async def there() -> str:
        return "yes" if await node_state(client, node) in states else ""

    await eventually(there, PATIENCE_S)


async def is_whole(client: ClusterClient, operation: Operation, node: str) -> None:
    """The drain is done, the node empty, and what moved lost nothing."""
    assert operation.state == OperationState.OPERATION_STATE_DONE, operation.outcome
    assert await node_state(client, node) == NodeState.NODE_STATE_DRAINED
    for move in operation.drain.moves:
        task = (await client.get_task(move.task)).task
        assert (task.attempt, task.losses, task.run) == (0, 0, 1)
        assert task.node != node
        assert move.actual in ("", task.node)


async def test_a_worker_and_then_the_leader_are_drained_with_running_tasks(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    async with cluster.client() as client:
        leader = await cluster.whole(client)
        placed = await spread(client, cluster.nodes)
        other = next(node for node in cluster.nodes if node != leader)
        sheet = json.loads(cluster.cortex("drain", other, "--dry-run", "--json").stdout)
        assert {move["task"] for move in sheet["moves"]} == {one for one, node in placed.items() if node == other}
        assert sheet["quorum"] == {"voters": 3, "up": 3, "needed": 2, "up_without": 2, "ok": True}
        done = cluster.cortex("drain", other, "--plan", sheet["plan_id"], "--now", "--wait", "--json")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert (document["ids"], document["plan_id"], document["state"]) == ([other], sheet["plan_id"], "done")
        await is_whole(client, (await client.get_operation(document["operation_id"])).operation, other)
        again = cluster.cortex("drain", other)
        assert (again.returncode, b"drained already" in again.stderr) == (1, True)

        assert cluster.cortex("uncordon", other).returncode == 0
        begun = await drain(client, leader, deadline_ms=60_000, undo_window_ms=1000)
        await is_whole(client, await ended(client, begun.operation_id), leader)
        assert await cluster.leader(client) != leader


async def test_what_may_not_move_ends_at_the_deadline_though_the_leader_is_killed(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster()
    async with cluster.client() as client:
        leader = await cluster.whole(client)
        node = next(one for one in cluster.nodes if one != leader)
        request = task_on(node, "sleep 1000", retryable=False)
        request.spec.kill_timeout_ms = 2000
        once = await running(client, request)
        begun = await drain(client, node, deadline_ms=14_000, undo_window_ms=500)
        assert [(item.task, item.dead_letter) for item in begun.plan.stuck] == [(once, True)]
        # Drained already on a machine that is so slow that the deadline has come.
        await until_node(client, node, NodeState.NODE_STATE_DRAINING, NodeState.NODE_STATE_DRAINED)
        cluster.kill(leader)
        operation = await ended(client, begun.operation_id)
        await is_whole(client, operation, node)
        task = (await client.get_task(once)).task
        assert (state_name(task), task.cause) == ("dead_letter", types_pb2.CAUSE_DRAINED)
        # Not before its last call, one kill timeout ahead of the deadline.
        assert task.dead_lettered_at_us >= operation.deadline_us - task.spec.kill_timeout_ms * 1000
        assert await cluster.leader(client) != leader


async def test_a_drain_undone_under_the_next_leader_has_moved_nothing(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    async with cluster.client() as client:
        leader = await cluster.whole(client)
        node = next(one for one in cluster.nodes if one != leader)
        task_id = await running(client, task_on(node, "sleep 1000"))
        begun = await drain(client, node, undo_window_ms=120_000)
        assert [item.task for item in begun.plan.stuck] == [task_id]
        assert await node_state(client, node) == NodeState.NODE_STATE_CORDONED
        await cluster.caught_up(client)
        cluster.kill(leader)
        undone = cluster.cortex("undo", begun.operation_id)
        assert undone.returncode == 0, undone.stderr
        operation = await ended(client, begun.operation_id)
        assert operation.state == OperationState.OPERATION_STATE_UNDONE
        assert await node_state(client, node) == NodeState.NODE_STATE_ACTIVE
        task = (await client.get_task(task_id)).task
        assert (state_name(task), task.node, task.migrate_requested) == ("running", node, False)
        assert cluster.cortex("drain", node, "--plan", "nothing").returncode == 3
