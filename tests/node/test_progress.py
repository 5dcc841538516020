"""How far a running task is, from what its driver tells to what watchers see."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from cortex.v1.log_pb2 import Command, TaskAssign, TaskStarted
from node.core import validate
from node.env import Env
from node.rpc.progress import ToldProgress
from node.worker.drivers import Drivers
from node.worker.port import AttemptKey
from tests.node.leader_kit import Cluster, assignments, machine_node, shell, started, virtual
from tests.node.replica_kit import ANN, alone

KEY = AttemptKey("t1", 7)
SERVICE = w.Assignment(task="t1", fence=7, spec=t.TaskSpec(type=t.TASK_TYPE_SERVICE))


def told(task: str, fence: int, current: int, message: str = "") -> t.TaskProgress:
    return t.TaskProgress(task=task, fence=fence, current=current, total=10, message=message)


def tell(drivers: Drivers, *currents: object) -> None:
    env = drivers.prepare(KEY, b"{}")
    with Path(env[b"CORTEX_EVENTS"].decode()).open("a") as file:
        for current in currents:
            file.write(json.dumps({"progress": {"current": current, "total": 10}}) + "\n")
    drivers.look()


def test_a_new_leader_is_told_all_of_it_and_a_known_one_only_news(tmp_path: Path) -> None:
    drivers = Drivers(tmp_path, Env.real(tmp_path).clock)
    drivers.follow(KEY, SERVICE)
    tell(drivers, 1, 2)
    assert [item.current for item in drivers.take_progress()] == [2], "the last word counts"
    assert drivers.take_progress() == []
    assert [item.current for item in drivers.take_progress(everything=True)] == [2]
    tell(drivers, 3)
    drivers.leave(KEY)
    assert drivers.take_progress() == drivers.take_progress(everything=True) == []


def test_what_is_no_number_is_none(tmp_path: Path) -> None:
    drivers = Drivers(tmp_path, Env.real(tmp_path).clock)
    drivers.follow(KEY, SERVICE)
    tell(drivers, -1, "many", 1 << 80)
    assert [item.current for item in drivers.take_progress()] == [(1 << 63) - 1]


def test_what_a_worker_used_for_it_is_in_its_result(tmp_path: Path) -> None:
    drivers = Drivers(tmp_path, Env.real(tmp_path).clock)
    env = drivers.prepare(KEY, b"{}")
    usage = {"cpu_user_us": 5, "cpu_system_us": "x", "max_rss_bytes": 1 << 90, "wall_us": 3}
    Path(env[b"CORTEX_VERDICT"].decode()).write_text(json.dumps({"usage": usage}))
    own = t.Usage(wall_us=9, cpu_user_us=1, cpu_system_us=2, max_rss_bytes=4)
    ended = w.Ended(task="t1", fence=7, result=t.TaskResult(usage=own))
    drivers.judge(KEY, ended)
    assert ended.result.usage == t.Usage(wall_us=9, cpu_user_us=6, cpu_system_us=2, max_rss_bytes=1 << 60)


def test_the_leader_keeps_the_last_word_until_the_task_ends() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node("n1", slots=2))
        await cluster.submit(shell("t1"))
        (given,) = await assignments(worker, 1)
        await worker.report(1, started(given))
        await worker.next("reports_ack")
        await worker.send(sample=w.Sample(progress=[told("t1", given.fence, 1), told("t1", given.fence, 3)]))
        await asyncio.sleep(1)
        assert [item.current for item in cluster.leadership.progress()] == [3]
        found = cluster.leadership.progress_of("t1")
        assert found is not None
        assert found.current == 3
        ended = w.Ended(task="t1", fence=given.fence, result=t.TaskResult(exit_code=0))
        await worker.report(2, w.Report(ended=ended))
        await worker.next("reports_ack")
        assert cluster.leadership.progress() == []
        await cluster.stop()

    virtual(main)


def test_a_handler_may_cancel_its_task() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        node = machine_node("n1", slots=2)
        node.slots.add(type=t.TASK_TYPE_PYTHON, count=1)
        node.capabilities.append("python:paint")
        worker = await cluster.connect(node)
        spec = t.TaskSpec(type=t.TASK_TYPE_PYTHON, payload=b'{"handler": "paint"}')
        await cluster.submit(validate.complete(pb.TaskRequest(spec=spec), "t1"))
        (given,) = await assignments(worker, 1)
        error = "Handler paint cancelled it: \x1b" + "x" * 300
        ended = w.Ended(task="t1", fence=given.fence, cause=t.CAUSE_CANCEL, error=error)
        await worker.report(1, started(given), w.Report(ended=ended))
        await worker.next("reports_ack")
        task = cluster.replica.task("t1")
        assert task is not None
        assert task.state == t.TASK_STATE_CANCELLED
        assert task.cancel_reason == ("Handler paint cancelled it: ?" + "x" * 300)[:200]
        await cluster.stop()

    virtual(main)


def test_nobody_tells_of_tasks_that_are_not_its_own() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node("n1", slots=2))
        other = await cluster.connect(machine_node("n2", slots=0))
        await cluster.submit(shell("t1"))
        (given,) = await assignments(worker, 1)
        await other.send(sample=w.Sample(progress=[told("t1", given.fence, 1)]))
        await worker.send(sample=w.Sample(progress=[told("t1", given.fence - 1, 1), told("absent", 1, 1)]))
        await asyncio.sleep(1)
        assert cluster.leadership.progress() == []
        await worker.send(sample=w.Sample(progress=[told("t1", given.fence, 1, "a\x1b[31mb" + "x" * 300)]))
        await asyncio.sleep(1)
        assert [item.message for item in cluster.leadership.progress()] == ["a?[31mb" + "x" * 193]
        await cluster.stop()

    virtual(main)


async def test_a_task_and_the_beat_of_a_watch_bring_it(tmp_path: Path) -> None:
    async with alone(tmp_path) as daemon:
        request = pb.TaskRequest(spec=t.TaskSpec(argv=[b"true"]))
        await daemon.do(Command(task_submit=validate.complete(request, "t1")))
        await daemon.do(Command(task_assign=TaskAssign(id="t1", placement=t.Placement(node="n1"))))
        fence = daemon.replica.state.tasks["t1"].fence
        await daemon.do(Command(task_started=TaskStarted(id="t1", fence=fence)))
        item = told("t1", fence, 3)
        daemon.leadership.progress, daemon.leadership.progress_of = lambda: [item], lambda _id: item
        assert (await daemon.history.get_task(pb.GetTaskRequest(id="t1"), ANN)).progress == item
        request = pb.WatchRequest(after_index=daemon.replica.state.index, samples=True)
        async with aclosing(daemon.watcher.watch(request, ANN)) as replies:
            assert list((await anext(replies)).progress) == [item]


def test_a_watch_is_told_what_changed() -> None:
    watch = ToldProgress()
    first, second = told("t1", 1, 1), told("t2", 2, 1)
    assert watch.news([first, second]) == [first, second]
    assert watch.news([first, second]) == []
    assert watch.news([told("t1", 1, 1), told("t2", 2, 2)]) == [told("t2", 2, 2)]
    assert watch.news([]) == []
    assert watch.news([second]) == [second]
