"""Views of the past: the query over events, the replay of the log and the live record of then say the same."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, Entry, HistoryTrim
from cortex.v1.types_pb2 import ContextItem, Event, Task, Workflow
from node.core.faults import Code, Fault
from node.core.model import ASSIGNED, CANCELLED, ENDED, LIVE, QUEUED, RUNNING, Change, Key, Table
from node.store import Store, TaskQuery, moment
from node.store.asof import At, Moment, task_as_of, workflow_as_of
from node.store.moment_workflows import WorkflowQuery
from node.store.slow import SlowReads
from tests.core import workflows
from tests.core.cluster import HOUR_US, Machine
from tests.node.past_walk import PastWalk

STEPS = 120
EXACT = (
    "id", "name", "state", "node", "attempt", "run", "priority", "spec", "workflow_id", "task_key", "depends_on",
    "created_at_us", "created_index", "actor", "submit_key", "member", "condition", "rule", "can_fail",
)  # fmt: skip
# Exact as long as the task's events are kept.
BY_EVENTS = (
    "fence", "queued_at_us", "assigned_at_us", "started_at_us", "completed_at_us", "dead_lettered_at_us",
    "lost_at_us", "cancel_requested", "migrate_requested", "modified_index",
)  # fmt: skip
STATES = sorted(LIVE | ENDED)


def check_row(found: Any, truth: Any, exact: tuple[str, ...]) -> None:
    """Exact fields are equal, and no other one is wrong: it is equal, or absent."""
    for field in truth.DESCRIPTOR.fields:
        was, is_ = getattr(truth, field.name), getattr(found, field.name)
        if field.name in exact:
            assert is_ == was, (found.id, field.name)
        elif field.is_repeated:
            assert all(item in was for item in is_), (found.id, field.name)
        else:
            blank = getattr(type(truth)(), field.name)
            assert is_ in (was, blank), (found.id, field.name)


def test_a_discarded_letter_still_counts_as_a_failure() -> None:
    letter = Task(id="w.0", state=CANCELLED, dead_lettered_at_us=5)
    row = Workflow(id="w", count=1, run=2, modified_index=9)
    later = Event(index=9, was_workflow_state=types_pb2.WORKFLOW_STATE_FAILED, was_run=1)
    was = workflow_as_of(row, later, [letter], At(8, 8))
    assert (was.failures, was.remaining, was.run) == (1, 0, 1)


def test_what_was_refused_set_no_time_though_the_events_before_it_are_trimmed() -> None:
    row = Task(id="t", state=QUEUED, run=1, created_at_us=1, queued_at_us=900, modified_index=9)
    refused = Event(index=4, at_us=400, type=types_pb2.EVENT_TYPE_REJECTED, state=QUEUED)
    later = Event(index=9, at_us=900, type=types_pb2.EVENT_TYPE_RETRIED, state=QUEUED, was_state=QUEUED, was_run=1)
    assert not task_as_of(row, [refused, later], At(8, 800)).queued_at_us


def test_a_context_of_the_past_is_exact_until_a_task_updates_it_or_runs_again() -> None:
    m, store = Machine(), Store(":memory:")
    store.open()
    m.join("n1", slots=4)
    context = [ContextItem(key="target", value=b'"prod"')]
    made = workflows.submit(m, *(workflows.step(key) for key in ("a", "b", "c")), context=context)
    moments = [m.state.index]
    for key, update in (("a", b""), ("b", b'{"built": 7}'), ("c", b"")):
        workflows.finish(m, made, key, update=update)
        moments.append(m.state.index)
    store.save([Change(key.table, key.id, None, row) for key, row in m.rows.items()], m.state.index, 1, m.now_us, 0)

    def known(index: int) -> list[str]:
        was, _, _ = store.reads.workflow_at(made, Moment(index, 0, m.now_us))
        assert was is not None
        return [item.key for item in was.context]

    assert [known(index) for index in moments] == [[], [], ["built", "target"], ["built", "target"]]
    assert m.one(workflows.resume(made, "c")).accepted
    saved = [Change(key.table, key.id, None, row) for key, row in m.rows.items() if key.table != Table.EVENTS]
    store.save([*saved, *m.outcome.changes], m.state.index, 1, m.now_us, 0)
    assert known(moments[-1]) == []
    store.close()


def walked(seed: int, *, trims: bool) -> PastWalk:
    walk = PastWalk(seed, trims=trims)
    for _ in range(STEPS):
        walk.step()
    return walk


def indexes(walk: PastWalk, random: Random) -> list[int]:
    known = [index for index in walk.was if index >= walk.oldest()]
    return random.sample(known, min(4, len(known)))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), trims=st.booleans())
def test_query_replay_and_live_record_agree(seed: int, trims: bool) -> None:
    walk = walked(seed, trims=trims)
    for index in indexes(walk, Random(seed)):
        replayed = Machine(spill=False)
        for data in walk.machine.log[:index]:
            replayed.apply_entry(Entry.FromString(data))
        shown = {key: row for key, row in replayed.rows.items() if key in walk.was[index]}
        assert shown == walk.was[index]
        exact = EXACT if trims else (*EXACT, *BY_EVENTS)
        for task_id, truth in walk.tasks_at(index).items():
            found, events, at = walk.store.reads.task_at(task_id, walk.moment(index))
            assert isinstance(found, Task)
            check_row(found, truth, exact)
            assert all(event.index <= index for event in events)
            assert (at.index, at.at_us <= walk.at_us[index]) == (index, True)
        nodes, held, _ = walk.store.reads.nodes_at(walk.moment(index))
        assert {node.id: node for node in nodes} == walk.nodes_at(index)
        for node_id, counts in held.items():
            on_node = [task.state for task in walk.tasks_at(index).values() if task.node == node_id]
            assert counts == (on_node.count(ASSIGNED), on_node.count(RUNNING))
        for workflow_id, workflow in walk.workflows_at(index).items():
            was, members, _ = walk.store.reads.workflow_at(workflow_id, walk.moment(index))
            assert isinstance(was, Workflow)
            check_row(was, workflow, ("id", "name", "state", "run", "count", "remaining", "failures", "policy"))
            assert list(was.context) in (list(workflow.context), [])
            assert [task.state for task in members] == [walk.tasks_at(index)[task.id].state for task in members]
            assert len(members) == workflow.count
    walk.store.close()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    states=st.lists(st.sampled_from(STATES), max_size=3, unique=True).map(tuple),
    node=st.sampled_from(("", "", "n1", "nowhere")),
    text=st.sampled_from(("", "", "true", "t00", "nothing")),
    of_workflow=st.booleans(),
    limit=st.integers(1, 20),
    near=st.sampled_from((0, 20, 2_000)),
    few=st.sampled_from((-1, 100_000)),
)
def test_pages_and_totals_are_those_of_then(
    seed: int, states: tuple[int, ...], node: str, text: str, of_workflow: bool, limit: int, near: int, few: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # How a page and a total are come by depends on how much there is.
        patch.setattr(moment, "NEAR", near)
        patch.setattr(moment, "FEW", few)
        check_pages(seed, TaskQuery(states, node, text=text, limit=limit), of_workflow=of_workflow)


def check_pages(seed: int, wanted: TaskQuery, *, of_workflow: bool) -> None:
    states, node, text, limit = wanted.states, wanted.node, wanted.text, wanted.limit
    walk = walked(seed, trims=True)
    for index in indexes(walk, Random(seed)):
        workflows = sorted(walk.workflows_at(index))
        workflow = workflows[0] if of_workflow and workflows else ""
        expected = [
            task
            for task in walk.tasks_at(index).values()
            if (not states or task.state in states)
            and (not node or task.node == node)
            and (not workflow or task.workflow_id == workflow)
            and text in f"{task.id}\n{task.name}\n{b' '.join(task.spec.argv).decode()}"
        ]
        expected.sort(key=lambda task: (task.created_index, task.id), reverse=True)
        ids: list[str] = []
        cursor = ""
        while True:
            query = TaskQuery(states, node, workflow, text, limit=limit, cursor=cursor)
            page, _ = walk.store.reads.list_tasks_at(query, walk.moment(index))
            assert page.total == len(expected)
            ids += [task.id for task in page.tasks]
            cursor = page.next_cursor
            if not cursor:
                break
        assert ids == [task.id for task in expected]
    walk.store.close()


@pytest.mark.parametrize("seed", range(4))
def test_lists_of_workflows_are_those_of_then(seed: int) -> None:
    walk = walked(seed, trims=False)
    for index in indexes(walk, Random(seed)):
        for states in ((), (1, 2), (3,), (4, 5)):
            expected = [row for row in walk.workflows_at(index).values() if not states or row.state in states]
            expected.sort(key=lambda row: (row.created_index, row.id), reverse=True)
            found: list[str] = []
            cursor = ""
            while True:
                page, _ = walk.store.reads.list_workflows_at(
                    WorkflowQuery(states, limit=2, cursor=cursor), walk.moment(index)
                )
                assert page.total == len(expected)
                found += [row.id for row in page.workflows]
                cursor = page.next_cursor
                if not cursor:
                    break
            assert found == [row.id for row in expected]
    walk.store.close()


@pytest.mark.parametrize("seed", range(6))
def test_a_difference_leads_from_one_moment_to_the_other(seed: int) -> None:
    walk = walked(seed, trims=bool(seed % 2))
    known = sorted(index for index in walk.was if index >= walk.oldest())
    begin, end = known[len(known) // 4], known[3 * len(known) // 4]
    difference = walk.store.reads.diff(walk.moment(begin), walk.moment(end), 10_000)
    assert not difference.truncated
    found = {(row.table, row.id): {name: (old, new) for name, old, new in row.fields} for row in difference.rows}
    before, after = walk.tasks_at(begin), walk.tasks_at(end)
    for task_id in before | after:
        old, new = before.get(task_id), after.get(task_id)
        fields = found.pop(("tasks", task_id), {})
        for name in ("node", "attempt", "run", "priority"):
            pair = tuple("" if row is None else str(getattr(row, name)) for row in (old, new))
            assert fields.pop(name, ("same",)) == (pair if pair[0] != pair[1] else ("same",)), (task_id, name)
        assert ("state" in fields) == (old is None or new is None or old.state != new.state)
    nodes_then, nodes_later = walk.nodes_at(begin), walk.nodes_at(end)
    for node_id in nodes_then | nodes_later:
        fields = found.pop(("nodes", node_id), {})
        assert ("state" in fields) == (nodes_then[node_id].state != nodes_later[node_id].state)
        assert ("online" in fields) == (nodes_then[node_id].online != nodes_later[node_id].online)
    for workflow_id in walk.workflows_at(end):
        then = walk.workflows_at(begin).get(workflow_id)
        fields = found.pop(("workflows", workflow_id), {})
        assert ("state" in fields) == (then is None or then.state != walk.workflows_at(end)[workflow_id].state)
    assert not found
    few = walk.store.reads.diff(walk.moment(begin), walk.moment(end), 1)
    assert few.truncated
    assert few.rows == difference.rows[:1]
    walk.store.close()


def test_a_time_is_the_moment_after_the_last_entry_until_then() -> None:
    walk = walked(7, trims=False)
    reads, now = walk.store.reads, walk.machine.now_us
    for index in indexes(walk, Random(7)):
        later = [other for other in walk.was if walk.at_us[other] > walk.at_us[index]]
        upto_us = walk.at_us[min(later)] - 1 if later else now
        for at_us in (walk.at_us[index], upto_us):
            _, _, by_time = reads.task_at("nobody", Moment(0, at_us, now))
            found, _, _ = reads.nodes_at(Moment(0, at_us, now))
            assert by_time.index <= index
            assert {node.id: node for node in found} == walk.nodes_at(index)
    walk.store.close()


def test_what_cannot_be_known_is_refused_and_the_oldest_moment_named() -> None:
    walk = walked(3, trims=True)
    while walk.oldest() < 5:
        walk.machine.apply(walk.trim())
        walk.save()
    reads, now, oldest = walk.store.reads, walk.machine.now_us, walk.oldest()
    for wanted in (Moment(oldest - 1, 0, now), Moment(0, walk.at_us.get(oldest, now) - 1, now)):
        with pytest.raises(Fault) as caught:
            reads.nodes_at(wanted)
        assert caught.value.code == Code.GONE
        assert f"index {oldest}" in caught.value.message
    for wanted in (Moment(walk.machine.state.index + 1, 0, now), Moment(0, now + 1, now)):
        with pytest.raises(Fault) as caught:
            reads.nodes_at(wanted)
        assert caught.value.code == Code.INVALID
        assert "later than now" in caught.value.message
    walk.store.close()


def test_a_task_that_was_trimmed_since_is_not_there() -> None:
    walk = walked(5, trims=False)
    m, index = walk.machine, walk.machine.state.index
    ended = [row.id for row in walk.tasks_at(index).values() if row.state in ENDED and not row.workflow_id]
    assert ended
    assert walk.store.reads.task_at(ended[0], walk.moment(index))[0] is not None
    m.apply(Command(history_trim=HistoryTrim(before_us=m.now_us + 1, ids=ended)), after_us=HOUR_US)
    walk.save()
    assert Key(Table.TASKS, ended[0]) not in m.rows
    for task_id in (ended[0], "never"):
        assert walk.store.reads.task_at(task_id, walk.moment(index))[0] is None
    walk.store.close()


def test_what_would_take_too_long_is_given_up() -> None:
    walk = walked(5, trims=False)
    impatient = SlowReads(walk.store.reads._connection, walk.store.reads._codecs, step=10, steps_limit=1)
    with pytest.raises(Fault, match="too long") as caught:
        impatient.diff(walk.moment(walk.oldest()), walk.moment(walk.machine.state.index), 0)
    assert caught.value.code == Code.DEADLINE
    assert walk.store.reads.nodes_at(walk.moment(walk.oldest()))[0], "the next read is whole again"
    walk.store.close()
