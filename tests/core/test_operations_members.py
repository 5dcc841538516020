"""Operations upon tasks of workflows: they live again with what depends on them, spilled or not."""

from __future__ import annotations

import pytest

from cortex.v1.log_pb2 import Entry
from cortex.v1.types_pb2 import Operation
from node.core.faults import Code
from node.core.model import Key, Table
from node.core.operations import DONE, SCHEDULED, WORKFLOWS_LIMIT
from tests.core.cluster import Machine
from tests.core.operating import advance, bulk
from tests.core.workflows import cancel as cancel_workflow
from tests.core.workflows import fail, finish, start, state, states, step, submit


def machine(spill: bool) -> Machine:
    m = Machine(spill=spill)
    m.join("n1", slots=100)
    return m


def failed(m: Machine) -> str:
    """A workflow whose first task is a dead letter, the second one, which runs whatever that did, too."""
    w = submit(m, step("a"), step("b", "a", rule="all_done"))
    fail(m, w, "a", "b")
    assert state(m, w) == "failed"
    return w


def row(m: Machine, operation_id: str = "op1") -> Operation:
    found = m.rows[Key(Table.OPERATIONS, operation_id)]
    assert isinstance(found, Operation)
    return found


@pytest.mark.parametrize("spill", [True, False])
def test_what_depends_on_a_retried_letter_waits_for_it(spill: bool) -> None:
    """Both are named: the second is pending again before its turn comes, and does not start before the first."""
    m = machine(spill)
    w = failed(m)
    answer = m.one(bulk("retry", ids=[f"{w}.0", f"{w}.1"]))
    assert [(item.accepted, item.code) for item in answer.items] == [(True, ""), (False, Code.WRONG_STATE)]
    assert states(m, w) == {"a": "queued", "b": "pending"}
    finish(m, w, "a", "b")
    assert state(m, w) == "completed"
    counts = row(m).counts
    assert (counts.issued, counts.passed_over) == (1, 1)


@pytest.mark.parametrize("spill", [True, False])
def test_ends_of_members_are_counted_until_the_operation_ends(spill: bool) -> None:
    """Later a workflow's cancel ends them, whose entry does not name them: not every replica knows the row then."""
    m = machine(spill)
    first, second = failed(m), failed(m)
    m.one(bulk("retry", ids=[f"{first}.0"]))
    assert row(m).state == DONE
    start(m, first, "a")
    m.one(cancel_workflow(first))
    assert row(m).counts.failed == 0

    letters = [f"{second}.0", f"{first}.1"]
    assert m.one(bulk("retry", "op2", window_us=1000, ids=[f"{second}.0"])).accepted
    m.one(advance("op2", begin=True, next_cursor="1", ids=letters[:1]), after_us=1000)
    m.one(cancel_workflow(second))
    assert states(m, second)["a"] == "cancelled"
    assert row(m, "op2").counts.failed == 1


def test_one_entry_revives_few_workflows() -> None:
    m = machine(spill=True)
    letters = [f"{failed(m)}.0" for _ in range(WORKFLOWS_LIMIT + 1)]
    assert m.one(bulk("retry", ids=letters)).accepted
    assert row(m).state == SCHEDULED, "it is left to the leader's duty"
    assert m.one(advance("op1", begin=True)).accepted
    refused = m.one(advance("op1", next_cursor="5", ids=letters))
    assert (refused.code, refused.message) == (
        Code.INVALID,
        f"A step names tasks of at most {WORKFLOWS_LIMIT} workflows.",
    )
    assert m.one(advance("op1", next_cursor="4", ids=letters[:4])).accepted
    assert m.one(advance("op1", cursor="4", next_cursor="5", ids=letters[4:], done=True)).accepted
    assert (row(m).state, row(m).counts.issued) == (DONE, 5)


def test_what_memory_holds_makes_no_difference() -> None:
    m = machine(spill=True)
    w = failed(m)
    m.one(bulk("retry", ids=[f"{w}.0", f"{w}.1"]))
    start(m, w, "a")
    m.one(cancel_workflow(w))
    alone = m.submit()
    m.one(bulk("priority", "op2", ids=[alone], priority=4))
    m.one(bulk("discard", "op3", reason="old", ids=[f"{w}.1"]))
    warm = Machine(spill=False)
    for data in m.log:
        warm.apply_entry(Entry.FromString(data))
    assert warm.rows == m.rows
    assert warm.state.digest == m.state.digest
