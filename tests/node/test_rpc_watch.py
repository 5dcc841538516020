"""The snapshot of a watch: consistent, and made in parts that leave the loop free."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, HistoryTrim, TaskCancel
from node.core import validate
from node.core.faults import Code, Fault
from tests.core.cluster import assign, complete, fenced
from tests.node.replica_kit import ANN, Alone, alone

COUNT = 3_000


def submission(task_id: str) -> Command:
    request = pb.TaskRequest(spec=types_pb2.TaskSpec(argv=[b"true"]))
    return Command(task_submit=validate.complete(request, task_id))


def cancel(task_id: str) -> Command:
    return Command(task_cancel=TaskCancel(id=task_id))


async def test_tasks_of_a_node_are_counted_by_a_daemon_that_does_not_lead(tmp_path: Path) -> None:
    async with alone(tmp_path) as daemon:
        fences = []
        for task_id in ("ended", "running", "waiting"):
            await daemon.do(submission(task_id))
            fences.append((await daemon.do(assign(task_id))).index)
        await daemon.do(fenced("task_started", "running", fences[1]), complete("ended", fences[0]))
        daemon.replica.serving = False
        (view,) = daemon.nodes.known_now().nodes
        assert (view.running, view.assigned, view.age_us) == (1, 1, -1)


async def test_a_snapshot_is_of_one_index_and_leaves_the_loop_free(tmp_path: Path) -> None:
    async with alone(tmp_path) as daemon:
        for first in range(0, COUNT, 500):
            await daemon.do(*(submission(f"t{number}") for number in range(first, first + 500)))
        index = daemon.replica.state.index
        turns, between = 0, 0

        async def other_work() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        worker = asyncio.ensure_future(other_work())
        rows: dict[str, types_pb2.Task] = {}
        parts = 0
        request = pb.WatchRequest(snapshot=True, events=True)
        async with aclosing(daemon.watcher.watch(request, ANN)) as replies:
            async for reply in replies:
                if reply.snapshot_begin:
                    assert reply.index == index
                    await daemon.do(cancel("t0"), submission("late"))
                    before = turns
                    continue
                if reply.snapshot_end:
                    between = turns - before
                    break
                parts += 1
                assert reply.index == index
                rows |= {change.task.id: change.task for change in reply.changes if change.HasField("task")}
            assert {task.state for task in rows.values()} == {types_pb2.TASK_STATE_QUEUED}
            assert set(rows) == {f"t{number}" for number in range(COUNT)}
            assert parts >= COUNT / 100
            assert between >= parts, "the loop had a turn between any two parts"
            following = await anext(replies)
            states = {change.task.id: change.task.state for change in following.changes if change.HasField("task")}
            assert states == {"t0": types_pb2.TASK_STATE_CANCELLED, "late": types_pb2.TASK_STATE_QUEUED}
        worker.cancel()


async def test_what_has_ended_is_in_it_and_what_was_trimmed_is_not(tmp_path: Path) -> None:
    async with alone(tmp_path) as daemon:
        await daemon.do(*(submission(f"t{number}") for number in range(6)))
        await daemon.do(*(cancel(f"t{number}") for number in range(4)))
        trim = HistoryTrim(before_us=daemon.replica.now_us() + 10**12, ids=["t0"])
        await daemon.do(Command(history_trim=trim))
        found = await snapshot(daemon)
        states = {
            change.task.id: change.task.state
            for reply in found
            for change in reply.changes
            if change.HasField("task")
        }
        assert sorted(states) == ["t1", "t2", "t3", "t4", "t5"]
        assert states["t1"] == types_pb2.TASK_STATE_CANCELLED
        events = [change.event for reply in found for change in reply.changes if change.HasField("event")]
        assert len({event.id for event in events}) == len(events)
        assert events[-1].type == types_pb2.EVENT_TYPE_HISTORY_TRIMMED


async def test_a_position_from_before_a_recovery_is_gone(tmp_path: Path) -> None:
    async with alone(tmp_path) as daemon:
        await daemon.do(submission("t1"))
        assert {reply.recovery_epoch for reply in await snapshot(daemon)} == {0}
        daemon.replica.state.settings["recovery_epoch"] = types_pb2.Setting(name="recovery_epoch", value="2")
        assert {reply.recovery_epoch for reply in await snapshot(daemon)} == {2}
        index = daemon.replica.state.index
        with pytest.raises(Fault) as refused:
            await anext(daemon.watcher.watch(pb.WatchRequest(after_index=index, recovery_epoch=1), ANN))
        assert refused.value.code == Code.GONE
        request = pb.WatchRequest(after_index=index - 1, recovery_epoch=2)
        async with aclosing(daemon.watcher.watch(request, ANN)) as replies:
            assert (await anext(replies)).index == index


async def snapshot(daemon: Alone) -> list[pb.WatchReply]:
    found: list[pb.WatchReply] = []
    async with aclosing(daemon.watcher.watch(pb.WatchRequest(snapshot=True, events=True), ANN)) as replies:
        async for reply in replies:
            found.append(reply)
            if reply.snapshot_end:
                break
    return found
