"""The leader's duty to the log's quorum, on virtual time: who has caught up votes, and rows say what nodes are."""

from __future__ import annotations

import asyncio

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import EventType
from node.core.faults import Code, Fault
from tests.node.leader_kit import Cluster, machine_node, virtual

LEARNER, VOTER, WORKER = (
    types_pb2.NODE_ROLE_LEARNER,
    types_pb2.NODE_ROLE_VOTER,
    types_pb2.NODE_ROLE_WORKER,
)


def role(cluster: Cluster, node_id: str = "n1") -> types_pb2.NodeRole.ValueType:
    return cluster.replica.state.nodes[node_id].role


def test_a_learner_votes_as_soon_as_it_has_caught_up() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await cluster.connect(machine_node())
        cluster.replica.learners["n1"] = False
        await cluster.until(lambda: role(cluster) == LEARNER)
        await asyncio.sleep(60)
        assert role(cluster) == LEARNER
        cluster.replica.learners["n1"] = True
        begun = asyncio.get_running_loop().time()
        await cluster.until(lambda: role(cluster) == VOTER)
        assert asyncio.get_running_loop().time() - begun < 0.2
        assert cluster.replica.voters["n1"]
        await cluster.stop()

    virtual(main)


def test_the_next_leader_goes_on_with_a_learner_that_it_finds() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await cluster.connect(machine_node())
        cluster.replica.learners["n1"] = False
        await cluster.until(lambda: role(cluster) == LEARNER)
        after = cluster.successor()
        after.replica.learners["n1"] = True
        await after.until(lambda: role(after) == VOTER)
        await after.stop()

    virtual(main)


def test_a_promotion_that_fails_is_tried_again() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await cluster.connect(machine_node())
        cluster.replica.fault = Fault(Code.OVERLOADED, "Another change is on its way.", "Try again.")
        cluster.replica.learners["n1"] = True
        await asyncio.sleep(5)
        assert role(cluster) == WORKER
        cluster.replica.fault = None
        await cluster.until(lambda: role(cluster) == VOTER)
        await cluster.stop()

    virtual(main)


def test_a_row_that_says_something_else_than_the_membership_is_corrected_once() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        # As a restored state has it: its voters are not those of the new cluster.
        node = machine_node()
        node.role = VOTER
        await cluster.connect(node)
        assert role(cluster) == VOTER
        await cluster.until(lambda: role(cluster) == WORKER)
        cluster.replica.voters["n1"] = True
        await cluster.until(lambda: role(cluster) == VOTER)
        await asyncio.sleep(10)
        changes = [kinds for kinds in cluster.replica.kinds() if "config_change" in kinds]
        assert len(changes) == 2
        events = [row.type for row in cluster.replica.all_rows.values() if isinstance(row, types_pb2.Event)]
        assert events.count(EventType.EVENT_TYPE_VOTER_REMOVED) == 1
        assert events.count(EventType.EVENT_TYPE_VOTER_ADDED) == 1
        await cluster.stop()

    virtual(main)
