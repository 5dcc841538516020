"""Placements that apply refuses although they seemed to fit: they wait, longer each time, and hold up nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from cortex.v1 import log_pb2
from cortex.v1.log_pb2 import Command, NodeCordon
from node.core.faults import Code, Fault
from node.core.model import ASSIGNED, QUEUED
from tests.node.fake_replica import FakeReplica
from tests.node.leader_kit import Cluster, WorkerEnd, machine_node, recalled, shell, virtual


class Refusing(FakeReplica):
    """Applies no assignment of a task whose id begins with bad."""

    def __init__(self) -> None:
        super().__init__()
        self.tries: dict[str, list[float]] = {}

    async def execute(self, commands: Sequence[Command], **more: Any) -> log_pb2.Reply:
        changed = []
        for command in commands:
            if command.HasField("task_assign") and command.task_assign.id.startswith("bad"):
                now_s = asyncio.get_running_loop().time()
                self.tries.setdefault(command.task_assign.id, []).append(now_s)
                command = Command.FromString(command.SerializeToString())
                command.task_assign.placement.node = "nowhere"
            changed.append(command)
        return await super().execute(changed, **more)


class Lasting(Cluster):
    """Its workers stay."""

    def __init__(self, replica: FakeReplica) -> None:
        super().__init__(replica)
        self._renewals: list[asyncio.Future[None]] = []

    async def worker(self, node_id: str = "n1", slots: int = 8) -> WorkerEnd:
        worker = await self.connect(machine_node(node_id, slots, f"i-{node_id}"))
        self._renewals.append(asyncio.ensure_future(worker.keep_renewing(())))
        return worker

    async def stop(self) -> None:
        for renewals in self._renewals:
            renewals.cancel()
        await super().stop()


def test_what_is_refused_again_and_again_is_tried_less_and_less() -> None:
    async def main() -> None:
        replica = Refusing()
        cluster = Lasting(replica)
        cluster.begin()
        await cluster.worker()
        await cluster.submit(shell("bad"))
        await asyncio.sleep(600)
        tries = replica.tries["bad"]
        gaps = [later - earlier for earlier, later in pairwise(tries)]
        assert gaps[0] < 0.5, "most refusals are over in a moment"
        assert all(later > 1.5 * earlier for earlier, later in pairwise(gaps[:7]))
        assert max(gaps) < 40
        assert len(tries) < 40
        await cluster.stop()

    virtual(main)


def test_others_are_placed_at_once_meanwhile() -> None:
    async def main() -> None:
        cluster = Lasting(Refusing())
        cluster.begin()
        await cluster.worker()
        await cluster.submit(shell("bad", priority=9), shell("t1"))
        await cluster.until(lambda: cluster.task("t1").state == ASSIGNED)
        await asyncio.sleep(30)
        before_s = asyncio.get_running_loop().time()
        await cluster.submit(shell("t2"))
        await cluster.until(lambda: cluster.task("t2").state == ASSIGNED)
        assert asyncio.get_running_loop().time() - before_s < 0.1
        assert cluster.task("bad").state == QUEUED
        await cluster.stop()

    virtual(main)


def test_a_task_that_changed_is_tried_at_once() -> None:
    async def main() -> None:
        replica = Refusing()
        cluster = Lasting(replica)
        cluster.begin()
        await cluster.worker()
        await cluster.submit(shell("bad"))
        await asyncio.sleep(300)
        tries = len(replica.tries["bad"])
        await cluster.replica.execute([Command(task_priority=log_pb2.TaskPriority(id="bad", priority=9))])
        await asyncio.sleep(0.1)
        assert len(replica.tries["bad"]) == tries + 1
        await cluster.stop()

    virtual(main)


def test_what_has_to_go_is_called_back_all_the_same() -> None:
    async def main() -> None:
        cluster = Lasting(Refusing())
        cluster.begin()
        worker = await cluster.worker(slots=1)
        await cluster.worker("n2", slots=2)
        await cluster.submit(*(shell(f"bad{number}") for number in range(50)))
        await cluster.submit(shell("t1", constraints={"target_node": "n1"}))
        given = (await worker.next("assignments")).assignments.assignments[0]
        await cluster.replica.execute([Command(node_cordon=NodeCordon(id="n1", cordoned=True))])
        message = await worker.next("recall")
        assert list(message.recall.tasks) == [given.task]
        await worker.report(1, recalled(given))
        await cluster.until(lambda: cluster.task("t1").state == QUEUED)
        await cluster.stop()

    virtual(main)


def test_what_the_log_does_not_take_is_tried_again() -> None:
    async def main() -> None:
        replica = FakeReplica()
        cluster = Lasting(replica)
        cluster.begin()
        await cluster.worker()
        await cluster.submit(shell("t1", queue_timeout_ms=1000, constraints={"target_node": "n9"}), shell("t2"))
        replica.fault = Fault(Code.OVERLOADED, "Too much.", "Wait.")
        await asyncio.sleep(60)
        replica.fault = None
        await cluster.until(lambda: cluster.replica.task("t1").dead_lettered_at_us > 0)  # type: ignore[union-attr]
        assert cluster.task("t2").state == ASSIGNED
        await cluster.stop()

    virtual(main)


def test_a_task_that_changed_in_the_queue_times_out_once() -> None:
    async def main() -> None:
        cluster = Lasting(FakeReplica())
        cluster.begin()
        await cluster.worker()
        await cluster.submit(shell("t1", queue_timeout_ms=1000, constraints={"target_node": "n9"}))
        await cluster.replica.execute([Command(task_priority=log_pb2.TaskPriority(id="t1", priority=9))])
        told: list[Command] = []
        sound = cluster.replica.execute

        async def execute(commands: Sequence[Command], **more: Any) -> log_pb2.Reply:
            told.extend(commands)
            return await sound(commands, **more)

        cluster.replica.execute = execute  # type: ignore[method-assign]
        await asyncio.sleep(60)
        assert [command.WhichOneof("kind") for command in told] == ["task_dead_letter"]
        await cluster.stop()

    virtual(main)
