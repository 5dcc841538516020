"""Nodes, settings, history, feature levels, and entries of several commands."""

from __future__ import annotations

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import (
    Command,
    Entry,
    HistoryTrim,
    NodeCordon,
    NodeJoin,
    NodeLeave,
    Noop,
    SettingsChange,
)
from cortex.v1.types_pb2 import Node, Requests, Slots, Task
from node.core import machine, reads, settings
from node.core.faults import Code
from node.core.model import ASSIGNED, COMPLETED, QUEUED, RUNNING, Key, Table
from tests.core.cluster import (
    HOUR_US,
    Machine,
    assign,
    cancel,
    cluster,
    complete,
    fenced,
)
from tests.core.states import assigned, queued


def test_join_leave_and_come_back() -> None:
    m = cluster(1)
    joined = m.node("n1")
    assert (joined.state, joined.online) == (types_pb2.NODE_STATE_ACTIVE, True)
    assert joined.incarnation_index == joined.modified_index == m.state.index
    assert m.join("n1").accepted
    assert not m.outcome.changes
    m.one(Command(node_leave=NodeLeave(id="n1", reason="silent")))
    assert not m.node("n1").online
    assert m.last_events()[0].type == types_pb2.EVENT_TYPE_NODE_OFFLINE
    m.join("n1")
    assert m.node("n1").online
    assert m.node("n1").joined_at_us == joined.joined_at_us
    assert m.node("n1").incarnation_index == joined.incarnation_index


def test_a_new_incarnation_is_remembered_from_its_join() -> None:
    m = cluster(1)
    m.one(Command(node_cordon=NodeCordon(id="n1", cordoned=True, message="disk")))
    m.one(Command(node_join=NodeJoin(node=Node(id="n1", incarnation="i2", online=False))))
    node = m.node("n1")
    assert (node.incarnation_index, node.state, node.message) == (
        m.state.index,
        types_pb2.NODE_STATE_CORDONED,
        "disk",
    )


def test_a_machine_does_not_choose_its_state() -> None:
    m = Machine()
    node = Node(id="n1", state=types_pb2.NODE_STATE_REMOVED, message="x", joined_at_us=5, changed_at_us=5)
    m.one(Command(node_join=NodeJoin(node=node)))
    joined = m.node("n1")
    assert (joined.state, joined.message) == (types_pb2.NODE_STATE_ACTIVE, "")
    assert joined.joined_at_us == joined.changed_at_us == m.now_us


@pytest.mark.parametrize(
    "node",
    [
        Node(id=""),
        Node(id="a\nb"),
        Node(id="n1", hostname="x\x1b"),
        Node(id="n1", slots=[Slots(type=types_pb2.TASK_TYPE_SHELL, count=-1)]),
        Node(id="n1", slots=[Slots(type=types_pb2.TASK_TYPE_SHELL)] * 2),
        Node(id="n1", capacity=Requests(cpu_millis=-1)),
        Node(id="n1", version="x" * 301),
    ],
)
def test_a_bad_node_is_refused(node: Node) -> None:
    m = Machine()
    assert m.one(Command(node_join=NodeJoin(node=node))).code == Code.INVALID
    assert not m.state.nodes


def test_cordon_and_back() -> None:
    m = cluster(1)
    m.one(Command(node_cordon=NodeCordon(id="n1", cordoned=True, message="disk")))
    assert (m.node("n1").state, m.node("n1").message) == (types_pb2.NODE_STATE_CORDONED, "disk")
    m.one(Command(node_cordon=NodeCordon(id="n1", cordoned=True, message="disk")))
    assert not m.outcome.changes
    m.one(Command(node_cordon=NodeCordon(id="n1")))
    assert (m.node("n1").state, m.node("n1").message) == (types_pb2.NODE_STATE_ACTIVE, "")
    assert m.last_events()[0].type == types_pb2.EVENT_TYPE_NODE_UNCORDONED
    assert m.one(Command(node_cordon=NodeCordon(id="n9", cordoned=True))).code == Code.NOT_FOUND


def test_remove() -> None:
    m = cluster(1)
    task_id, _ = m.running()
    remove = Command(node_leave=NodeLeave(id="n1", removed=True))
    assert m.one(remove).code == Code.WRONG_STATE
    m.one(Command(node_leave=NodeLeave(id="n1")))
    assert m.one(remove).accepted
    assert m.task(task_id).state == RUNNING
    assert m.node("n1").state == types_pb2.NODE_STATE_REMOVED
    assert m.join("n1").code == Code.WRONG_STATE
    assert m.one(Command(node_join=NodeJoin(node=Node(id="n1", incarnation="i2")))).accepted


def test_settings() -> None:
    m = Machine()
    change = Command(settings_change=SettingsChange(name="max_queue_depth", value="2"))
    assert m.one(change).accepted
    assert m.state.settings["max_queue_depth"].value == "2"
    m.one(change)
    assert not m.outcome.changes
    for name, value in (
        ("max_queue_depth", "0"),
        ("max_queue_depth", "two"),
        ("max_queue_depth", "9" * 30),
        ("x", "1"),
    ):
        reply = m.one(Command(settings_change=SettingsChange(name=name, value=value)))
        assert reply.code == Code.INVALID
        assert name in reply.message


