"""Daemons that are stopped and killed under load: no acknowledged task is lost, and no run has two results."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cortex.v1 import types_pb2
from tests.e2e.harness import Cluster, all_tasks, eventually, shell, state_name, wait_all_ended
from tests.e2e.test_cluster import results_per_run
from tests.gate import gate_in, opened
from tui.errors import ClusterError
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]

STOP_S = 10.0
KILLS = 6
PATIENCE_S = 120.0
# A task of a daemon that is away is lost only when this is over, however slow the machine is.
LEASE = {"CORTEX_LEASE_MS": "10m"}


class Load:
    """Submits small batches, almost without a pause, and remembers what was acknowledged."""

    def __init__(self, client: ClusterClient, command: str, batch: int = 10) -> None:
        self._client = client
        self._command = command
        self._batch = batch
        self.acknowledged: set[str] = set()
        self.unknown = 0
        self.index = 0

    async def run(self, until: asyncio.Event) -> None:
        number = 0
        while not until.is_set():
            number += 1
            requests = [shell(self._command, name=f"load-{number}-{part}") for part in range(self._batch)]
            try:
                reply = await self._client.submit_batch(requests)
                self.acknowledged.update(reply.ids)
                self.index = reply.index
            except ClusterError as error:
                # Whether it was carried out is not known.
                if not error.transient:
                    raise
                self.unknown += len(requests)
            await asyncio.sleep(0.1)

    async def more(self, count: int) -> None:
        """Return when that many more are acknowledged."""
        goal = len(self.acknowledged) + count

        async def enough() -> str:
            return "yes" if len(self.acknowledged) >= goal else ""

        await eventually(enough, PATIENCE_S)


async def voters_up(client: ClusterClient, count: int) -> str:
    """The leader, once it serves and reaches that many voters."""

    async def check() -> str:
        status = await client.status()
        return status.leader if status.healthy and sum(voter.up for voter in status.voters) == count else ""

    return await eventually(check, PATIENCE_S)


async def check_all(cluster: Cluster, client: ClusterClient, load: Load) -> None:
    """Everything acknowledged has ended well, each run has one result, and the replicas are equal."""
    # Whoever answers is to have applied what others acknowledged.
    client.min_index = max(client.min_index, load.index)
    tasks = {task.id: task for task in await all_tasks(client)}
    assert load.acknowledged <= tasks.keys()
    assert len(tasks) <= len(load.acknowledged) + load.unknown
    tasks = await wait_all_ended(client, set(tasks), PATIENCE_S)
    assert {state_name(task) for task in tasks.values()} == {"completed"}, cluster.logs()
    results = await results_per_run(client)
    assert results == {(task.id, task.run): 1 for task in tasks.values()}

    async def equal() -> str:
        found = set()
        for node in cluster.nodes:
            async with cluster.client(node) as own:
                status = await own.status()
                found.add((status.applied, status.digest))
        return "yes" if len(found) == 1 else ""

    await eventually(equal, PATIENCE_S)


async def test_a_leader_that_freezes_for_10_seconds_finds_another_one(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster, gate = make_cluster(voters=3, environment=LEASE), gate_in(tmp_path)
    async with cluster.client() as client:
        leader = await voters_up(client, 3)
        others = [node for node in cluster.nodes if node != leader]
        long = shell(f": <{gate}; echo awake")
        long.spec.constraints.target_node = leader
        long_id = (await client.submit(long)).id

        async def runs() -> str:
            return "yes" if state_name((await client.get_task(long_id)).task) == "running" else ""

        await eventually(runs)
        async with cluster.client(*others) as awake:
            load, stop = Load(awake, "echo done"), asyncio.Event()
            loading = asyncio.create_task(load.run(stop))
            await load.more(20)
            process = cluster.nodes[leader].process
            assert process is not None
            process.send_signal(signal.SIGSTOP)
            try:
                frozen = asyncio.create_task(asyncio.sleep(STOP_S))
                assert await voters_up(awake, 2) in others
                await load.more(100)
                with opened(gate):
                    await frozen
            finally:
                process.send_signal(signal.SIGCONT)
            assert await voters_up(awake, 3) in others
            stop.set()
            await loading
        load.acknowledged.add(long_id)
        await check_all(cluster, client, load)
        task = (await client.get_task(long_id)).task
        assert (task.losses, task.node, task.result.stdout.head) == (0, leader, b"awake\n")


async def test_daemons_killed_one_after_the_other_under_load(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=3, environment=LEASE)
    choice = random.Random(7)
    async with cluster.client() as client:
        await voters_up(client, 3)
        load, stop = Load(client, "sleep 0.05; echo done"), asyncio.Event()
        loading = asyncio.create_task(load.run(stop))
        leaders: Counter[str] = Counter()
        for kill in range(KILLS):
            leader = await voters_up(client, 3)
            leaders[leader] += 1
            # Every other time the leader, else anybody.
            victim = leader if kill % 2 else choice.choice(list(cluster.nodes))
            cluster.kill(victim)
            await load.more(20)
            cluster.start(victim)
        await voters_up(client, 3)
        stop.set()
        await loading
        assert len(leaders) > 1
        await check_all(cluster, client, load)
        assert await lost_events(client) == [], cluster.logs()


async def lost_events(client: ClusterClient) -> list[types_pb2.Event]:
    """Losses of tasks: a daemon's death is none, for its supervisor keeps the commands."""
    found: list[types_pb2.Event] = []
    cursor = ""
    while True:
        page = await client.list_events(limit=1000, cursor=cursor)
        found += [event for event in page.events if event.type == types_pb2.EVENT_TYPE_LOST]
        client.saw(page.index)
        cursor = page.next_cursor
        if not cursor:
            return found
