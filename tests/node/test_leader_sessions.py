"""From Hello to acknowledged reports."""

from __future__ import annotations

from cortex.v1 import types_pb2, worker_pb2
from node.core.model import ASSIGNED, COMPLETED, QUEUED, RUNNING
from tests.node.leader_kit import Cluster, WorkerEnd, ended, hello, machine_node, shell, started, virtual


def test_a_task_is_pushed_run_reported_and_acknowledged() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        assert cluster.replica.state.nodes["n1"].online
        await cluster.submit(shell("t1"))
        (assignment,) = (await worker.next("assignments")).assignments.assignments
        task = cluster.task("t1")
        assert (assignment.task, assignment.fence) == ("t1", task.fence)
        assert assignment.spec == task.spec
        assert assignment.lease_ms == 30_000
        assert task.state == ASSIGNED
        await worker.report(1, started(assignment))
        assert (await worker.next("reports_ack")).reports_ack == worker_pb2.ReportsAck(number=1)
        assert cluster.task("t1").state == RUNNING
        await worker.report(2, ended(assignment))
        assert (await worker.next("reports_ack")).reports_ack == worker_pb2.ReportsAck(number=2)
        assert cluster.task("t1").state == COMPLETED
        await cluster.stop()

    virtual(main)


def test_a_failure_is_queued_again_by_its_own_entry() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"))
        (assignment,) = (await worker.next("assignments")).assignments.assignments
        await worker.report(1, started(assignment), ended(assignment, exit_code=7))
        await worker.next("reports_ack")
        task = cluster.task("t1")
        assert (task.state, task.attempt) == (QUEUED, 1)
        assert task.fingerprint
        assert cluster.replica.kinds()[-1] == ["task_started", "task_failed"]
        (again,) = (await worker.next("assignments")).assignments.assignments
        assert (again.attempt, again.task) == (1, "t1")
        assert again.fence > assignment.fence
        await cluster.stop()

    virtual(main)


def test_who_does_not_lead_names_the_leader() -> None:
    async def main() -> None:
        cluster = Cluster(addresses={"other": "127.0.0.1:7009"}).begin()
        cluster.depose()
        worker = WorkerEnd(cluster.leadership)
        await worker.send(hello=hello(machine_node()))
        answer = (await worker.next("not_leader")).not_leader
        assert (answer.leader, answer.address) == ("other", "127.0.0.1:7009")
        await worker.ended()

    virtual(main)


def test_a_deposed_leader_sends_its_workers_away() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        cluster.depose()
        assert (await worker.next("not_leader")).not_leader.leader == "other"
        await worker.ended()

    virtual(main)


def test_skew_and_foreign_clusters_are_refused_with_a_remedy() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        late = hello(machine_node())
        late.wall_us -= 31_000_000
        foreign = hello(machine_node())
        foreign.cluster_id = "c2"
        nameless = hello(types_pb2.Node(id="a\x1bb"))
        for bad, word in ((late, "31.0 s"), (foreign, "c2"), (nameless, "unprintable")):
            worker = WorkerEnd(cluster.leadership)
            await worker.send(hello=bad)
            refused = (await worker.next("refused")).refused
            assert word in refused.reason
            assert refused.remedy
            await worker.ended()
        assert not cluster.replica.state.nodes
        await cluster.stop()

    virtual(main)
