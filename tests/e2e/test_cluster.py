"""From a submission to a finished command, on real daemons; and what is left after they are killed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cortex.v1 import types_pb2
from tests.e2e.harness import Cluster, can_unshare, eventually, shell, state_name, wait_all_ended
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]
TERMINAL = {
    types_pb2.EVENT_TYPE_COMPLETED,
    types_pb2.EVENT_TYPE_CANCELLED,
    types_pb2.EVENT_TYPE_DEAD_LETTERED,
}


async def results_per_run(client: ClusterClient) -> Counter[tuple[str, int]]:
    """How many terminal results each task run has in the events."""
    found: Counter[tuple[str, int]] = Counter()
    cursor = ""
    while True:
        page = await client.list_events(limit=1000, cursor=cursor)
        found.update((event.task, event.run) for event in page.events if event.type in TERMINAL)
        client.saw(page.index)
        cursor = page.next_cursor
        if not cursor:
            return found


async def test_one_voter_runs_a_command_and_remembers_it(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=1)
    async with cluster.client() as client:
        await cluster.leader(client)
        done = cluster.cortex("submit", "--wait", "--", "sh", "-c", "echo hi; echo oops >&2; exit 7")
        assert (done.returncode, done.stdout, done.stderr) == (7, b"hi\n", b"oops\n"), cluster.logs()
        cluster.kill()
        cluster.start()
        await cluster.leader(client)

        async def listed() -> str:
            # A list shows what is saved, which a restart may be a moment behind.
            return "".join(task.id for task in (await client.list_tasks(limit=10)).tasks)

        task = (await client.get_task(await eventually(listed))).task
        assert (state_name(task), task.result.exit_code) == ("dead_letter", 7)
        assert task.result.stdout.head == b"hi\n"


async def test_nothing_is_lost_when_the_leader_is_killed(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(voters=3)
    async with cluster.client() as client:
        leader = await cluster.leader(client)
        batch = tmp_path / "tasks.jsonl"
        batch.write_text("".join(json.dumps({"command": ["true"], "name": f"t{i}"}) + "\n" for i in range(1000)))
        done = cluster.cortex("--json", "submit", "--file", str(batch))
        assert done.returncode == 0, done.stderr
        ids = set(json.loads(done.stdout)["ids"])
        assert len(ids) == 1000
        cluster.kill(leader)
        assert await cluster.leader(client) != leader
        cluster.start(leader)
        tasks = await wait_all_ended(client, ids, timeout_s=120)
        assert Counter(state_name(task) for task in tasks.values()) == {"completed": 1000}, cluster.logs()
        assert set((await results_per_run(client)).values()) == {1}


async def test_every_acknowledged_task_survives_a_kill_of_all_daemons(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=3)
    async with cluster.client() as client:
        await cluster.leader(client)
        ids = {(await client.submit(shell("echo kept", name=f"t{i}"))).id for i in range(30)}
        cluster.kill()
        cluster.start()
        await cluster.leader(client)
        tasks = await wait_all_ended(client, ids, timeout_s=60)
        assert {state_name(task) for task in tasks.values()} == {"completed"}
        assert set((await results_per_run(client)).values()) == {1}


async def test_a_command_runs_on_while_its_daemon_is_restarted(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(voters=1)
    gate = tmp_path / "gate"
    async with cluster.client() as client:
        await cluster.leader(client)
        command = f"echo one; while [ ! -e {gate} ]; do sleep 0.05; done; echo two"
        task_id = (await client.submit(shell(command))).id

        async def running() -> str:
            return "yes" if state_name((await client.get_task(task_id)).task) == "running" else ""

        await eventually(running)
        cluster.kill()
        cluster.start()
        await cluster.leader(client)
        gate.touch()
        await wait_all_ended(client, {task_id}, timeout_s=60)
        found = await client.get_task(task_id)
        task, events = found.task, found.events
        started = [event for event in events if event.type == types_pb2.EVENT_TYPE_STARTED]
        assert (state_name(task), task.attempt, len(started)) == ("completed", 0, 1), cluster.logs()
        assert task.result.stdout.head == b"one\ntwo\n"


@pytest.mark.skipif(not can_unshare(), reason="pid namespaces need root")
async def test_tasks_of_a_dead_machine_end_elsewhere(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """The others' tasks are not disturbed; the dead machine's own end after their lease."""
    options = {
        "CORTEX_LEASE_MS": "6s",
        "CORTEX_RENEW_MS": "1s",
        "CORTEX_LEASE_MARGIN_MS": "1s",
        "CORTEX_SLOTS": "4",
    }
    cluster = make_cluster(voters=3, machines=True, environment=options)
    gate = tmp_path / "gate"
    async with cluster.client() as client:
        leader = await cluster.whole(client)
        requests = [shell(f"until test -e {gate}; do sleep 0.1; done", name=f"t{i}") for i in range(200)]
        for request in requests:
            request.spec.kill_timeout_ms = 1_000
        ids = set((await client.submit_batch(requests)).ids)

        async def all_slots_taken() -> str:
            page = await client.list_tasks(states=[types_pb2.TASK_STATE_RUNNING], limit=1)
            return "yes" if page.total == 12 else ""

        await eventually(all_slots_taken)
        cluster.kill(leader)
        gate.touch()
        tasks = await wait_all_ended(client, ids, timeout_s=120)
        assert Counter(state_name(task) for task in tasks.values()) == {"completed": 200}, cluster.logs()
        results = await results_per_run(client)
        assert len(results) == 200
        assert set(results.values()) == {1}
        assert any(task.losses for task in tasks.values())
        disturbed = [task for task in tasks.values() if task.losses and task.attempt]
        assert disturbed == []
