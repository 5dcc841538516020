"""Whatever a voter is sent, it neither falls over nor forgets what it promised."""

from __future__ import annotations

import asyncio
import random

import pytest
from google.protobuf.message import Message

from cortex.v1 import raft_pb2
from node.consensus.membership import Member, Membership
from tests.consensus.rigs import ALL, CLUSTER, ME, Ours
from tests.sim.loop import run

MESSAGES = 3_000
KINDS = [field.name for field in raft_pb2.RaftMessage.DESCRIPTOR.oneofs_by_name["kind"].fields]


def number(rng: random.Random) -> int:
    return rng.choice([0, 1, 1, 2, 2, 3, rng.randint(0, 12), rng.getrandbits(31), 2**63])


def fill(body: Message, rng: random.Random) -> None:
    """Arbitrary values for every field that is not a list."""
    for field in body.DESCRIPTOR.fields:
        if field.is_repeated:
            continue
        if field.type == field.TYPE_MESSAGE:
            fill(getattr(body, field.name), rng)
        elif field.type == field.TYPE_BOOL:
            setattr(body, field.name, rng.random() < 0.5)
        elif field.type == field.TYPE_BYTES:
            setattr(body, field.name, rng.randbytes(rng.randint(0, 20)))
        elif field.type == field.TYPE_STRING:
            setattr(body, field.name, rng.choice(["", "overloaded", "nonsense"]))
        else:
            setattr(body, field.name, number(rng) % (1 << 31 if field.type == field.TYPE_UINT32 else 1 << 63))


def some_membership(rng: random.Random) -> bytes:
    """Of any members, this one among them or not; sometimes of none, or no membership at all."""
    chosen = rng.sample(ALL, rng.randint(0, len(ALL)))
    members = [Member(member, member, voter=rng.random() < 0.8) for member in chosen]
    return rng.choice([rng.randbytes(9), *[Membership.of(members).encode()] * 9])


def some_message(rng: random.Random, voter: Ours) -> raft_pb2.RaftMessage:
    """Well-formed bytes, arbitrary contents; mostly near what the voter is at."""
    message = raft_pb2.RaftMessage(cluster_id=CLUSTER, to=ME)
    setattr(message, "from", rng.choice([*voter.peers, *voter.peers, "stranger"]))
    message.from_address = rng.choice(["", "somewhere:1"])
    message.term = max(0, voter.term + rng.choice([-1, 0, 0, 0, 0, 1])) if rng.random() < 0.97 else number(rng)
    kind = rng.choice([*KINDS, "append_entries", "append_entries", "append_entries_response"])
    body = getattr(message, kind)
    body.SetInParent()
    fill(body, rng)
    if kind == "append_entries":
        body.prev_log_index = max(0, len(voter.log) - rng.choice([0, 0, 0, 1, 2, 5]))
        # A valid voter of this term never contradicts what is committed; that is another voter's bug, not input.
        body.prev_log_term = voter.log[body.prev_log_index - 1][0] if body.prev_log_index else 0
        body.prev_log_index = max(body.prev_log_index, voter.engine._log.commit_index)
        body.commit_index = min(body.commit_index, body.prev_log_index)
        for _ in range(rng.choice([0, 0, 1, 3])):
            entry = body.entries.add(term=max(0, message.term - rng.choice([0, 0, 0, 1])), data=rng.randbytes(9))
            if rng.random() < 0.1:
                entry.membership = some_membership(rng)
    elif kind == "forward":
        body.proposals.extend([rng.randbytes(9)] * rng.choice([0, 1, 3]))
    return message


@pytest.mark.parametrize("seed", range(6))
def test_random_messages(seed: int) -> None:
    async def main() -> None:
        rng = random.Random(seed)
        voter = Ours()
        await voter.start()
        term = commit = 0
        for step in range(MESSAGES):
            voter.life.call(voter.engine.receive, some_message(rng, voter))
            if rng.random() < 0.1:
                await asyncio.sleep(rng.choice([0, 0.001, 0.3]))
            assert voter.host.errors == []
            assert voter.term >= term
            assert voter.commit >= commit
            term, commit = voter.term, voter.commit
            if step % 500 == 499:
                await voter.settle()
                await voter.lose_power()
                assert voter.term >= term
                commit = 0
            voter.sent.clear()

    run(main)


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes(seed: int) -> None:
    async def main() -> None:
        rng = random.Random(seed)
        voter = Ours()
        await voter.start()
        for _ in range(2000):
            raw = bytearray(some_message(rng, voter).SerializeToString())
            for _ in range(rng.randint(1, 4)):
                raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
            message = raft_pb2.RaftMessage()
            try:
                message.ParseFromString(bytes(raw))
            except Exception:
                continue
            if message.WhichOneof("kind") != "append_entries":
                voter.life.call(voter.engine.receive, message)
        await voter.settle()
        assert voter.host.errors == []

    run(main)
