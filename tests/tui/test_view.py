"""Folding the stream: order does not matter, snapshots replace, silence is judged by the console itself."""

from __future__ import annotations

import random

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake
from tui.source import LinkState
from tui.store import view as view_module
from tui.store.view import ClusterView


def reply(*changes: types_pb2.Change, index: int = 1, **fields: object) -> cluster_pb2.WatchReply:
    values = {"at_us": fake.NOW_US, "leader": "anvil", "term": 1, **fields}
    return cluster_pb2.WatchReply(index=index, changes=changes, **values)  # type: ignore[arg-type]


def changed(row: types_pb2.Task) -> types_pb2.Change:
    return types_pb2.Change(task=row)


def test_the_newest_row_wins_in_any_order() -> None:
    states = [fake.QUEUED, fake.ASSIGNED, fake.RUNNING, fake.COMPLETED]
    rows = [fake.task(1, "one", state, index=10 + at) for at, state in enumerate(states)]
    for seed in range(20):
        view = ClusterView()
        for row in random.Random(seed).sample(rows, len(rows)):
            view.put_task(row)
        known = view.tasks.get(rows[0].id)
        assert known is not None
        assert known.state == fake.COMPLETED
        assert {state: count for state, count in view.states.items() if count} == {fake.COMPLETED: 1}


def test_a_snapshot_replaces_what_was_there() -> None:
    view = ClusterView()
    old, kept = fake.task(1, "old", fake.RUNNING), fake.task(2, "kept", fake.RUNNING)
    view.fold(reply(snapshot_begin=True, index=5), 1.0)
    view.fold(reply(changed(old), changed(kept), index=5), 1.0)
    view.fold(reply(snapshot_end=True, index=5), 1.0)
    assert view.ready
    view.fold(reply(snapshot_begin=True, index=9), 2.0)
    assert len(view.tasks) == 2, "nothing flickers away while the new snapshot comes"
    view.fold(reply(changed(kept), index=9), 2.0)
    view.fold(reply(snapshot_end=True, index=9), 2.0)
    assert [task.name for task in view.tasks.values()] == ["kept"]
    assert view.states[fake.RUNNING] == 1


def test_samples_and_rows_of_a_node_join() -> None:
    view = ClusterView()
    sample = fake.node_view("birch", cpu=50, index=3)
    view.fold(reply(index=3, samples=[sample]), 10.0)
    newer = types_pb2.Node()
    newer.CopyFrom(sample.node)
    newer.state, newer.modified_index = types_pb2.NODE_STATE_CORDONED, 7
    view.fold(reply(types_pb2.Change(node=newer), index=7), 10.5)
    view.fold(reply(index=7, samples=[sample]), 11.0)
    row = view.nodes.get("birch")
    assert row is not None
    assert row.node.state == types_pb2.NODE_STATE_CORDONED, "a sample does not bring an older row back"
    assert row.resources is not None


def test_seconds_without_a_sample_are_gaps() -> None:
    view = ClusterView()
    for now_s, cpu in ((10.0, 10.0), (11.0, 20.0), (15.0, 30.0)):
        view.fold(reply(samples=[fake.node_view("birch", cpu=cpu)]), now_s)
    row = view.nodes.get("birch")
    assert row is not None
    assert row.history == (10.0, 20.0, None, None, None, 30.0)


def test_what_is_known_of_a_node_grows_old_when_nobody_leads() -> None:
    view = ClusterView()
    view.fold(reply(leader="anvil", samples=[fake.node_view("birch", cpu=50, running=2)]), 10.0)
    unheard = cluster_pb2.NodeView(node=fake.node_view("birch").node, age_us=-1)
    view.fold(reply(leader="", samples=[unheard]), 15.0)
    row = view.nodes.get("birch")
    assert row is not None
    assert row.view is not None
    assert (row.received_s, row.view.running, row.view.scored) == (10.0, 2, True)
    assert row.resources is not None
    view.fold(reply(leader="cedar", samples=[unheard]), 16.0)
    row = view.nodes.get("birch")
    assert row is not None
    assert row.view is not None
    assert (row.received_s, row.view.running, row.view.scored) == (10.0, 0, False), "the leader counts"
    assert row.resources is not None, "and has not heard it yet"


def test_the_leader_mark_moves() -> None:
    view = ClusterView()
    view.fold(reply(samples=[fake.node_view("anvil", leader=True), fake.node_view("birch")]), 1.0)
    view.fold(reply(index=2, leader="birch"), 2.0)
    marks = {row.node.id: row.leader for row in view.nodes.values()}
    assert marks == {"anvil": False, "birch": True}


def test_silence_is_a_lost_link_whatever_the_client_says() -> None:
    view = ClusterView()
    view.fold(reply(heartbeat=True), 100.0)
    assert not view.link.lost(101.0)
    assert view.link.lost(102.0)
    view.fold(reply(heartbeat=True), 102.5)
    assert not view.link.lost(103.0)
    view.fold_link(LinkState(False, "10.0.0.1:7400", "connection refused"))
    assert view.link.lost(103.0)
    view.fold_link(LinkState(True, "10.0.0.2:7400"))
    assert not view.link.lost(103.0)


def test_leader_time_goes_on_between_words() -> None:
    view = ClusterView()
    assert view.now_us(5.0) == 0
    view.fold(reply(heartbeat=True), 100.0)
    assert view.now_us(102.5) == fake.NOW_US + 2_500_000
    view.fold(reply(heartbeat=True, at_us=fake.NOW_US - 1), 103.0)
    assert view.now_us(103.0) == fake.NOW_US, "it does not go back"


def test_ended_tasks_and_events_are_bounded(monkeypatch: object) -> None:
    view = ClusterView()
    limit = view_module.MAX_EVENTS
    for number in range(limit + 10):
        view.put_event(fake.event(number, types_pb2.EVENT_TYPE_STARTED))
    assert len(view.events) == limit
    assert "0-0" not in view.events
    assert f"{limit + 9}-0" in view.events


def test_a_deleted_row_of_an_ended_task_stays_shown() -> None:
    view = ClusterView()
    view.put_task(fake.task(1, "done", fake.COMPLETED, ended_s=3))
    view.put_task(fake.task(2, "gone", fake.QUEUED))
    for number in (1, 2):
        change = types_pb2.Change(deleted_table="tasks", deleted_key=f"01jx{number:08d}")
        view.fold(reply(change, index=9), 1.0)
    assert [task.name for task in view.tasks.values()] == ["done"]
