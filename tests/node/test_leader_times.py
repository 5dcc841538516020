"""Times that the cluster has set: who is given what, and what a change leaves in force; recovery epochs."""

from __future__ import annotations

import asyncio

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from cortex.v1.log_pb2 import Command, Entry, SettingsChange
from cortex.v1.types_pb2 import Setting, TaskState
from tests.node.leader_kit import Cluster, WorkerEnd, held, machine_node, sample, shell, started, virtual

RUNNING = TaskState.TASK_STATE_RUNNING


async def put(cluster: Cluster, **values: int) -> None:
    for name, value in values.items():
        change = Command(settings_change=SettingsChange(name=name, value=str(value)))
        reply = await cluster.replica.execute([change])
        assert reply.commands[0].accepted, reply


async def running(cluster: Cluster, **spec: object) -> tuple[WorkerEnd, w.Assignment]:
    worker = await cluster.connect(machine_node())
    await worker.send(sample=sample())
    await cluster.submit(shell("t1", **spec))
    assignment = (await worker.next("assignments")).assignments.assignments[0]
    await worker.report(1, started(assignment))
    await worker.next("reports_ack")
    return worker, assignment


async def lost_after(cluster: Cluster) -> float:
    """Seconds until the task is queued again."""
    begun = asyncio.get_running_loop().time()
    await cluster.until(lambda: cluster.task("t1").losses == 1)
    return asyncio.get_running_loop().time() - begun


def test_the_clusters_settings_go_before_the_daemons() -> None:
    async def main() -> None:
        cluster = Cluster(lease_ms=20_000).begin()
        await put(cluster, renew_ms=1_000, lease_ms=9_000, heartbeat_ms=2_000, lease_margin_ms=1_000)
        worker, assignment = await running(cluster, kill_timeout_ms=1_000)
        assert assignment.lease_ms == 9_000
        assert (worker.welcome.lease_ms, worker.welcome.renew_ms, worker.welcome.heartbeat_ms) == (
            9_000,
            1_000,
            2_000,
        )
        await put(cluster, renew_ms=2_000, lease_ms=8_000)
        await worker.renew(1, [assignment.fence])
        ack = (await worker.next("renewal_ack")).renewal_ack
        while ack.number != 1:
            ack = (await worker.next("renewal_ack")).renewal_ack
        assert (ack.lease_ms, ack.renew_ms, ack.heartbeat_ms) == (8_000, 2_000, 2_000)
        await cluster.stop()

    virtual(main)


def test_a_long_kill_timeout_lengthens_the_lease_on_both_sides() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await put(cluster, renew_ms=1_000, lease_ms=6_000)
        _, assignment = await running(cluster, kill_timeout_ms=5_000)
        assert assignment.lease_ms == 15_000
        await cluster.stop()

    virtual(main)


def test_hold_has_a_time_to_start_instead_of_a_lease() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        _, assignment = await running(cluster, on_lost=t.ON_LOST_HOLD)
        assert (assignment.lease_ms, assignment.start_before_ms) == (0, 30_000)
        await cluster.stop()

    virtual(main)


def test_a_lowered_lease_leaves_what_was_renewed_before_in_force() -> None:
    """The acknowledgement with the shorter one may never have come."""

    async def main() -> None:
        cluster = Cluster().begin()
        await put(cluster, lease_ms=60_000)
        worker, assignment = await running(cluster, kill_timeout_ms=1_000)
        await worker.renew(1, [assignment.fence])
        await worker.next("renewal_ack")
        await put(cluster, renew_ms=1_000, lease_ms=6_000)
        await asyncio.sleep(2)
        await worker.renew(2, [assignment.fence])
        await worker.next("renewal_ack")
        assert 55 < await lost_after(cluster) < 66
        await cluster.stop()

    virtual(main)


def test_once_the_long_one_has_ended_the_lowered_one_counts() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await put(cluster, lease_ms=60_000)
        worker, assignment = await running(cluster, kill_timeout_ms=1_000)
        await put(cluster, renew_ms=1_000, lease_ms=6_000)
        for number in range(1, 60):
            await worker.renew(number, [assignment.fence])
            await asyncio.sleep(2)
        assert cluster.task("t1").state == RUNNING
        assert await lost_after(cluster) < 12
        await cluster.stop()

    virtual(main)


def test_what_comes_after_a_lease_was_lowered_has_the_lowered_one() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await put(cluster, lease_ms=60_000)
        worker = await cluster.connect(machine_node())
        await worker.send(sample=sample())
        await worker.renew(1, [])
        await worker.next("renewal_ack")
        await put(cluster, renew_ms=1_000, lease_ms=6_000)
        await worker.renew(2, [])
        await cluster.submit(shell("t1", kill_timeout_ms=1_000))
        assignment = (await worker.next("assignments")).assignments.assignments[0]
        await worker.report(1, started(assignment))
        await worker.next("reports_ack")
        await worker.renew(3, [assignment.fence], version=2)
        assert 6 < await lost_after(cluster) < 12
        await cluster.stop()

    virtual(main)


def test_a_new_leader_waits_for_the_longest_that_another_may_have_given() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await put(cluster, lease_ms=60_000)
        await running(cluster, kill_timeout_ms=1_000)
        await put(cluster, renew_ms=1_000, lease_ms=6_000)
        successor = cluster.successor()
        assert 60 < await lost_after(successor) < 66
        await successor.stop()

    virtual(main)


def test_a_machine_that_knows_a_later_recovery_is_refused() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = WorkerEnd(cluster.leadership)
        message = w.Hello(node=machine_node(), recovery_epoch=1, cluster_id="c1")
        message.wall_us = cluster.replica.now_us()
        await worker.send(hello=message)
        refused = (await worker.next("refused")).refused
        assert "recovery 1" in refused.reason
        assert refused.remedy
        await cluster.stop()

    virtual(main)


def test_what_a_machine_lacks_after_a_recovery_may_have_ended_there() -> None:
    """Its own reports of that went with the old log: nothing of the restored state is sent to it again."""

    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await worker.send(sample=sample())
        await cluster.submit(shell("t1"), shell("t2"))
        first = (await worker.next("assignments")).assignments.assignments
        assert len(first) == 2
        cluster.replica.state.settings["recovery_epoch"] = Setting(name="recovery_epoch", value="1")
        await worker.break_off()
        again = await cluster.connect(machine_node(), [held(first[0], w.ATTEMPT_STATE_ACCEPTED)])
        assert again.welcome.recovery_epoch == 1
        assert [verdict.kind for verdict in again.welcome.verdicts] == [w.VERDICT_KIND_KEEP]
        sent = [message for message in await again.quiet(20, "renewal_ack") if message.HasField("assignments")]
        assert sent == []
        lacking = first[1].task
        await cluster.until(lambda: cluster.task(lacking).losses == 1)
        await cluster.stop()

    virtual(main)


def test_leases_do_not_count_on_leader_time() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker, assignment = await running(cluster)
        await worker.renew(1, [assignment.fence])
        await worker.next("renewal_ack")
        entry = Entry(level=1, at_us=cluster.replica.now_us() + 3600 * 1_000_000)
        cluster.replica.apply(entry)
        await asyncio.sleep(25)
        assert cluster.task("t1").losses == 0, "an hour by leader time is 25 s for a lease"
        assert await lost_after(cluster) < 11
        await cluster.stop()

    virtual(main)