def test_what_is_kept_by_default() -> None:
    day_s = 86_400
    assert {name: rule.default for name, rule in settings.INTEGERS.items() if not name.endswith("_ms")} == {
        "max_queue_depth": 1_000_000,
        "max_ended_tasks": 1_000_000,
        "ended_tasks_kept_s": 30 * day_s,
        "max_dead_letters": 10_000,
        "dead_letters_kept_s": 180 * day_s,
        "events_kept_s": day_s,
        "max_double_runs": 100_000,
        "double_runs_kept_s": 30 * day_s,
        "max_operations": 10_000,
        "operations_kept_s": 30 * day_s,
        "prompt_limit_chars": 10_000,
    }


def test_trim_takes_what_is_old_and_ended() -> None:
    m = cluster()
    old, fence = m.running()
    m.one(complete(old, fence))
    live = m.submit()
    bound_us = m.now_us
    young, fence = m.running(node_id="n2")
    m.one(complete(young, fence))
    event = next(event for event in m.events if event.task == old)
    trim = HistoryTrim(before_us=bound_us, ids=[old, live, young, "nobody"], event_ids=[event.id, "0-0"])
    assert m.one(Command(history_trim=trim)).accepted
    assert m.last_events()[0].detail == "1 tasks, 1 events"
    assert Key(Table.TASKS, old) not in m.rows
    assert Key(Table.EVENTS, event.id) not in m.rows
    assert m.task(live).state == QUEUED
    assert m.task(young).state == COMPLETED


def test_a_trim_names_at_most_1000_rows() -> None:
    m = cluster()
    trim = HistoryTrim(before_us=m.now_us, ids=["x"] * 600, event_ids=["y"] * 401)
    assert m.one(Command(history_trim=trim)).code == Code.INVALID
    assert reads.reads(_entry(Command(history_trim=trim))) == set()


def test_noop_changes_nothing() -> None:
    m = cluster()
    assert m.one(Command(noop=Noop(leader="n1"))).accepted
    assert not m.outcome.changes


def _entry(*commands: Command, level: int = 1) -> Entry:
    return Entry(level=level, commands=commands)


def test_a_level_above_its_own_stops_a_daemon() -> None:
    machine.check_level(_entry(Command(noop=Noop())))
    with pytest.raises(machine.LevelTooNew, match="level 2"):
        machine.check_level(_entry(Command(noop=Noop()), level=2))


def test_a_kind_above_its_level_stops_a_daemon() -> None:
    unknown = Command.FromString(bytes([0xF2, 0x3F, 0]))  # an empty message under tag 1022
    with pytest.raises(machine.LevelTooNew, match="unknown kind"):
        machine.check_level(_entry(unknown))
    for kind in ("context_update", "memory_write"):
        command = Command()
        getattr(command, kind).SetInParent()
        with pytest.raises(machine.LevelTooNew, match=kind):
            machine.check_level(_entry(command))
    machine.check_level(_entry(Command()))


def test_several_steps_of_a_task_in_one_entry_are_one_change() -> None:
    m, task_id = assigned()
    fence = m.task(task_id).fence
    m.apply(fenced("task_started", task_id, fence), complete(task_id, fence))
    (change,) = [change for change in m.outcome.changes if change.table is Table.TASKS]
    assert isinstance(change.old, Task)
    assert isinstance(change.new, Task)
    assert (change.old.state, change.new.state) == (ASSIGNED, COMPLETED)
    assert [event.state for event in m.last_events()] == [RUNNING, COMPLETED]


def test_a_refused_command_does_not_undo_the_others() -> None:
    m, task_id = queued()
    replies = m.apply(cancel("nobody"), assign(task_id)).commands
    assert [reply.accepted for reply in replies] == [False, True]
    assert m.task(task_id).state == ASSIGNED


def test_entry_time_does_not_go_back() -> None:
    m, task_id = queued()
    queued_at_us = m.task(task_id).queued_at_us
    m.apply(cancel(task_id), after_us=-HOUR_US)
    assert m.task(task_id).completed_at_us == queued_at_us
    assert m.state.at_us == queued_at_us


def test_the_orchestrator_profile_has_a_queue_depth_of_its_own_unless_one_is_set() -> None:
    m = cluster()

    def setting(name: str, value: str) -> None:
        assert m.one(Command(settings_change=SettingsChange(name=name, value=value))).accepted

    assert settings.max_queue_depth(m.state.settings.get) == 1_000_000
    setting("profile", '"orchestrator"')
    assert settings.choice(m.state.settings.get("profile"), "profile") == "orchestrator"
    assert settings.max_queue_depth(m.state.settings.get) == 1_000
    setting("max_queue_depth", "5000")
    assert settings.max_queue_depth(m.state.settings.get) == 5_000
    setting("profile", "resources")
    assert settings.max_queue_depth(m.state.settings.get) == 5_000
    reply = m.one(Command(settings_change=SettingsChange(name="profile", value='"fastest"')))
    assert reply.code == Code.INVALID
    assert reply.message.endswith("profile must be one of resources, orchestrator.")
