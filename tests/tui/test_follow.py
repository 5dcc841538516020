"""What is followed is written once, whatever a daemon that lags behind tells of it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator
from typing import Any, cast

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui.command_line import CommandLine
from tests.tui.fake_cluster import FakeCluster
from tui.link.client import ClusterClient
from tui.link.follow import Follower

RUNNING, COMPLETED = types_pb2.TASK_STATE_RUNNING, types_pb2.TASK_STATE_COMPLETED
SAID = {5: b"first attempt\n", 9: b"second attempt\n"}


def row(state: types_pb2.TaskState.ValueType, fence: int, index: int) -> types_pb2.Task:
    return types_pb2.Task(id="t1", state=state, fence=fence, modified_index=index)


def changed(task: types_pb2.Task, **told: Any) -> cluster_pb2.WatchReply:
    return cluster_pb2.WatchReply(changes=[types_pb2.Change(task=task)], index=task.modified_index, **told)


class Lagging:
    """A client: after the second attempt began, it comes to a daemon that has not heard of it yet."""

    def __init__(self, *late: cluster_pb2.WatchReply) -> None:
        self._late = late
        self._stale = row(RUNNING, 5, 6)

    async def get_task(self, _id: str) -> cluster_pb2.GetTaskReply:
        return cluster_pb2.GetTaskReply(task=self._stale, index=6)

    async def watch(self, _index: int, **_options: Any) -> AsyncGenerator[cluster_pb2.WatchReply, None]:
        yield changed(row(RUNNING, 9, 10))
        yield changed(self._stale, snapshot_begin=True)
        yield cluster_pb2.WatchReply(snapshot_end=True, index=6)
        for reply in self._late:
            yield reply

    async def output(self, _id: str, kind: int, *, fence: int, **_options: Any) -> Any:
        yield cluster_pb2.OutputReply(stream=cluster_pb2.STREAM_KIND_STDOUT, data=SAID[fence], fence=fence)

    def saw(self, index: int) -> None:
        """Nobody asks anything later."""


async def followed(*late: cluster_pb2.WatchReply) -> tuple[bytes, list[types_pb2.Task]]:
    written: list[bytes] = []
    client = cast(ClusterClient, Lagging(*late))
    follower = Follower(client, sink=lambda _kind, _offset, data: written.append(data), told=written.clear)
    ended = await follower.follow(["t1"])
    return b"".join(written), ended


async def test_an_attempt_is_not_written_again_after_another_daemon_answers() -> None:
    done = row(COMPLETED, 9, 12)
    done.result.stdout.head, done.result.stdout.total_bytes = SAID[9], len(SAID[9])
    written, ended = await followed(changed(row(RUNNING, 9, 10)), changed(done))
    assert written == SAID[5] + SAID[9]
    assert ended == [done]


async def test_after_a_recovery_older_rows_are_the_truth() -> None:
    lost = row(COMPLETED, 5, 8)
    written, ended = await followed(changed(lost), changed(lost, recovery_epoch=1))
    assert ended == [lost]
    assert written.count(SAID[9]) <= 1


async def test_events_are_followed_until_ctrl_c(cortex: CommandLine, cluster: FakeCluster) -> None:
    process = await cortex.start("events", "-f", "--json")
    await cluster.called("Watch")
    assert process.stdout is not None
    told = asyncio.create_task(process.stdout.readline())
    async with asyncio.timeout(60):
        while not told.done():
            # More than one: a watch that was slow to answer is begun anew, with what comes from then on.
            cluster.add_task(f"t{len(cluster.tasks)}")
            await asyncio.wait((told,), timeout=0.2)
    line = json.loads(told.result())
    assert (line["task"] in cluster.tasks, line["type"]) == (True, "submitted")
    process.send_signal(signal.SIGINT)
    ran = await cortex.end(process)
    assert (ran.code, ran.error["code"]) == (130, "interrupted")
