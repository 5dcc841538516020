"""The alarm of a leader whose clock is not followed is raised once, told as an event, and ended."""

from __future__ import annotations

import asyncio

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, NodeAlarm, NodeJoin
from node.core.model import Table
from node.leader.clock import ClockAlarm
from node.leader.port import Settings
from tests.node.leader_kit import FakeReplica, machine_node, virtual


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
