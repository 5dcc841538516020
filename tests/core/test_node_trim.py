"""Nodes that were removed leave the state as ended tasks do."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, HistoryTrim, NodeLeave
from node.core.model import Key, Table
from tests.core.cluster import Machine, cluster, fenced


def remove(m: Machine, node_id: str) -> None:
    m.one(Command(node_leave=NodeLeave(id=node_id)))
    assert m.one(Command(node_leave=NodeLeave(id=node_id, removed=True, reason="sold"))).accepted


def trim(m: Machine, *nodes: str, before_us: int = 0) -> None:
    command = HistoryTrim(before_us=before_us or m.now_us + 1, nodes=nodes)
    assert m.one(Command(history_trim=command)).accepted


def test_a_removed_node_leaves_with_an_event() -> None:
    m = cluster(3)
    remove(m, "n2")
    trim(m, "n1", "n2", "n3", "nobody")
    assert sorted(m.state.nodes) == ["n1", "n3"]
    assert Key(Table.NODES, "n2") not in m.rows
    (event,) = m.last_events()
    assert (event.type, event.detail) == (types_pb2.EVENT_TYPE_HISTORY_TRIMMED, "1 removed nodes")


def test_what_was_removed_lately_or_is_only_away_stays() -> None:
    m = cluster(2)
    m.one(Command(node_leave=NodeLeave(id="n1")))
    before_us = m.now_us
    remove(m, "n2")
    trim(m, "n1", "n2", before_us=before_us)
    assert sorted(m.state.nodes) == ["n1", "n2"]
    assert not m.last_events()


def test_a_removed_node_stays_while_a_task_is_on_it() -> None:
    m = cluster(2)
    task_id, fence = m.running("n1", on_lost=types_pb2.ON_LOST_HOLD)
    m.one(Command(node_leave=NodeLeave(id="n1")))
    m.one(fenced("task_lost", task_id, fence))
    remove(m, "n1")
    trim(m, "n1")
    assert m.node("n1").state == types_pb2.NODE_STATE_REMOVED


def test_a_node_that_was_forgotten_is_a_new_one() -> None:
    m = cluster(2)
    remove(m, "n1")
    assert not m.join("n1").accepted, "it joins again with a new data folder only"
    trim(m, "n1")
    assert m.join("n1").accepted
    assert m.node("n1").state == types_pb2.NODE_STATE_ACTIVE


def test_nodes_count_among_the_rows_of_a_trim() -> None:
    m = cluster(1)
    refused = m.one(Command(history_trim=HistoryTrim(nodes=[f"n{number}" for number in range(1001)])))
    assert refused.message == "A trim names at most 1000 rows, not 1001."
