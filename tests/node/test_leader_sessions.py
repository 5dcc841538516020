"""Sessions of workers: from Hello to the last of several that one node opens."""

from __future__ import annotations

import asyncio

from cortex.v1 import types_pb2, worker_pb2
from cortex.v1.log_pb2 import Command, NodeLeave
from node.core.model import ASSIGNED, COMPLETED, QUEUED, RUNNING
from tests.node.leader_kit import (
    Cluster,
    WorkerEnd,
    ended,
    held,
    hello,
    machine_node,
    shell,
    started,
    virtual,
)


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
        cluster = Cluster().begin()
        cluster.replica.voters["other"] = True
        cluster.depose()
        worker = WorkerEnd(cluster.leadership)
        await worker.send(hello=hello(machine_node()))
        answer = (await worker.next("not_leader")).not_leader
        assert (answer.leader, answer.address) == ("other", "other:7001")
        await worker.ended()

    virtual(main)


def test_a_worker_is_told_where_the_next_leader_may_be() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        cluster.replica.voters["other"] = False
        cluster.replica.learners["new"] = False
        worker = await cluster.connect(machine_node())
        assert list(worker.welcome.voters) == ["leader:7001", "other:7001"]
        await cluster.stop()

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


def test_reconnect_keeps_kills_records_and_resends() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node(slots=8))
        await cluster.submit(*(shell(f"t{number}") for number in range(4)))
        given = {one.task: one for one in (await worker.next("assignments")).assignments.assignments}
        await worker.report(1, ended(given["t1"]), ended(given["t2"]))
        await worker.next("reports_ack")
        await worker.break_off()
        # t0 runs on, t1 still runs there, t2 ended there, t3 was never accepted; and one of long ago.
        old = worker_pb2.Assignment(task="t0", fence=1)
        inventory = [
            held(given["t0"], worker_pb2.ATTEMPT_STATE_RUNNING),
            held(given["t1"], worker_pb2.ATTEMPT_STATE_RUNNING),
            held(given["t2"], worker_pb2.ATTEMPT_STATE_ENDED),
            held(old, worker_pb2.ATTEMPT_STATE_RUNNING),
        ]
        entries = len(cluster.replica.entries)
        worker = await cluster.connect(machine_node(slots=8), inventory)
        verdicts = [(one.task, one.kind) for one in worker.welcome.verdicts]
        assert verdicts == [
            ("t0", worker_pb2.VERDICT_KIND_KEEP),
            ("t1", worker_pb2.VERDICT_KIND_KILL),
            ("t2", worker_pb2.VERDICT_KIND_RECORDED),
            ("t0", worker_pb2.VERDICT_KIND_KILL),
        ]
        (again,) = (await worker.next("assignments")).assignments.assignments
        assert (again.task, again.fence) == ("t3", given["t3"].fence)
        assert len(cluster.replica.entries) == entries, "the row says all this already"
        await cluster.stop()

    virtual(main)


def test_what_a_machine_lost_is_queued_again_at_once() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"))
        (assignment,) = (await worker.next("assignments")).assignments.assignments
        await worker.break_off()
        worker = await cluster.connect(machine_node(), [held(assignment, worker_pb2.ATTEMPT_STATE_LOST)])
        assert worker.welcome.verdicts[0].kind == worker_pb2.VERDICT_KIND_RECORDED
        (again,) = (await worker.next("assignments")).assignments.assignments
        assert again.fence > assignment.fence
        assert cluster.task("t1").losses == 1
        await cluster.stop()

    virtual(main)


def test_a_new_incarnation_gets_nothing_again_and_its_leases_run_out() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"))
        (assignment,) = (await worker.next("assignments")).assignments.assignments
        await worker.break_off()
        worker = await cluster.connect(machine_node(incarnation="i2"))
        begun_s = asyncio.get_running_loop().time()
        beating = asyncio.ensure_future(worker.keep_renewing([]))
        (again,) = (await worker.next("assignments")).assignments.assignments
        assert again.fence > assignment.fence
        assert 34.9 < asyncio.get_running_loop().time() - begun_s < 36
        assert cluster.task("t1").losses == 1
        beating.cancel()
        await cluster.stop()

    virtual(main)


def test_a_later_leader_does_not_resend_to_a_new_incarnation_either() -> None:
    async def main() -> None:
        first = Cluster().begin()
        worker = await first.connect(machine_node())
        await first.submit(shell("t1"))
        await worker.next("assignments")
        await worker.break_off()
        worker = await first.connect(machine_node(incarnation="i2"))
        second = first.successor()
        worker = await second.connect(machine_node(incarnation="i2"))
        assert not await worker.quiet(10, "renewal_ack")
        await second.stop()

    virtual(main)


def test_the_newer_session_replaces_the_older() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        first = await cluster.connect(machine_node())
        second = await cluster.connect(machine_node())
        await first.ended()
        await cluster.submit(shell("t1"))
        await second.next("assignments")
        await cluster.stop()

    virtual(main)


def test_of_two_hellos_at_once_the_later_counts() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        cluster.replica.gate.clear()
        first, second = WorkerEnd(cluster.leadership), WorkerEnd(cluster.leadership)
        await first.send(hello=hello(machine_node()))
        await asyncio.sleep(1)
        await second.send(hello=hello(machine_node()))
        await asyncio.sleep(1)
        cluster.replica.gate.set()
        await second.next("welcome")
        await first.ended()
        await cluster.submit(shell("t1"))
        await second.next("assignments")
        await cluster.stop()

    virtual(main)


def test_a_removed_machine_is_sent_away_without_entries() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        leave = NodeLeave(id="n1", reason="offline first")
        remove = NodeLeave(id="n1", removed=True, reason="sold")
        await cluster.replica.execute([Command(node_leave=leave), Command(node_leave=remove)])
        entries = len(cluster.replica.entries)
        await worker.ended()
        again = WorkerEnd(cluster.leadership)
        await again.send(hello=hello(machine_node()))
        assert "removed" in (await again.next("refused")).refused.reason
        assert len(cluster.replica.entries) == entries
        # With a new data folder it is another machine.
        await cluster.connect(machine_node(incarnation="i2"))
        await cluster.stop()

    virtual(main)
