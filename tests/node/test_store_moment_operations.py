"""Operations, their tasks and the causes of dead letters of the past: the queries say what stood there then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.v1.log_pb2 import Entry, Reply
from cortex.v1.types_pb2 import Operation, Task
from node.core.faults import Code, Fault
from node.core.model import DEAD_LETTER, LIVE_OPERATION, QUEUED
from node.store import TaskQuery
from node.store.asof import Moment
from node.store.operations import OperationPage
from node.store.queries import TaskPage
from node.store.slow import SlowReads
from tests.core.operating import CAUSE, bulk, letter
from tests.node.past_walk import PastWalk

STEPS = 150
ALWAYS = ("id", "kind", "state", "actor", "reason", "node", "created_index", "created_at_us", "not_before_us")


def walked(seed: int) -> PastWalk:
    walk = PastWalk(seed, trims=False)
    for _ in range(STEPS):
        walk.step()
    return walk


def moments(walk: PastWalk, seed: int) -> list[int]:
    known = sorted(index for index in walk.was if index >= walk.oldest())
    return sorted(Random(seed).sample(known, min(6, len(known))))


def operation_pages(reads: SlowReads, live: bool, wanted: Moment) -> list[Operation]:
    found: list[Operation] = []
    cursor = ""
    while True:
        page: OperationPage = reads.list_operations_at(live, 2, cursor, wanted)[0]
        found += page.operations
        cursor = page.next_cursor
        if not cursor:
            return found


def task_pages(read: Callable[[str], TaskPage]) -> tuple[list[Task], int]:
    found: list[Task] = []
    cursor = ""
    while True:
        page = read(cursor)
        found += page.tasks
        cursor = page.next_cursor
        if not cursor:
            return found, page.total


def newest_first(rows: list[Operation]) -> list[str]:
    return [row.id for row in sorted(rows, key=lambda row: (row.created_index, row.id), reverse=True)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_operations_are_listed_as_they_were(seed: int) -> None:
    walk = walked(seed)
    reads = walk.store.reads
    for index in moments(walk, seed):
        truth = walk.operations_at(index)
        found = operation_pages(reads, False, walk.moment(index))
        assert [row.id for row in found] == newest_first(list(truth.values()))
        alive = [row for row in truth.values() if row.state in LIVE_OPERATION]
        assert [row.id for row in operation_pages(reads, True, walk.moment(index))] == newest_first(alive)
        for row in found:
            was = truth[row.id]
            assert all(getattr(row, name) == getattr(was, name) for name in ALWAYS)
            assert row.begun_at_us == was.begun_at_us
            assert (row.ended_at_us, row.outcome) == (was.ended_at_us, was.outcome)
            assert row.bulk.ids == was.bulk.ids
            assert not row.HasField("counts") or row.counts == was.counts
            single, _ = reads.operation_at(row.id, walk.moment(index))
            assert single == row
        later = set(walk.operations_at(max(walk.was))) - set(truth)
        assert all(reads.operation_at(one, walk.moment(index))[0] is None for one in later)
    walk.store.close()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_tasks_of_an_operation_are_those_of_then(seed: int) -> None:
    walk = walked(seed)
    reads = walk.store.reads
    for index in moments(walk, seed):
        truth = walk.tasks_at(index)
        for operation in sorted({row.operation for row in truth.values()} - {""} | {"op0"}):
            wanted = {row.id: row for row in truth.values() if row.operation == operation}
            for states in ((), (QUEUED, DEAD_LETTER)):

                def read(cursor: str, operation: str = operation, states: tuple[int, ...] = states) -> TaskPage:
                    query = TaskQuery(operation=operation, states=states, limit=2, cursor=cursor)
                    return reads.list_tasks_at(query, walk.moment(index))[0]  # noqa: B023

                found, total = task_pages(read)
                kept = [row for row in wanted.values() if not states or row.state in states]
                kept.sort(key=lambda row: (row.created_index, row.id), reverse=True)
                assert [(row.id, row.state, row.operation) for row in found] == [
                    (row.id, row.state, operation) for row in kept
                ]
                assert total == len(kept)
    walk.store.close()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_dead_letters_are_grouped_by_the_causes_of_then(seed: int) -> None:
    walk = walked(seed)
    reads = walk.store.reads
    for index in moments(walk, seed):
        letters = [row for row in walk.tasks_at(index).values() if row.state == DEAD_LETTER]
        causes, _ = reads.list_causes_at(100, walk.moment(index))
        counts = Counter(row.fingerprint for row in letters)
        assert [(one.fingerprint, one.count) for one in causes] == sorted(
            counts.items(), key=lambda item: (-item[1], item[0])
        )
        for cause in causes:
            same = [row for row in letters if row.fingerprint == cause.fingerprint]
            times = [row.dead_lettered_at_us for row in same]
            assert (cause.first_at_us, cause.last_at_us) == (min(times), max(times))
            nodes = Counter(row.node for row in same if row.node)
            assert sorted(cause.nodes, key=lambda node: (-nodes[node], node)) == cause.nodes
            assert set(cause.nodes) == set(nodes)
            newest = max(same, key=lambda row: (row.dead_lettered_at_us, row.id))
            assert cause.sample is not None
            assert (cause.sample.id, cause.sample.error) == (newest.id, newest.error)
            if not cause.fingerprint:
                continue

            def read(cursor: str, cause: str = cause.fingerprint) -> TaskPage:
                query = TaskQuery(limit=2, cursor=cursor)
                return reads.list_letters_at(cause, query, walk.moment(index))[0]  # noqa: B023

            found, total = task_pages(read)
            same.sort(key=lambda row: (row.dead_lettered_at_us, row.id), reverse=True)
            assert [row.id for row in found] == [row.id for row in same]
            assert total == len(same)
            assert {row.fingerprint for row in found} == {cause.fingerprint}
            assert [row.error for row in found] == [row.error for row in same]
    walk.store.close()


def test_what_nobody_knew_then_is_refused() -> None:
    walk = walked(1)
    last = max(walk.was)
    with pytest.raises(Fault) as caught:
        walk.store.reads.list_letters_at("nothing", TaskQuery(), walk.moment(last))
    assert caught.value.code == Code.NOT_FOUND
    for read in (
        lambda: walk.store.reads.list_causes_at(10, walk.moment(last + 9)),
        lambda: walk.store.reads.list_operations_at(False, 10, "", walk.moment(last + 9)),
        lambda: walk.store.reads.list_operations_at(False, 10, "nonsense!", walk.moment(last)),
        lambda: walk.store.reads.list_operations_at(False, 1001, "", walk.moment(last)),
    ):
        with pytest.raises(Fault) as caught:
            read()
        assert caught.value.code == Code.INVALID
    walk.store.close()


def test_a_letter_that_two_operations_revived_is_each_ones_in_its_time() -> None:
    walk = PastWalk(0, trims=False)
    m, reads = walk.machine, walk.store.reads
    task = saved(walk, lambda: letter(m))
    dead = [m.state.index]
    for operation in ("op-a", "op-b"):
        command = bulk("retry", operation, ids=[task])
        saved(walk, lambda command=command: m.apply(command, actor="ann"))  # type: ignore[misc]
        saved(walk, lambda: letter(m, task, fingerprint="other"))
        dead.append(m.state.index)

    def tasks_of(operation: str, index: int) -> list[str]:
        return [row.id for row in reads.list_tasks_at(TaskQuery(operation=operation), walk.moment(index))[0].tasks]

    assert [tasks_of("op-a", index) for index in dead] == [[], [task], []]
    assert [tasks_of("op-b", index) for index in dead] == [[], [], [task]]
    for index, cause in zip(dead, (CAUSE, "other", "other"), strict=True):
        (found,) = reads.list_causes_at(10, walk.moment(index))[0]
        assert (found.fingerprint, found.count, found.nodes) == (cause, 1, ["n1"])
        was = walk.tasks_at(index)[task]
        assert found.last_at_us == was.dead_lettered_at_us
        assert found.sample is not None
        assert found.sample.error == was.error
        page, _ = reads.list_letters_at(cause[:3], TaskQuery(), walk.moment(index))
        assert [row.id for row in page.tasks] == [task]
    walk.store.close()


T = TypeVar("T")


def saved(walk: PastWalk, change: Callable[[], T]) -> T:
    """What a change of several entries answers, once each is saved."""
    plain = walk.machine.apply_entry

    def apply(entry: Entry) -> Reply:
        reply = plain(entry)
        walk.save()
        return reply

    walk.machine.apply_entry = apply  # type: ignore[method-assign]
    try:
        return change()
    finally:
        walk.machine.apply_entry = plain  # type: ignore[method-assign]


def test_the_walks_reach_what_is_compared() -> None:
    """Letters revived or discarded since, and operations under way then."""
    reached: Counter[str] = Counter()
    for seed in range(6):
        walk = walked(seed)
        last = walk.tasks_at(max(walk.was))
        for index in moments(walk, seed):
            was = walk.tasks_at(index).items()
            gone = (key for key, row in was if row.state == DEAD_LETTER and last[key].state != DEAD_LETTER)
            reached["letters gone"] += len(list(gone))
            operations = walk.operations_at(index).values()
            reached["under way"] += sum(row.state in LIVE_OPERATION for row in operations)
        walk.store.close()
    assert reached["letters gone"]
    assert reached["under way"]
