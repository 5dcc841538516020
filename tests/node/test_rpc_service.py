"""The door of all calls: what a lagging daemon does not know the leader is asked before it is denied."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import Message

from cortex.v1 import cluster_pb2 as pb
from node.core.faults import Code, Fault
from node.link import Caller
from node.rpc.service import ClusterService

ANN = Caller("ann")
CORDON = pb.CordonNodeRequest(mutation=pb.Mutation(client="c", request_id="r"), node="new")


class Leader:
    """Answers what it is asked, or refuses it."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.asked: list[tuple[str, Message, int]] = []
        self._fault = fault

    async def call(self, address: str, method: str, request: Message, timeout_s: float, caller: Caller) -> Message:
        self.asked.append((method, request, caller.hops))
        if self._fault is not None:
            raise self._fault
        return pb.MutationReply(operation_id="r", index=7, ids=["new"])


def service(leader: Leader, *, serving: bool = False, known: str | None = "n2") -> ClusterService:
    state = SimpleNamespace(nodes={})
    replica = SimpleNamespace(serving=serving, leader=known, state=state, store=None)
    parts: Any = SimpleNamespace(
        replica=replica, node_id="n1", address_of=lambda _: "there:1", link=leader, env=None, leadership=None
    )
    return ClusterService(parts)


async def test_the_leader_knows_what_was_made_a_moment_ago() -> None:
    leader = Leader()
    reply = await service(leader).call("CordonNode", CORDON, ANN)
    assert reply == pb.MutationReply(operation_id="r", index=7, ids=["new"])
    assert leader.asked == [("CordonNode", CORDON, 1)]


async def test_what_the_leader_does_not_know_either_does_not_exist() -> None:
    fault = Fault(Code.NOT_FOUND, "There is no node 'new'.", "List them.")
    with pytest.raises(Fault) as refused:
        await service(Leader(fault)).call("CordonNode", CORDON, ANN)
    assert refused.value is fault


@pytest.mark.parametrize("leads", [True, False])
async def test_a_leader_and_whoever_was_asked_for_another_say_so_themselves(leads: bool) -> None:
    leader = Leader()
    with pytest.raises(Fault) as refused:
        await service(leader, serving=leads).call("CordonNode", CORDON, ANN if leads else ANN.forwarded())
    assert refused.value.code == Code.NOT_FOUND
    assert not leader.asked


async def test_without_a_leader_nobody_can_tell() -> None:
    with pytest.raises(Fault) as refused:
        await service(Leader(), known=None).call("CordonNode", CORDON, ANN)
    assert refused.value.code == Code.NO_LEADER
