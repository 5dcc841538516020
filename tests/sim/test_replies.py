"""Every reply carries its index, and what is read how old it may be: each method there is, on a voter cut off."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.descriptor import MethodDescriptor

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from node.core.faults import Code
from tests.sim.members_kit import Story, played

METHODS: list[MethodDescriptor] = list(pb.DESCRIPTOR.services_by_name["Cluster"].methods)
READS = [method for method in METHODS if "freshness" in method.input_type.fields_by_name]
CHANGES = [method for method in METHODS if "mutation" in method.input_type.fields_by_name]
OF_THE_LEADER = {"Why"}
"""What only a leader knows; a voter without one refuses it."""
CUT_S = 3.0


def test_changes_say_at_which_index() -> None:
    assert len(CHANGES) > 20
    assert [method.name for method in CHANGES if "index" not in method.output_type.fields_by_name] == []


async def named(it: Story) -> dict[str, str]:
    """An id for each method that asks for one."""
    task = pb.TaskRequest(spec=types_pb2.TaskSpec(argv=[b"sim", b"2", b"0"], kill_timeout_ms=100))
    workflow = pb.SubmitWorkflowRequest(mutation=it.operator.mutation(), name="sim")
    workflow.tasks.add(key="a", task=task)
    submitted = await it.operator.change("SubmitWorkflow", workflow)
    assert isinstance(submitted, pb.SubmitWorkflowReply)
    everywhere = pb.RunOnNodesRequest(mutation=it.operator.mutation(), task=task, all=True)
    begun = await it.operator.change("RunOnNodes", everywhere)
    assert isinstance(begun, pb.RunOnNodesReply)
    return {
        "GetTask": it.acknowledged[0],
        "Why": it.acknowledged[0],
        "GetWorkflow": submitted.id,
        "GetOperation": begun.operation_id,
    }


@pytest.mark.sim
def test_reads_say_as_of_which_index_and_how_old_that_is() -> None:
    async def story(it: Story) -> None:
        await it.begin()
        ids = await named(it)
        leader = it.world.leader()
        follower, other = (host for host in it.world.hosts if host is not leader)
        assert leader is not None
        assert follower.daemon is not None
        assert follower.daemon.voter is not None
        await it.until(lambda: follower.applied == other.applied == leader.applied)
        it.world.network.isolate(follower.address, [leader.address, other.address])
        # What was under way arrives.
        await asyncio.sleep(0.1)
        applied, begun = follower.applied, it.world.loop.time()
        await asyncio.sleep(CUT_S)
        for method in READS:
            request = getattr(pb, method.input_type.name)()
            if "id" in method.input_type.fields_by_name:
                request.id = ids[method.name]
            reply = await it.ask(follower.id, method.name, request)
            if method.name in OF_THE_LEADER:
                assert reply == Code.NO_LEADER, method.name
                continue
            assert not isinstance(reply, Code | str), (method.name, reply)
            most_us = (it.world.loop.time() - begun + 1) * 1e6
            assert reply.index == applied, method.name
            assert CUT_S * 1e6 <= reply.age_us <= most_us, (method.name, reply.age_us)
            request.freshness.min_index = applied + 1
            assert await it.ask(follower.id, method.name, request) == Code.DEADLINE, method.name
        assert it.world.leader() is not follower
        it.world.network.heal()
        await it.end(members=3)

    played(story, voters=3, standbys=0)
