"""Who keeps the log, as the state records it: the role of a node, and an event that says by whom."""

from __future__ import annotations

import pytest

from cortex.v1 import log_pb2, types_pb2
from cortex.v1.log_pb2 import Command, ConfigChange, NodeJoin, NodeLeave
from cortex.v1.types_pb2 import Node
from node.core.faults import Code
from tests.core.cluster import Machine, cluster

LEARNER = log_pb2.MEMBER_CHANGE_LEARNER
VOTER = log_pb2.MEMBER_CHANGE_VOTER
REMOVED = log_pb2.MEMBER_CHANGE_REMOVED


def change(node: str, what: log_pb2.MemberChange.ValueType, address: str = "") -> Command:
    return Command(config_change=ConfigChange(id=node, change=what, address=address))


def worker(m: Machine, node: str = "w1") -> None:
    m.one(Command(node_join=NodeJoin(node=Node(id=node, incarnation="i1", role=types_pb2.NODE_ROLE_WORKER))))


def test_a_worker_becomes_learner_voter_and_worker_again() -> None:
    m = cluster(1)
    worker(m)
    steps = [
        (LEARNER, types_pb2.NODE_ROLE_LEARNER, types_pb2.EVENT_TYPE_LEARNER_ADDED),
        (VOTER, types_pb2.NODE_ROLE_VOTER, types_pb2.EVENT_TYPE_VOTER_ADDED),
        (REMOVED, types_pb2.NODE_ROLE_WORKER, types_pb2.EVENT_TYPE_VOTER_REMOVED),
    ]
    for what, role, event in steps:
        reply = m.apply(change("w1", what, "here:1"), actor="ada", client="ada", request_id=str(what)).commands[0]
        assert (reply.accepted, reply.id) == (True, "w1")
        assert m.node("w1").role == role
        assert m.node("w1").modified_index == m.state.index
        (told,) = m.last_events()
        assert (told.type, told.node, told.actor) == (event, "w1", "ada")
        assert told.detail.endswith("at here:1")


def test_said_again_it_changes_nothing() -> None:
    m = cluster(1)
    worker(m)
    m.one(change("w1", LEARNER))
    assert m.one(change("w1", LEARNER)).accepted
    assert not m.outcome.changes


def test_what_a_machine_says_of_itself_does_not_make_it_a_voter() -> None:
    m = cluster(1)
    worker(m)
    for said in (types_pb2.NODE_ROLE_VOTER, types_pb2.NODE_ROLE_UNSPECIFIED):
        m.one(Command(node_join=NodeJoin(node=Node(id="w1", incarnation="i2", role=said))))
        assert m.node("w1").role == types_pb2.NODE_ROLE_WORKER
    m.one(change("w1", VOTER))
    m.one(Command(node_join=NodeJoin(node=Node(id="w1", incarnation="i3", role=types_pb2.NODE_ROLE_WORKER))))
    assert m.node("w1").role == types_pb2.NODE_ROLE_VOTER


def test_a_removed_node_that_comes_back_is_what_it_says() -> None:
    m = cluster(1)
    worker(m)
    m.one(change("w1", VOTER))
    m.one(Command(node_leave=NodeLeave(id="w1", removed=True)))
    worker_again = Node(id="w1", incarnation="i2", role=types_pb2.NODE_ROLE_WORKER)
    assert m.one(Command(node_join=NodeJoin(node=worker_again))).accepted
    assert m.node("w1").role == types_pb2.NODE_ROLE_WORKER


def test_a_member_without_a_row_is_told_of_all_the_same() -> None:
    m = Machine()
    assert m.one(change("n7", REMOVED)).accepted
    assert not m.state.nodes
    (told,) = m.last_events()
    assert (told.type, told.node) == (types_pb2.EVENT_TYPE_VOTER_REMOVED, "n7")


@pytest.mark.parametrize(
    "command",
    [
        change("w1", log_pb2.MEMBER_CHANGE_UNSPECIFIED),
        change("w1", 99),  # type: ignore[arg-type]
        change("", VOTER),
        change("a\nb", VOTER),
        change("w1", LEARNER, "here\x1b:1"),
    ],
)
def test_what_makes_no_sense_is_recorded_and_refused(command: Command) -> None:
    m = cluster(1)
    worker(m)
    before = m.node("w1")
    assert m.one(command).code == Code.INVALID
    assert m.node("w1") == before
    (told,) = m.last_events()
    assert told.type == types_pb2.EVENT_TYPE_REJECTED
    assert told.detail.startswith("config_change refused: ")
