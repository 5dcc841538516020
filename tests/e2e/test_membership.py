"""Voters that come and go on real daemons, while a client writes all the time."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster, Node, all_tasks, eventually, held_port, shell, state_name, wait_all_ended
from tests.e2e.test_faults import Load
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]

PATIENCE_S = 120.0
WAIT = ("--wait", "--timeout", "100s")
# A task of a daemon that is away is lost only when this is over, however slow the machine is.
LEASE = {"CORTEX_LEASE_MS": "10m"}


async def standbys(cluster: Cluster, client: ClusterClient, *names: str) -> None:
    """Start daemons that only join; return when they are known."""
    for name in names:
        port = held_port()
        cluster.ports.append(port)
        address = f"127.0.0.1:{port.getsockname()[1]}"
        cluster.nodes[name] = Node(name, address, cluster.root / name, join="n1")
    cluster.start(*names)

    async def known() -> str:
        online = {view.node.id for view in (await client.list_nodes()).nodes if view.node.online}
        return "yes" if online.issuperset(names) else ""

    await eventually(known, PATIENCE_S)


async def cortex(cluster: Cluster, *arguments: str, code: int = 0) -> str:
    """What the command line prints, or says where it is refused."""
    ran = await asyncio.to_thread(cluster.cortex, *arguments, timeout_s=PATIENCE_S)
    said = (ran.stdout if code == 0 else ran.stderr).decode()
    assert ran.returncode == code, f"{ran.stdout!r} {ran.stderr!r}\n{cluster.logs()}"
    return said


async def members(client: ClusterClient) -> dict[str, cluster_pb2.VoterView]:
    return {view.id: view for view in (await client.list_voters()).voters}


async def leader_of(client: ClusterClient, *, other_than: str = "") -> str:
    """Who leads, once somebody serves who is not that one."""

    async def serving() -> str:
        status = await client.status()
        return status.leader if status.healthy and status.leader != other_than else ""

    return await eventually(serving, PATIENCE_S)


async def all_up(client: ClusterClient, count: int) -> None:
    async def up() -> str:
        views = (await client.list_voters()).voters
        return "yes" if len(views) == count and all(view.up and view.voter for view in views) else ""

    await eventually(up, PATIENCE_S)


@asynccontextmanager
async def loaded(client: ClusterClient) -> AsyncIterator[Load]:
    """A client that submits all the time, and whose every call succeeds in the end."""
    load, stop = Load(client, "true"), asyncio.Event()
    loading = asyncio.create_task(load.run(stop))
    try:
        await load.more(20)
        yield load
        await load.more(20)
    finally:
        stop.set()
        await loading
    assert load.unknown == 0


async def nothing_lost(cluster: Cluster, client: ClusterClient, load: Load) -> None:
    """What was acknowledged has ended, and every voter shows it."""
    client.min_index = max(client.min_index, load.index)
    ended = await wait_all_ended(client, load.acknowledged, PATIENCE_S)
    assert {state_name(task) for task in ended.values()} == {"completed"}, cluster.logs()
    for voter in await members(client):
        async with cluster.client(voter) as own:
            own.saw(client.min_index)
            assert load.acknowledged <= {task.id for task in await all_tasks(own)}


async def test_one_three_five_three_under_load(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=1, environment=LEASE)
    async with cluster.client() as first:
        await leader_of(first)
        await standbys(cluster, first, "s1", "s2", "s3", "s4")
    async with cluster.client() as client, cluster.client() as writer, loaded(writer) as load:
        for name in ("s1", "s2"):
            added = json.loads(await cortex(cluster, "voters", "add", name, *WAIT, "--json"))
            assert (added["ids"], added["voter"]) == ([name], True)
        await all_up(client, 3)
        for name in ("s3", "s4"):
            assert await cortex(cluster, "voters", "add", name, *WAIT) == f"{name}\n"
        await all_up(client, 5)
        await load.more(50)
        # The first one leads, if no election came between.
        leader = await leader_of(client)
        gone = json.loads(await cortex(cluster, "voters", "remove", leader, "--json"))
        assert gone["ids"] == [leader]
        other = await leader_of(client, other_than=leader)
        follower = next(name for name in await members(client) if name != other)
        assert await cortex(cluster, "voters", "remove", follower, "--yes") == f"{follower}\n"
        await all_up(client, 3)
        await load.more(50)
        left = await members(client)
        assert left.keys() == cluster.nodes.keys() - {leader, follower}
    async with cluster.client() as client:
        await nothing_lost(cluster, client, load)
        kinds = [types_pb2.EVENT_TYPE_VOTER_ADDED, types_pb2.EVENT_TYPE_VOTER_REMOVED]
        told = (await client.list_events(types=kinds)).events
        assert [event.node for event in told] == ["s1", "s2", "s3", "s4", leader, follower]
        assert all(event.actor for event in told if event.type == types_pb2.EVENT_TYPE_VOTER_REMOVED)


async def test_a_removed_daemon_goes_on_as_a_worker_and_disturbs_nobody(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=3, environment=LEASE)
    async with cluster.client() as client:
        leader = await leader_of(client)
        await all_up(client, 3)
        gone = next(name for name in cluster.nodes if name != leader)
        await cortex(cluster, "voters", "remove", gone)
        # With the flags of a voter, on the folder of one.
        cluster.kill(gone)
        cluster.start(gone)
        task = shell("echo here")
        task.spec.constraints.target_node = gone
        task_id = (await client.submit(task)).id
        await wait_all_ended(client, {task_id}, PATIENCE_S)
        done = (await client.get_task(task_id)).task
        assert (done.node, done.result.stdout.head) == (gone, b"here\n")
        status = await client.status()
        assert status.leader in cluster.nodes.keys() - {gone}
        assert gone not in await members(client)
        # It shows what the others have, and passes on what it is asked.
        async with cluster.client(gone) as own:
            assert own.targets[0].address == cluster.nodes[gone].address
            assert (await own.submit(shell("true"))).index > status.index
            assert set(await members(own)) == set(cluster.nodes) - {gone}


async def test_an_unreachable_daemon_stays_a_learner_that_can_be_removed(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=1)
    async with cluster.client() as client:
        await leader_of(client)
        await standbys(cluster, client, "s1")
        cluster.kill("s1")
        said = await cortex(cluster, "voters", "add", "s1", "--wait", "--timeout", "1s", code=1)
        assert "s1 has not caught up within 1.0s; it is a learner." in said
        view = (await members(client))["s1"]
        assert (view.voter, view.up, view.catching_up) == (False, False, True)
        assert "learners: s1 (down)" in await cortex(cluster, "status")
        # One voter is enough, whatever the learner does.
        assert (await client.submit(shell("true"))).id
        await cortex(cluster, "voters", "remove", "s1")
        assert set(await members(client)) == {"n1"}
        cluster.start("s1")
        await cortex(cluster, "voters", "add", "s1", *WAIT)
        await all_up(client, 2)


async def test_what_would_break_quorum_is_refused(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=3)
    async with cluster.client() as client:
        leader = await leader_of(client)
        await all_up(client, 3)
        dead, other = (name for name in cluster.nodes if name != leader)
        cluster.kill(dead)

        async def noticed() -> str:
            return "yes" if not (await members(client))[dead].up else ""

        await eventually(noticed, PATIENCE_S)
        for name in (other, leader):

            async def refused(name: str = name) -> str:
                said = await cortex(cluster, "voters", "remove", name, code=1)
                assert "would break quorum: " in said
                # Of the two that run one may be late to be heard of.
                return "yes" if "1 of the 2 voters it leaves are up" in said else ""

            await eventually(refused, PATIENCE_S)
        # What is dead can go.
        await cortex(cluster, "voters", "remove", dead)
        assert set(await members(client)) == {leader, other}


async def test_leadership_is_handed_over_by_name_at_a_stop_and_nobody_notices(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=3, environment=LEASE)
    async with cluster.client() as first:
        leader = await cluster.whole(first)
    async with cluster.client() as client, cluster.client() as writer, loaded(writer) as load:
        to = next(name for name in cluster.nodes if name != leader)
        moved = json.loads(await cortex(cluster, "leader", "transfer", to, "--json"))
        assert (moved["leader"], moved["took_ms"] >= 0) == (to, True)
        await load.more(20)
        process = cluster.nodes[to].process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        await leader_of(client, other_than=to)
        await asyncio.to_thread(process.wait)
        assert process.returncode == 0
        await load.more(20)
        assert f"{to} leads" not in await cortex(cluster, "leader")
    cluster.start()
    async with cluster.client() as client:
        await all_up(client, 3)
        await nothing_lost(cluster, client, load)


async def test_a_leader_that_was_frozen_shows_nothing_that_is_over(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=3)
    async with cluster.client() as client:
        leader = await leader_of(client)
        await all_up(client, 3)
        await client.set_setting("max_queue_depth", "1000")
        process = cluster.nodes[leader].process
        assert process is not None
        others = [name for name in cluster.nodes if name != leader]
        process.send_signal(signal.SIGSTOP)
        try:
            async with cluster.client(*others) as awake:
                await leader_of(awake, other_than=leader)
                await awake.set_setting("max_queue_depth", "2000")
        finally:
            process.send_signal(signal.SIGCONT)
        async with cluster.client(leader) as frozen:
            frozen.linearizable = True

            async def shown() -> str:
                reply = await frozen.get_settings()
                return next(view.value for view in reply.settings if view.name == "max_queue_depth")

            # Refused until it knows better; the first answer is not the one from before.
            assert await eventually(shown, PATIENCE_S) == "2000"
