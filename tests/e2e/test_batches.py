"""Batches that take many log entries, on real daemons."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Callable

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster, Node, all_tasks, eventually
from tui.errors import ClusterError
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]
PATIENCE_S = 600.0
NOWHERE = types_pb2.Constraints(target_node="nowhere")


def waiting(name: str) -> cluster_pb2.TaskRequest:
    """A task that no node may run, so that it stays what it is."""
    spec = types_pb2.TaskSpec(argv=[b"true"], constraints=NOWHERE)
    spec.env.add(name="PADDING", value=b"x" * 100)
    return cluster_pb2.TaskRequest(name=name, spec=spec)


def batch(request_id: str, tasks: list[cluster_pb2.TaskRequest]) -> cluster_pb2.SubmitBatchRequest:
    mutation = cluster_pb2.Mutation(client="test", request_id=request_id)
    return cluster_pb2.SubmitBatchRequest(mutation=mutation, tasks=tasks)


async def submit(client: ClusterClient, request: cluster_pb2.SubmitBatchRequest) -> cluster_pb2.SubmitBatchReply:
    """As client.submit_batch(), with the patience that a busy machine needs."""
    reply: cluster_pb2.SubmitBatchReply = await client._write("SubmitBatch", request, PATIENCE_S)
    return reply


async def queued(client: ClusterClient) -> int:
    """How many tasks there are, once all that `client` saw is saved."""

    async def total() -> str:
        return str((await client.list_tasks(limit=1)).total)

    return int(await eventually(total, PATIENCE_S))


def let_write(node: Node, limit_bytes: int) -> None:
    """Its daemon ends when a file of its own would grow over that."""
    assert node.process is not None
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))


async def ends(node: Node) -> None:
    """Return when its daemon has ended by itself."""
    assert node.process is not None
    assert await asyncio.to_thread(node.process.wait, PATIENCE_S) > 0


async def test_20_000_tasks_in_one_call_are_all_or_none(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=3)
    async with cluster.client() as client:
        await cluster.leader(client)
        tasks = [waiting(f"t{number}") for number in range(20_000)]
        tasks[18_765].priority = 11
        with pytest.raises(ClusterError, match=r"Nothing was submitted\. Line 18766: priority is 11"):
            await submit(client, batch("bad", tasks))
        assert await queued(client) == 0
        tasks[18_765].priority = 1
        reply = await submit(client, batch("good", tasks))
        assert len(set(reply.ids)) == 20_000, cluster.logs()
        assert await queued(client) == 20_000
        assert (await client.get_task(reply.ids[18_765])).task.priority == 1


async def test_a_batch_goes_on_after_its_leader_was_killed(make_cluster: MakeCluster) -> None:
    """Its middle holds still: the leader's only follower has no room for more than the first parts."""
    cluster = make_cluster(voters=3)
    async with cluster.client() as client:
        leader = await cluster.whole(client)
        follower, away = (node for node in cluster.nodes if node != leader)
        cluster.kill(away)
        let_write(cluster.nodes[follower], 1_500_000)
        tasks = [waiting(f"t{number}") for number in range(20_000)]
        request = batch("goes-on", tasks)
        async with cluster.client(leader) as to_leader:
            first = asyncio.create_task(to_leader._write("SubmitBatch", request, 60.0))
            await ends(cluster.nodes[follower])
            cluster.kill(leader)
            with pytest.raises(ClusterError):
                await first
        cluster.start(follower, away)
        # The other one lacks what both had written.
        assert await cluster.leader(client) == follower
        async with cluster.client(follower) as successor:
            successor.saw((await successor.status()).applied)
            assert 0 < await queued(successor) < 20_000
        reply = await submit(client, request)
        assert len(set(reply.ids)) == 20_000, cluster.logs()
        assert await queued(client) == 20_000
        again = await submit(client, request)
        assert (list(again.ids), again.index) == (list(reply.ids), reply.index)
        cluster.start(leader)
        names = Counter(task.name for task in await all_tasks(client))
        assert names == Counter(task.name for task in tasks)
