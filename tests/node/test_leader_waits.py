"""Why tasks wait as the leader tells it, what is recorded of the nodes, and how a burst lands."""

from __future__ import annotations

import asyncio
from collections import Counter
from unittest.mock import patch

import pytest

from cortex.v1.types_pb2 import Constraints, Requests
from node.core.model import ASSIGNED, QUEUED
from node.core.waiting import Survey
from node.leader import waits
from node.rpc.waiting import Told
from tests.node.leader_kit import Cluster, assignments, machine_node, sample, shell, virtual


def large(mb: int) -> Constraints:
    return Constraints(min_memory_mb=mb)


def test_tasks_of_one_shape_cost_one_answer_which_is_kept_for_a_second() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node("n1", slots=1))
        await worker.send(sample=sample())
        await cluster.submit(*(shell(f"t{number:03}") for number in range(200)))
        await assignments(worker, 1)
        looked: list[object] = []
        sound = Survey.reason
        with patch.object(Survey, "reason", lambda survey, group: looked.append(group) or sound(survey, group)):
            first = cluster.leadership.waiting()
            reasons = {cluster.leadership.wait_reason(f"t{number:03}") for number in range(1, 200)}
        assert [item.reason for item in first] == ["no free shell slot"]
        assert reasons == {"no free shell slot"}
        assert len(looked) == 1
        await cluster.stop()

    virtual(main)


def test_a_reason_goes_when_its_cause_does() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node("n1", slots=1))
        await cluster.submit(shell("t1", constraints=Constraints(capabilities=["kvm"])))
        told = Told()
        (news,) = told.news(cluster.leadership.waiting())
        assert news.reason == "capability kvm missing"
        assert told.news(cluster.leadership.waiting()) == []
        await worker.break_off()
        able = machine_node("n1", slots=1)
        able.capabilities.append("kvm")
        again = await cluster.connect(able)
        await assignments(again, 1)
        await asyncio.sleep(1)
        (news,) = told.news(cluster.leadership.waiting())
        assert news.reason == ""
        assert cluster.leadership.wait_reason("t1") == ""
        assert cluster.task("t1").state == ASSIGNED
        await cluster.stop()

    virtual(main)


def test_more_shapes_than_a_second_has_looks_for_are_told_in_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "_LOOKS", 4)

    async def main() -> None:
        cluster = Cluster().begin()
        for name in ("n1", "n2"):
            await (await cluster.connect(machine_node(name))).send(sample=sample())
        await cluster.submit(*(shell(f"t{mb}", constraints=large(10**6 + mb)) for mb in range(5)))
        counts = []
        for _ in range(4):
            counts.append(len(cluster.leadership.waiting()))
            await asyncio.sleep(1)
        assert counts == [2, 4, 5, 5]
        await cluster.stop()

    virtual(main)


def test_a_placement_finds_what_its_node_had_measured() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node("n1"))
        measured = sample()
        await worker.send(sample=measured)
        await asyncio.sleep(5)
        await cluster.submit(shell("t1"))
        await assignments(worker, 1)
        at_us = cluster.task("t1").assigned_at_us
        await asyncio.sleep(3600)
        then = cluster.leadership.samples_at(at_us)["n1"]
        assert then.reachable
        assert then.resources is not None
        kept = measured.resources.memory_available_bytes
        assert then.resources.memory_available_bytes == kept
        assert cluster.leadership.samples_at(at_us - 3600 * 10**6) == {}
        successor = cluster.successor()
        assert successor.leadership.samples_at(at_us) == {}
        await successor.stop()

    virtual(main)


def test_a_burst_of_independent_tasks_runs_on_all_nodes_and_side_by_side_on_each() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        workers = {name: await cluster.connect(machine_node(name, slots=2)) for name in ("n1", "n2", "n3")}
        for worker in workers.values():
            await worker.send(sample=sample())
        await cluster.submit(*(shell(f"t{number}", priority=5) for number in range(6)))
        for worker in workers.values():
            await assignments(worker, 2)
        held = Counter(task.node for task in cluster.replica.state.tasks.values())
        assert held == {"n1": 2, "n2": 2, "n3": 2}
        await cluster.stop()

    virtual(main)


def test_p0_before_p1_before_p2_when_slots_are_short() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await cluster.submit(shell("p2", priority=0), shell("p1", priority=5), shell("p0", priority=10))
        worker = await cluster.connect(machine_node("n1", slots=2))
        given = await assignments(worker, 2)
        assert [one.task for one in given] == ["p0", "p1"]
        assert cluster.task("p2").state == QUEUED
        await cluster.stop()

    virtual(main)


def test_locks_limits_and_reservations_hold_over_passes() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        node = machine_node("n1", slots=9)
        node.capacity.cpu_millis = 1000
        worker = await cluster.connect(node)
        await cluster.submit(*(shell(f"lock{number}", locks=["db"]) for number in range(3)))
        await cluster.submit(*(shell(f"limit{number}", limit_key="k", limit_count=2) for number in range(4)))
        await cluster.submit(*(shell(f"cpu{number}", requests=Requests(cpu_millis=600)) for number in range(2)))
        given = sorted(one.task for one in await assignments(worker, 4))
        assert given == ["cpu0", "limit0", "limit1", "lock0"]
        reasons = {name: cluster.leadership.wait_reason(name) for name in ("lock1", "limit2", "cpu1")}
        assert reasons == {
            "lock1": "lock db is held by task lock0",
            "limit2": "limit key k is used up (2 of 2)",
            "cpu1": "too little CPU",
        }
        await cluster.stop()

    virtual(main)
