"""A cluster that was recovered and the voters that it was recovered without do not hear each other."""

from __future__ import annotations

import random
from typing import Any

import pytest
import structlog

from cortex.v1 import raft_pb2
from node.consensus.membership import Membership
from node.consensus.raftos.journal import Base, Journal
from node.consensus.raftos.snapshots import Snapshots
from node.consensus.raftos.wire import Codec
from tests.consensus.rigs import CLUSTER, ME, SEGMENT_BYTES, B
from tests.consensus.snapshot_kit import Kept
from tests.sim.engine_state import AppliedState
from tests.sim.loop import run

INDEX, TERM = 50, 1_000_003


def give(voter: Kept, data: dict[str, Any], epoch: int) -> None:
    """A message of B, from that recovery."""
    codec = Codec(CLUSTER, B)
    codec.epoch = epoch
    voter.life.call(voter.engine.receive, codec.encode({"sender": B, **data}, voter.me))


def append(term: int, prev: tuple[int, int]) -> dict[str, Any]:
    return {
        "type": "append_entries",
        "term": term,
        "leader_id": B,
        "prev_log_index": prev[0],
        "prev_log_term": prev[1],
        "entries": [],
        "commit_index": 0,
        "request_id": 1,
        "wall_us": 1,
    }


async def recovered(voters: int = 1) -> Kept:
    """A voter on whose disk a recovery put a snapshot; its configuration still names all the former voters."""
    voter = Kept(voters=voters)
    state = AppliedState([(TERM, 0)] * INDEX)
    membership = Membership.of_voters({ME: ME})
    meta = raft_pb2.SnapshotMeta(index=INDEX, term=TERM, membership=membership.encode(), recovery_epoch=1)
    Snapshots(voter.machine.disk("snapshots"), CLUSTER).write(meta, [state.encode()])
    journal = Journal(voter.machine.disk("raft"), random.Random(1), SEGMENT_BYTES)
    journal.begin_behind(Base(INDEX, TERM))
    await voter.start()
    return voter


def test_it_leads_alone_and_goes_on_behind_the_step() -> None:
    async def main() -> None:
        voter = await recovered(voters=3)
        while voter.role != "leader":
            await voter.settle()
        assert voter.term > TERM
        assert await voter.propose("first") == INDEX + 2

    run(main, limit_s=60)


def test_a_leader_of_before_is_not_heard() -> None:
    async def main() -> None:
        voter = await recovered(voters=3)
        while voter.role != "leader":
            await voter.settle()
        term = voter.term
        give(voter, append(term + 100, (3, 1)), epoch=0)
        await voter.settle()
        assert (voter.role, voter.term) == ("leader", term)
        # A later one would be: the two logs have one origin.
        give(voter, append(term + 100, (3, 1)), epoch=1)
        await voter.settle()
        assert (voter.role, voter.term) == ("follower", term + 100)

    run(main, limit_s=60)


def test_a_voter_of_before_does_not_hear_the_recovered_and_says_so() -> None:
    async def main() -> None:
        voter = Kept(voters=3)
        await voter.start()
        await voter.lead()
        term = voter.term
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                give(voter, append(term + 100, (0, 0)), epoch=1)
            await voter.settle()
        assert (voter.role, voter.term) == ("leader", term)
        assert [entry["event"] for entry in logs] == ["this log is of before a recovery of the cluster"]

    run(main, limit_s=60)


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_who_has_no_log_joins_any(epoch: int) -> None:
    async def main() -> None:
        voter = Kept(voters=3)
        await voter.start()
        give(voter, append(5, (0, 0)), epoch=epoch)
        await voter.settle()
        assert voter.term == 5
        give(voter, append(6, (0, 0)), epoch=epoch + 1)
        await voter.settle()
        assert voter.term == 6, "it has nothing yet that could be of another recovery"

    run(main, limit_s=60)
