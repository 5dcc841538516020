"""A voter that can take no snapshot says so to all, and takes it back."""

from __future__ import annotations

import asyncio

import pytest

from cortex.v1.log_pb2 import Command, NodeAlarm, NodeJoin
from node.consensus.port import Trouble, TroubleKind
from node.core.checks import REASON_LIMIT_CHARS
from node.core.faults import no_leader
from node.log_alarm import LogAlarm, alarm_of
from tests.node.fake_replica import FakeReplica
from tests.node.leader_kit import machine_node, virtual


def test_raised_once_ended_and_no_other_alarm_is_touched() -> None:
    async def main() -> None:
        replica = FakeReplica()
        trouble: list[Trouble | None] = [None]
        duty = asyncio.ensure_future(LogAlarm("n1", replica, lambda: trouble[0]).run())
        await asyncio.sleep(6)
        replica.apply_commands(Command(node_join=NodeJoin(node=machine_node("n1"))))
        await asyncio.sleep(11)
        begun = len(replica.entries)
        trouble[0] = Trouble(TroubleKind.LOG_GROWS, "[Errno 28] No space left on device")
        replica.fault = no_leader()
        await asyncio.sleep(6)
        assert replica.state.nodes["n1"].alarm == ""
        replica.fault = None
        await asyncio.sleep(21)
        alarm = replica.state.nodes["n1"].alarm
        assert alarm == (
            "Its log grows: no snapshot can be taken ([Errno 28] No space left on device). "
            "Make room on the disk of its data folder (or in etcd), or replace the disk."
        )
        assert len(replica.entries) == begun + 1
        trouble[0] = Trouble(TroubleKind.DISK_FULL)
        await asyncio.sleep(11)
        assert replica.state.nodes["n1"].alarm.startswith("Its disk is full: ")
        assert len(replica.entries) == begun + 2
        trouble[0] = None
        await asyncio.sleep(6)
        assert replica.state.nodes["n1"].alarm == ""
        replica.apply_commands(Command(node_alarm=NodeAlarm(id="n1", reason="Its clock is ahead.")))
        for trouble[0] in (Trouble(TroubleKind.LOG_GROWS, "full"), None):
            await asyncio.sleep(11)
            assert replica.state.nodes["n1"].alarm == "Its clock is ahead."
        duty.cancel()

    virtual(main)


@pytest.mark.parametrize("kind", TroubleKind)
def test_it_is_never_too_long(kind: TroubleKind) -> None:
    assert len(alarm_of(Trouble(kind, "x\n" * 1000))) == REASON_LIMIT_CHARS
    assert len(alarm_of(Trouble(kind))) < REASON_LIMIT_CHARS
