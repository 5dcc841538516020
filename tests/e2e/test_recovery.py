"""Backups that are restored, a majority that is lost, folders that are damaged: nothing acknowledged is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2
from tests.e2e.harness import Cluster, Node, all_tasks, eventually, shell, state_name, wait_all_ended
from tests.e2e.recovery_kit import PATIENCE_S, SMALL, checked, ended_tasks, has_all, votes_again
from tests.e2e.test_faults import LEASE
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]

STEP = 1_000_000_000


async def goes_on(cluster: Cluster, before: set[str]) -> None:
    """All tasks from before are there as they were, and new ones get indexes that were never used."""
    async with cluster.client() as client:
        await cluster.leader(client)
        found = {task.id: task for task in await all_tasks(client)}
        assert before <= found.keys()
        assert {state_name(found[task_id]) for task_id in before} == {"completed"}
        highest = max(found[task_id].fence for task_id in before)
        fresh = await ended_tasks(client, 10)
        made = [task for task in await all_tasks(client) if task.id in fresh]
        assert min(task.created_index for task in made) > STEP > highest
        assert min(task.fence for task in made) > STEP
        assert {state_name(task) for task in made} == {"completed"}


def other_cluster(tmp_path: Path, like: Cluster) -> Cluster:
    """One voter with the secret of another cluster, not started."""
    alone = Cluster(tmp_path / "restored", voters=1)
    alone.secret.write_text(like.secret.read_text())
    return alone


async def test_a_snapshot_is_saved_inspected_and_restored(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster()
    file, stopped = tmp_path / "backup.snap", tmp_path / "stopped.snap"
    secret = ("--secret-file", str(cluster.secret))
    async with cluster.client() as client:
        await cluster.leader(client)
        ids = await ended_tasks(client, 30)
        await cluster.caught_up(client)
    checked(cluster.cortexd("snapshot", "save", str(file), "--data", str(cluster.nodes["n2"].data)))
    content = json.loads(checked(cluster.cortexd("snapshot", "inspect", str(file), "--json")))
    assert content["verified"] is True
    assert content["tasks"] == {"completed": 30}
    assert content["rows"]["tasks"] == 30
    assert [member["id"] for member in content["members"]] == ["n1", "n2", "n3"]
    assert "30 completed" in checked(cluster.cortexd("snapshot", "inspect", str(file)))
    own, near = tmp_path / "own.snap", ("--data", str(cluster.nodes["n1"].data))
    document = json.loads(checked(cluster.cortex("snapshot", "save", str(own), "--json", *near)))
    assert (document["file"], document["rows"], document["verified"]) == (str(own), content["rows"], True)
    assert "verified" in checked(cluster.cortex("snapshot", "inspect", str(own)))
    refused = cluster.cortex("snapshot", "save", str(own), *near)
    assert (refused.returncode, b"is there already" in refused.stderr) == (1, True)
    refused = cluster.cortex("snapshot", "save", "", *near)
    assert (refused.returncode, b"names no file" in refused.stderr) == (1, True)
    far = cluster.cortex("snapshot", "save", str(tmp_path / "far.snap"))
    assert (far.returncode, b"Run `cortexd snapshot save FILE --data DIR` there" in far.stderr) == (1, True)
    cluster.kill()
    checked(cluster.cortexd("snapshot", "save", str(stopped), "--data", str(cluster.nodes["n3"].data), *secret))
    again = json.loads(checked(cluster.cortexd("snapshot", "inspect", str(stopped), "--json")))
    assert again["tasks"] == {"completed": 30}

    alone = other_cluster(tmp_path, cluster)
    node = alone.nodes["n1"]
    secret = ("--secret-file", str(alone.secret))
    restore = ("snapshot", "restore", str(file), "--data", str(node.data), "--id", "n1", "--listen", node.address)
    try:
        said = checked(alone.cortexd(*restore, *secret))
        assert "recovery 1" in said
        refused = alone.cortexd(*restore, *secret)
        assert refused.returncode == 1
        assert b"is in use" in refused.stderr
        alone.start()
        await goes_on(alone, ids)
    finally:
        alone.close()


async def test_a_snapshot_with_one_changed_bit_is_refused(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(voters=1)
    file = tmp_path / "backup.snap"
    async with cluster.client() as client:
        await cluster.leader(client)
        await ended_tasks(client, 10)
    checked(cluster.cortexd("snapshot", "save", str(file), "--data", str(cluster.nodes["n1"].data)))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    refused = cluster.cortexd("snapshot", "inspect", str(file))
    assert refused.returncode == 2
    assert b"another hash" in refused.stderr


class Watch:
    """Follows the cluster through whatever happens to it."""

    def __init__(self, client: ClusterClient) -> None:
        self.begun: list[tuple[int, int]] = []
        """Recovery epoch and index of each snapshot that it was given."""
        self.index = 0
        self._task = asyncio.create_task(self._follow(client))

    async def _follow(self, client: ClusterClient) -> None:
        async for reply in client.watch():
            if reply.snapshot_begin:
                self.begun.append((reply.recovery_epoch, reply.index))
            self.index = reply.index

    async def until(self, epoch: int, index: int) -> None:
        """Return when it has seen that entry of that epoch or a later one."""

        async def seen() -> str:
            if self._task.done():
                # It would be waited for in vain; whatever ended it is what is wrong.
                raise AssertionError(f"the watch ended: {self._task.exception()!r}")
            return "yes" if self.begun and self.begun[-1][0] >= epoch and self.index >= index else ""

        try:
            await eventually(seen, PATIENCE_S)
        except TimeoutError:
            message = f"it saw {self.index} and began with {self.begun}, not epoch {epoch} and entry {index}"
            raise AssertionError(message) from None

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


def waiting_task(node_id: str, file: Path) -> cluster_pb2.TaskRequest:
    """One that runs on a node until a file is there."""
    request = shell(f"echo began; until [ -e {file} ]; do sleep 0.1; done", name="waiting")
    request.spec.constraints.target_node = node_id
    return request


async def test_two_of_three_voters_are_lost_for_good(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(environment={**SMALL, **LEASE})
    node, file = cluster.nodes["n3"], tmp_path / "go"
    async with cluster.client() as client:
        await cluster.whole(client)
        watch = Watch(client)
        ids = await ended_tasks(client, 40)
        reply = await client.submit(waiting_task("n3", file))
        await running(client, reply.id)
        await cluster.caught_up(client)
        await watch.until(0, client.min_index)
        cluster.kill()
        await recover_by_typing(cluster, node)
        cluster.start("n3")
        await goes_on(cluster, ids)
        # Who followed the old cluster is told that its position is gone, and begins anew.
        await watch.until(1, STEP)
        # More than once where its link broke meanwhile.
        began = [epoch > 0 for epoch, _ in watch.begun]
        assert (began, set(began)) == (sorted(began), {False, True})
        await watch.stop()
        # What ran on the machine that is left goes on, under the fence that it had.
        file.touch()
        ended = await wait_all_ended(client, {reply.id}, PATIENCE_S)
        assert state_name(ended[reply.id]) == "completed"
        assert ended[reply.id].fence < STEP
        whole = (await client.get_task(reply.id)).task
        assert whole.result.stdout.head == b"began\n"
        await others_come_back(cluster, client, ids)
    cluster.kill("n3")
    await goes_on(cluster, ids)


async def running(client: ClusterClient, task_id: str) -> None:
    async def runs() -> str:
        return "yes" if state_name((await client.get_task(task_id)).task) == "running" else ""

    await eventually(runs, PATIENCE_S)


async def recover_by_typing(cluster: Cluster, node: Node) -> None:
    """Another id than the node's changes nothing; its own makes it the only voter."""
    recover = ("recover", "--data", str(node.data), "--id", node.id, "--secret-file", str(cluster.secret))
    refused = cluster.cortexd(*recover, typed="n1\n")
    assert refused.returncode == 2
    assert b"Nothing was changed" in refused.stderr
    assert not list(node.data.glob("aside-*"))
    said = checked(cluster.cortexd(*recover, typed=f"{node.id}\n"))
    assert "What may be lost" in said
    assert "surely committed" in said
    assert "recovery 1" in said
    (aside,) = node.data.glob("aside-*")
    assert (aside / "raft").is_dir()
    assert not list(node.data.glob("examined-*"))


async def others_come_back(cluster: Cluster, client: ClusterClient, ids: set[str]) -> None:
    """As new ones, with empty folders."""
    status = await client.status()
    assert [voter.id for voter in status.voters] == ["n3"]
    for other in (cluster.nodes["n1"], cluster.nodes["n2"]):
        # Its machine is gone, with all that ran there.
        cluster.end_supervisor(other)
        other.data.rename(other.data.with_name(f"{other.id}-lost"))
        other.join = "n3"
        cluster.start(other.id)
        await votes_again(cluster, client, other.id)
        await has_all(cluster, other.id, ids)
