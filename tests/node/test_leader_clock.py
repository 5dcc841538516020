"""Clocks that differ: the leader's own is an alarm, a worker's is warned of or refused."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from cortex.v1 import types_pb2, worker_pb2
from cortex.v1.log_pb2 import Command, NodeAlarm, NodeJoin
from node.core.model import Table
from node.leader.clock import ClockAlarm
from node.leader.port import Settings
from tests.node.fake_replica import FakeReplica
from tests.node.leader_kit import Cluster, WorkerEnd, hello, machine_node, virtual


def alarms(replica: FakeReplica) -> list[str]:
    rows = [row for key, row in replica.all_rows.items() if key.table is Table.EVENTS]
    return [
        row.detail for row in rows if isinstance(row, types_pb2.Event) and row.type == types_pb2.EVENT_TYPE_ALARM
    ]


def test_raised_once_and_ended_and_no_other_alarm_is_touched() -> None:
    async def main() -> None:
        replica = FakeReplica()
        replica.apply_commands(Command(node_join=NodeJoin(node=machine_node("n1"))))
        duty = asyncio.ensure_future(ClockAlarm(replica, Settings(node_id="n1")).run())
        await asyncio.sleep(11)
        assert alarms(replica) == []
        replica.clock_ahead_us = 3_600_000_000
        await asyncio.sleep(21)
        assert len(alarms(replica)) == 1
        assert "3600 s ahead" in replica.state.nodes["n1"].alarm
        replica.clock_ahead_us = 0
        await asyncio.sleep(6)
        assert replica.state.nodes["n1"].alarm == ""
        assert len(alarms(replica)) == 2
        other = NodeAlarm(id="n1", reason="Task t1 cannot be killed.")
        replica.apply_commands(Command(node_alarm=other))
        replica.clock_ahead_us = 3_600_000_000
        await asyncio.sleep(11)
        replica.clock_ahead_us = 0
        await asyncio.sleep(11)
        assert replica.state.nodes["n1"].alarm == "Task t1 cannot be killed."
        duty.cancel()

    virtual(main)


def hello_of(skew_us: int, now_us: int) -> worker_pb2.Hello:
    made = hello(machine_node())
    made.wall_us = now_us + skew_us
    return made


@pytest.mark.parametrize("skew_us", [-30_000_000, 30_000_000, 45_000_000])
def test_a_clock_that_differs_by_thirty_seconds_may_not_join(skew_us: int) -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = WorkerEnd(cluster.leadership)
        await worker.send(hello=hello_of(skew_us, cluster.replica.now_us()))
        refused = (await worker.next("refused")).refused
        assert f"{abs(skew_us) / 1e6:.1f} s" in refused.reason
        await worker.ended()
        assert not cluster.replica.state.nodes
        await cluster.stop()

    virtual(main)


@pytest.mark.parametrize(("skew_us", "warned"), [(999_000, False), (1_100_000, True), (-1_100_000, True)])
def test_a_clock_that_differs_by_a_second_is_warned_of(skew_us: int, warned: bool) -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = WorkerEnd(cluster.leadership)
        with capture_logs() as logs:
            await worker.send(hello=hello_of(skew_us, cluster.replica.now_us()))
            assert await worker.next("welcome")
            # Told once a session, measured on every renewal.
            for number in (1, 2):
                renewal = worker_pb2.Renewal(number=number, wall_us=cluster.replica.now_us() + skew_us)
                await worker.send(renewal=renewal)
                await worker.next("renewal_ack")
        skews = [log for log in logs if log["event"] == "clock skew"]
        assert bool(skews) == warned
        await cluster.stop()

    virtual(main)


def test_a_clock_that_drifts_after_the_join_is_warned_of_at_a_renewal() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = WorkerEnd(cluster.leadership)
        await worker.send(hello=hello_of(0, cluster.replica.now_us()))
        assert await worker.next("welcome")
        with capture_logs() as logs:
            renewal = worker_pb2.Renewal(number=1, wall_us=cluster.replica.now_us() - 31_000_000)
            await worker.send(renewal=renewal)
            assert await worker.next("renewal_ack"), "who is in keeps its leases"
        assert [log["log_level"] for log in logs if log["event"] == "clock skew"] == ["warning"]
        await cluster.stop()

    virtual(main)
