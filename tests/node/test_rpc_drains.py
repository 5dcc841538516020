"""RehearseDrain, DrainNode and RemoveNode: every refusal with its remedy, one operation per request id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, NodeCordon, NodeLeave, OperationStop
from cortex.v1.types_pb2 import NodeState, Operation, OperationState
from node.core.faults import Code, Fault
from node.core.model import RUNNING
from node.link import Caller
from node.rpc.calls import Parts
from node.rpc.drains import DrainCalls
from tests.node.leader_kit import Cluster, FakeReplica, machine_node, shell, started, virtual

ANN = Caller("ann")
VOTERS = {"v1": True, "v2": True, "v3": True}


class Replica(FakeReplica):
    def operation(self, operation_id: str) -> Operation | None:
        return self.state.operations.get(operation_id)


class Desk:
    """The calls of a leader with two workers, a voter among its nodes, and one running task on n1."""

    def __init__(self) -> None:
        self.replica = Replica()
        self.replica.voters = dict(VOTERS)
        self.cluster = Cluster(self.replica).begin()
        parts = Parts(
            env=self.cluster.env,
            node_id="v1",
            cluster_id="c1",
            replica=cast(Any, self.replica),
            leadership=self.cluster.leadership,
            link=cast(Any, None),
            address_of=lambda _: None,
        )
        self.calls = DrainCalls(parts)
        self.requests = 0

    async def open(self) -> Desk:
        worker = await self.cluster.connect(machine_node("n1"))
        await self.cluster.submit(shell("t1"))
        (given,) = (await worker.next("assignments")).assignments.assignments
        await worker.report(1, started(given))
        await self.cluster.until(lambda: self.cluster.task("t1").state == RUNNING)
        for name in ("n2", "v2"):
            await self.cluster.connect(machine_node(name))
        return self

    def request(self, node: str = "n1", **fields: Any) -> pb.DrainRequest:
        self.requests += 1
        request_id = fields.pop("request_id", f"r{self.requests}")
        return pb.DrainRequest(mutation=pb.Mutation(client="c", request_id=request_id), node=node, **fields)

    async def rehearse(self, **fields: Any) -> types_pb2.DrainPlan:
        return (await self.calls.rehearse_drain(self.request(**fields), ANN)).plan

    async def drain(self, **fields: Any) -> pb.DrainNodeReply:
        return await self.calls.drain_node(self.request(**fields), ANN)

    async def refused(self, doing: Awaitable[Any], code: Code, words: str) -> None:
        with pytest.raises(Fault) as refusal:
            await doing
        assert refusal.value.code == code
        assert words in refusal.value.message
        assert refusal.value.remedy

    async def do(self, **command: Any) -> None:
        reply = await self.replica.execute([Command(**command)])
        assert reply.commands[0].accepted, reply

    def state_of(self, node: str) -> int:
        return self.replica.state.nodes[node].state


def on_desk(test: Callable[[Desk], Awaitable[None]]) -> None:
    async def main() -> None:
        desk = await Desk().open()
        await test(desk)
        await desk.cluster.stop()

    virtual(main)


def test_a_rehearsal_changes_nothing_and_its_plan_is_carried_out() -> None:
    async def test(desk: Desk) -> None:
        before = desk.replica.state.index
        plan = await desk.rehearse(deadline_ms=20_000, message="disk", max_parallel=2)
        assert [move.task for move in plan.moves] == ["t1"]
        assert desk.replica.state.index == before
        reply = await desk.drain(plan_id=plan.id, request_id="op")
        operation = desk.replica.state.operations["op"]
        assert (reply.operation_id, reply.index, reply.plan.id) == ("op", before + 1, plan.id)
        assert operation.drain.id == plan.id
        assert (operation.drain.max_parallel, operation.reason) == (2, "disk")
        # A quarter of the deadline is less than ten seconds.
        assert operation.not_before_us - operation.created_at_us == 5_000_000
        assert operation.deadline_us - operation.created_at_us == 20_000_000
        assert desk.state_of("n1") == NodeState.NODE_STATE_CORDONED

    on_desk(test)


def test_the_undo_window_and_the_deadline_as_asked_for() -> None:
    async def test(desk: Desk) -> None:
        for node, fields, window_us in (
            ("n1", {}, 10_000_000),
            ("n2", {"no_deadline": True}, 10_000_000),
            ("v2", {"undo_window_ms": 0}, 0),
        ):
            await desk.drain(node=node, request_id=node, **fields)
            operation = desk.replica.state.operations[node]
            assert operation.not_before_us - operation.created_at_us == window_us
        assert not desk.replica.state.operations["n2"].deadline_us

    on_desk(test)


def test_a_repeated_request_is_one_drain() -> None:
    async def test(desk: Desk) -> None:
        first = await desk.drain(request_id="op")
        again = await desk.drain(request_id="op")
        assert (again.operation_id, again.index) == (first.operation_id, first.index)
        assert [move.task for move in again.plan.moves] == ["t1"]
        assert len(desk.replica.state.operations) == 1

    on_desk(test)


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"node": "n9"}, Code.NOT_FOUND, "There is no node 'n9'."),
        ({"deadline_ms": 0}, Code.INVALID, "deadline_ms is 0."),
        ({"deadline_ms": 5000, "no_deadline": True}, Code.INVALID, "Both"),
        ({"max_parallel": 1_000_000}, Code.INVALID, "max_parallel is 1000000."),
        ({"message": "x" * 201}, Code.INVALID, ""),
        ({"undo_window_ms": -1}, Code.INVALID, "undo_window_ms is -1."),
        ({"plan_id": "old"}, Code.NOT_FOUND, "Plan 'old' is not known"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], code: Code, words: str) -> None:
    async def test(desk: Desk) -> None:
        await desk.refused(desk.drain(**fields), code, words)
        assert desk.state_of("n1") == NodeState.NODE_STATE_ACTIVE

    on_desk(test)


def test_a_plan_is_for_its_node_and_holds_or_is_refused() -> None:
    async def test(desk: Desk) -> None:
        plan = await desk.rehearse()
        await desk.refused(desk.drain(node="n2", plan_id=plan.id), Code.INVALID, "is for node n1, not for n2")
        for name in ("n2", "v2"):
            await desk.do(node_cordon=NodeCordon(id=name, cordoned=True))
        await desk.refused(
            desk.drain(plan_id=plan.id), Code.WRONG_STATE, "The plan does not hold any more. Task t1"
        )
        assert desk.state_of("n1") == NodeState.NODE_STATE_ACTIVE
        assert [item.task for item in (await desk.drain()).plan.stuck] == ["t1"]

    on_desk(test)


def test_without_a_quorum_only_force_drains_a_voter() -> None:
    async def test(desk: Desk) -> None:
        desk.replica.voters["v3"] = False
        plan = await desk.rehearse(node="v2")
        assert not plan.quorum.ok
        await desk.refused(desk.drain(node="v2"), Code.WRONG_STATE, "1 of 3 voters would be up, and 2 are needed")
        await desk.refused(desk.drain(node="v2", plan_id=plan.id), Code.WRONG_STATE, "2 are needed")
        assert (await desk.drain(node="n1")).plan.quorum.ok
        assert (await desk.drain(node="v2", force=True)).operation_id

    on_desk(test)


def test_a_node_that_is_drained_or_gone_says_so() -> None:
    async def test(desk: Desk) -> None:
        await desk.drain(node="n2", undo_window_ms=0, request_id="op")
        await desk.refused(desk.drain(node="n2"), Code.WRONG_STATE, "is being drained already, by operation op")
        done = OperationState.OPERATION_STATE_DONE
        await desk.cluster.until(lambda: desk.replica.state.operations["op"].state == done)
        await desk.refused(desk.rehearse(node="n2"), Code.WRONG_STATE, "Node n2 is drained already.")
        await desk.do(node_leave=NodeLeave(id="n2", removed=True))
        await desk.refused(desk.drain(node="n2"), Code.WRONG_STATE, "Node n2 is removed.")

    on_desk(test)


def test_remove_is_refused_for_a_voter_and_while_there_is_work() -> None:
    async def test(desk: Desk) -> None:
        def remove(node: str, request: str = "remove") -> Awaitable[pb.MutationReply]:
            mutation = pb.Mutation(client="c", request_id=f"{request}-{node}")
            return desk.calls.remove_node(pb.CordonNodeRequest(mutation=mutation, node=node), ANN)

        await desk.refused(remove("v2"), Code.WRONG_STATE, "Node v2 keeps the log")
        await desk.refused(remove("n1"), Code.WRONG_STATE, "drain it first")
        assert list((await remove("n2")).ids) == ["n2"]
        assert desk.state_of("n2") == NodeState.NODE_STATE_REMOVED
        assert list((await remove("n2", "again")).ids) == []

    on_desk(test)


def test_a_daemon_that_does_not_lead_has_no_plans() -> None:
    async def test(desk: Desk) -> None:
        plan = await desk.rehearse()
        desk.cluster.depose()
        await desk.refused(desk.rehearse(), Code.NO_LEADER, "")
        await desk.refused(desk.drain(plan_id=plan.id), Code.NO_LEADER, "")

    on_desk(test)


def test_undone_within_the_window_it_can_be_drained_again() -> None:
    async def test(desk: Desk) -> None:
        await desk.drain(request_id="op")
        await desk.do(operation_stop=OperationStop(id="op", undo=True))
        assert desk.state_of("n1") == NodeState.NODE_STATE_ACTIVE
        assert (await desk.drain(request_id="op2")).operation_id == "op2"

    on_desk(test)
