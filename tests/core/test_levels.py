"""The cluster's feature level: raised by one, when all who keep the log know it, and never lowered."""

from __future__ import annotations

import pytest

from cortex.v1.log_pb2 import Command, Entry, LevelRaise, NodeJoin
from cortex.v1.types_pb2 import EventType, Node, NodeRole
from node.core import machine
from node.core.state import ClusterState
from tests.core.cluster import Machine

VOTER, LEARNER, WORKER = NodeRole.NODE_ROLE_VOTER, NodeRole.NODE_ROLE_LEARNER, NodeRole.NODE_ROLE_WORKER


def raised(level: int) -> Command:
    return Command(level_raise=LevelRaise(level=level))


@pytest.fixture
def m(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A cluster of a release that knows level 3."""
    monkeypatch.setattr(machine, "LEVEL", 3)
    made = Machine()
    for name, role, level in (("a", VOTER, 3), ("b", VOTER, 3), ("c", LEARNER, 2), ("w", WORKER, 1)):
        join(made, name, role, level)
    return made


def join(m: Machine, name: str, role: NodeRole.ValueType, level: int) -> None:
    node = Node(id=name, incarnation="i", role=role, level=level)
    assert m.one(Command(node_join=NodeJoin(node=node))).accepted


def test_it_begins_with_the_first(m: Machine) -> None:
    assert m.state.level == 1


def test_it_rises_when_all_who_keep_the_log_know_it(m: Machine) -> None:
    assert m.one(raised(2)).accepted
    assert m.state.level == 2
    (event,) = m.last_events()
    assert (event.type, event.detail) == (EventType.EVENT_TYPE_LEVEL_RAISED, "feature level: 1 -> 2")
    behind = m.one(raised(3))
    assert (behind.accepted, behind.message) == (False, "c does not know feature level 3.")
    join(m, "c", LEARNER, 3)
    assert m.one(raised(3)).accepted
    assert m.state.level == 3


@pytest.mark.parametrize("level", [0, 3])
def test_it_rises_by_one(m: Machine, level: int) -> None:
    refused = m.one(raised(level))
    assert not refused.accepted
    assert "rises by one at a time, and never falls" in refused.message


def test_it_never_falls(m: Machine) -> None:
    m.one(raised(2))
    assert not m.one(raised(1)).accepted
    assert m.one(raised(2)).accepted, "said again it changes nothing"
    assert not m.last_events()


def test_a_copy_of_the_rows_has_it(m: Machine) -> None:
    m.one(raised(2))
    again = ClusterState()
    again.load(m.rows.values(), m.state.index, 1, m.now_us, m.state.digest)
    assert again.level == 2


def test_a_release_that_does_not_know_it_stops_before_it() -> None:
    machine.check_level(Entry(level=1, commands=[raised(1)]))
    with pytest.raises(machine.LevelTooNew, match="level 2"):
        machine.check_level(Entry(level=1, commands=[raised(2)]))
