"""Alarms and suspicions of nodes."""

from __future__ import annotations

from cortex.v1.log_pb2 import Command, CommandReply, NodeAlarm, NodeCordon, NodeJoin, NodeLeave, NodeSuspect
from cortex.v1.types_pb2 import EventType, Node, NodeState
from node.core.faults import Code
from tests.core.cluster import Machine, cluster, complete

ALARM = EventType.EVENT_TYPE_ALARM


def alarm(m: Machine, reason: str = "it cannot be killed", node: str = "n1", task: str = "") -> CommandReply:
    return m.one(Command(node_alarm=NodeAlarm(id=node, reason=reason, cordon=True, task=task)))


def test_an_alarm_cordons_and_its_end_leaves_the_node_cordoned() -> None:
    m = cluster()
    task_id, fence = m.running()
    assert alarm(m, task=task_id).accepted
    node = m.node("n1")
    assert (node.state, node.alarm) == (NodeState.NODE_STATE_CORDONED, "it cannot be killed")
    assert list(node.alarm_tasks) == [task_id]
    assert [(event.type, event.node, event.detail) for event in m.last_events()] == [
        (ALARM, "n1", "it cannot be killed")
    ]
    assert alarm(m, task=task_id).accepted
    assert not m.outcome.changes
    m.one(complete(task_id, fence))
    assert alarm(m, task=task_id).code == Code.WRONG_STATE
    assert alarm(m, reason="").accepted
    node = m.node("n1")
    assert (node.state, node.alarm, list(node.alarm_tasks)) == (NodeState.NODE_STATE_CORDONED, "", [])
    assert m.last_events()[0].detail == "over: it cannot be killed"


def test_one_alarm_names_all_its_tasks() -> None:
    m = cluster()
    tasks = [m.running()[0], m.running()[0]]
    for task_id in tasks:
        alarm(m, reason=f"{task_id} cannot be killed", task=task_id)
    assert list(m.node("n1").alarm_tasks) == tasks


def test_a_suspicion_only_proposes() -> None:
    m = cluster()
    command = Command(node_suspect=NodeSuspect(id="n1", reason="everything fails there"))
    assert m.one(command).accepted
    assert m.node("n1").suspect_reason == "everything fails there"
    assert m.node("n1").state == NodeState.NODE_STATE_ACTIVE
    assert [event.type for event in m.last_events()] == [EventType.EVENT_TYPE_NODE_SUSPECTED]
    assert m.one(command).accepted
    assert not m.outcome.changes
    assert m.one(Command(node_suspect=NodeSuspect(id="n1"))).accepted
    assert m.node("n1").suspect_reason == ""


def test_uncordon_settles_both_even_where_nothing_was_cordoned() -> None:
    m = cluster()
    m.one(Command(node_alarm=NodeAlarm(id="n1", reason="look")))
    m.one(Command(node_suspect=NodeSuspect(id="n1", reason="odd")))
    assert m.node("n1").state == NodeState.NODE_STATE_ACTIVE
    assert m.one(Command(node_cordon=NodeCordon(id="n1"))).accepted
    assert (m.node("n1").alarm, m.node("n1").suspect_reason) == ("", "")


def test_both_stay_when_the_daemon_comes_back() -> None:
    m = cluster()
    alarm(m)
    m.one(Command(node_suspect=NodeSuspect(id="n1", reason="odd")))
    m.one(Command(node_join=NodeJoin(node=Node(id="n1", incarnation="i2", alarm="mine", suspect_reason="mine"))))
    assert (m.node("n1").alarm, m.node("n1").suspect_reason) == ("it cannot be killed", "odd")


def test_what_is_not_there_or_makes_no_sense_is_refused() -> None:
    m = cluster()
    assert alarm(m, node="n9").code == Code.NOT_FOUND
    assert alarm(m, reason="x" * 201).code == Code.INVALID
    m.one(Command(node_leave=NodeLeave(id="n1", removed=True)))
    assert alarm(m).code == Code.WRONG_STATE
    assert m.one(Command(node_suspect=NodeSuspect(id="n9", reason="odd"))).code == Code.NOT_FOUND
