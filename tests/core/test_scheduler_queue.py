"""The order of the queue, and that keeping it change by change equals building it anew."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.v1.types_pb2 import Failure, Task
from node.core import queue as queue_module
from node.core import scheduler
from node.core.model import ASSIGNED, COMPLETED, QUEUED, RUNNING, Change, Outcome, Table
from node.core.queue import AGEING_US, Queue
from node.core.scheduler import Limits, plan
from node.core.state import ClusterState
from tests.core.scheduling import NOW_US, gpu, ids, node, pass_over, plain_plan, sample, state_of, task


def order(*rows: Task) -> list[str]:
    queue = Queue()
    queue.load(state_of(*rows))
    queue.wake(NOW_US)
    return queue.waiting(1000)


def aged(task_id: str, priority: int, age_us: int) -> Task:
    row = task(task_id, priority=priority)
    row.created_at_us = row.queued_at_us = NOW_US - age_us
    return row


def test_higher_priority_first_then_the_older_then_the_lower_id() -> None:
    rows = [aged("d", 5, 0), aged("c", 5, 60), aged("b", 10, 0), aged("a", 5, 0), aged("e", 0, 10**9)]
    assert order(*rows) == ["b", "c", "a", "d", "e"]


def test_age_outranks_a_priority_only_after_the_ageing_time() -> None:
    assert order(aged("old", 4, AGEING_US - 1), aged("new", 5, 0)) == ["new", "old"]
    assert order(aged("old", 4, AGEING_US + 1), aged("new", 5, 0)) == ["old", "new"]


def test_nothing_starves_behind_a_stream_of_the_highest_priority() -> None:
    assert order(aged("low", 0, 10 * AGEING_US + 5), *(aged(f"t{n}", 10, n) for n in range(5)))[0] == "low"


def test_a_recalled_task_keeps_its_age_and_a_retried_one_does_not() -> None:
    first, recalled, again = aged("first", 0, 50), aged("recalled", 0, 100), aged("again", 0, 200)
    recalled.queued_at_us = again.queued_at_us = NOW_US
    again.attempt = 1
    assert order(first, recalled, again) == ["recalled", "first", "again"]


def test_next_due_is_the_earliest_that_is_not_due_yet() -> None:
    queue = Queue()
    assert queue.next_due_us() is None
    rows = [task("a", scheduled_after_us=NOW_US + 5), task("b", scheduled_after_us=NOW_US + 3), task("c")]
    state = state_of(node("n"), *rows)
    queue.load(state)
    assert queue.next_due_us() == NOW_US + 3
    assert ids(plan(queue, state, {}, Limits(), NOW_US + 3, 9).placements) == ["b", "c"]
    assert queue.next_due_us() == NOW_US + 5
    queue.observe([Change(Table.TASKS, "a", rows[0], None)])
    assert queue.next_due_us() is None


def test_a_pass_leaves_the_queue_as_it_was() -> None:
    state = state_of(node("n", 5), *(task(f"t{n}", labels=["x"] if n % 3 == 0 else []) for n in range(9)))
    queue = Queue()
    queue.load(state)
    first = plan(queue, state, {}, Limits(), NOW_US, 9)
    assert ids(first.placements) == ["t1", "t2", "t4", "t5", "t7"]
    assert plan(queue, state, {}, Limits(), NOW_US, 9) == first
    assert len(queue) == 9


def test_an_edited_task_moves_to_its_new_place() -> None:
    old, new = task("t"), task("t", priority=9, labels=["x"])
    state = state_of(node("n"), old, task("u"))
    queue = Queue()
    queue.load(state)
    queue.observe([Change(Table.TASKS, "t", old, new)])
    assert queue.waiting(9) == ["t", "u"]
    assert len(queue) == 2


def test_struck_out_entries_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "_SLACK", 10)
    queue, row = Queue(), task("keeps")
    later = task("later", scheduled_after_us=NOW_US + 9)
    queue.observe([Change(Table.TASKS, "keeps", None, row), Change(Table.TASKS, "later", None, later)])
    for _ in range(500):
        queue.observe([Change(Table.TASKS, "t", None, task("t"))])
        queue.observe([Change(Table.TASKS, "later", later, later)])
    (group,) = queue._groups.values()
    assert group.held() <= 20
    assert len(queue._later) <= 20
    for name in ("t", "keeps", "later"):
        queue.observe([Change(Table.TASKS, name, None, None)])
    assert (len(queue), queue._groups, queue._shapes) == (0, {}, {})


NODES = st.sampled_from(["n0", "n1", "n2", "n3"])
PERCENT = st.integers(0, 100)


@st.composite
def tasks(draw: st.DrawFn, number: int) -> Task:
    some = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "requires_gpu": st.booleans(),
                "avoid_gaming": st.booleans(),
                "min_memory_mb": st.sampled_from([1, 8_000, 15_000]),
                "min_disk_gb": st.sampled_from([1, 500]),
                "labels": st.lists(st.sampled_from(["a", "b=1", "b=2"]), max_size=2),
                "capabilities": st.lists(st.sampled_from(["x", "y"]), max_size=2),
                "preferred_capabilities": st.lists(st.sampled_from(["x", "y"]), max_size=2),
                "allowed_nodes": st.lists(NODES, max_size=2),
                "excluded_nodes": st.lists(NODES, max_size=2),
                "target_node": st.sampled_from(["n0", "n1.lan", "other"]),
                "cpu_millis": st.sampled_from([500, 1500]),
                "memory_bytes": st.just(2),
                "gpus": st.just(1),
                "locks": st.lists(st.sampled_from(["l", "m"]), max_size=2),
                "limit": st.integers(1, 2),
                "unstartable_nodes": st.lists(NODES, max_size=2),
                "attempt": st.integers(0, 1),
                "losses": st.integers(0, 1),
                "scheduled_after_us": st.sampled_from([NOW_US - 1, NOW_US, NOW_US + 1]),
            },
        )
        if draw(st.booleans())
        else st.just({})
    )
    limit = some.pop("limit", 0)
    row = task(f"t{number:02}", priority=draw(st.integers(0, 3)), limit_count=limit, limit_key="k", **some)
    row.node = draw(NODES) if row.attempt or row.losses else ""
    row.created_at_us = NOW_US - draw(st.sampled_from([0, 1, AGEING_US]))
    return row


@st.composite
def clusters(draw: st.DrawFn) -> tuple[ClusterState, dict[str, object], Limits]:
    rows = []
    samples: dict[str, object] = {}
    for number in range(draw(st.integers(0, 4))):
        row = node(
            f"n{number}",
            draw(st.integers(0, 3)),
            hostname=draw(st.sampled_from(["n1.lan", "box"])),
            online=draw(st.sampled_from([True, True, True, False])),
            state=draw(st.sampled_from([2, 2, 2, 2, 3])),
            labels=draw(st.lists(st.sampled_from(["a", "b=1", "b=2"]), max_size=2)),
            capabilities=draw(st.lists(st.sampled_from(["x", "y"]), max_size=2)),
            capacity=draw(st.sampled_from([(0, 0, 0), (2000, 3, 1), (4000, 9, 2)])),
        )
        rows.append(row)
        if draw(st.integers(0, 3)):
            cards = [gpu(draw(PERCENT), gaming=draw(st.booleans())) for _ in range(draw(st.integers(0, 2)))]
            samples[row.id] = sample(
                draw(PERCENT), draw(PERCENT), draw(PERCENT), gpus=cards, gaming=draw(st.integers(0, 4)) == 0
            )
    for number in range(draw(st.integers(0, 14))):
        row = draw(tasks(number))
        if rows and draw(st.integers(0, 5)) == 0:
            row.state, row.node = draw(st.sampled_from([ASSIGNED, RUNNING])), draw(NODES)
        rows.append(row)
    limits = Limits(
        default_prefetch=draw(st.integers(0, 2)),
        reachable=draw(st.sampled_from([None, None, frozenset({"n0", "n2"})])),
    )
    return state_of(*rows), samples, limits


@pytest.mark.parametrize("patience", [1, 64])
@settings(max_examples=100, deadline=None)
@given(made=clusters(), most=st.integers(1, 20))
def test_a_pass_equals_looking_at_every_node_for_every_task(
    patience: int, made: tuple[ClusterState, dict[str, object], Limits], most: int
) -> None:
    state, samples, limits = made
    before = scheduler._PATIENCE
    scheduler._PATIENCE = patience  # type: ignore[misc]
    try:
        planned = pass_over(state, samples, limits, most)  # type: ignore[arg-type]
    finally:
        scheduler._PATIENCE = before  # type: ignore[misc]
    plain = plain_plan(state, samples, limits, most)  # type: ignore[arg-type]
    assert [(one.task_id, one.placement.node) for one in planned] == [(one, place) for one, place, _ in plain]
    assert [one.placement.score for one in planned] == pytest.approx([points for *_, points in plain], abs=1e-5)


@settings(max_examples=100, deadline=None)
@given(made=clusters(), seed=st.integers(0, 2**32), steps=st.integers(1, 25))
def test_a_queue_kept_change_by_change_equals_one_built_anew(
    made: tuple[ClusterState, dict[str, object], Limits], seed: int, steps: int
) -> None:
    state, samples, limits = made
    rng = random.Random(seed)
    queue = Queue()
    queue.load(state)
    now_us = NOW_US - 2
    for index in range(2, steps + 2):
        changes = tuple(_step(state, rng, number) for number in range(rng.randrange(3)))
        changes = tuple({change.id: change for change in changes}.values())
        state.commit(Outcome(changes, None), index, 1, NOW_US)  # type: ignore[arg-type]
        queue.observe(changes)
        if rng.random() < 0.2:
            samples = samples | {"n0": sample(rng.randrange(100))}
        fresh = Queue()
        fresh.load(state)
        now_us += rng.randrange(2)
        assert len(queue) == len(fresh)
        assert plan(queue, state, samples, limits, now_us, 9) == plan(fresh, state, samples, limits, now_us, 9)  # type: ignore[arg-type]
        assert queue.waiting(99) == fresh.waiting(99)
        assert queue.next_due_us() == fresh.next_due_us()


def _step(state: ClusterState, rng: random.Random, number: int) -> Change:
    """A change that apply could make: of a task's state, of what it asks, or of a node."""
    if rng.random() < 0.15 and state.nodes:
        old_node = state.nodes[rng.choice(sorted(state.nodes))]
        new_node = node(old_node.id, rng.randrange(4), online=rng.random() < 0.7)
        return Change(Table.NODES, old_node.id, old_node, new_node)
    name = f"t{rng.randrange(16):02}"
    old = state.tasks.get(name)
    if old is not None and rng.random() < 0.2:
        return Change(Table.TASKS, name, old, None)
    new = task(name, priority=rng.randrange(3), labels=rng.choice([[], ["a"]]), locks=rng.choice([[], [], ["l"]]))
    new.state = rng.choice([QUEUED, QUEUED, ASSIGNED, COMPLETED])
    if new.state != QUEUED:
        new.node, new.fence = "n0", rng.getrandbits(40)
    new.scheduled_after_us = rng.choice([0, 0, NOW_US, NOW_US + 3])
    return Change(Table.TASKS, name, old, new)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(1, 9))
def test_a_run_tries_all_nodes_before_one_where_it_failed_and_none_twice_in_a_row(
    loads: list[int], tries: int
) -> None:
    names = [f"n{number}" for number in range(len(loads))]
    samples = {name: sample(cpu=10 * load) for name, load in zip(names, loads, strict=True)}
    row, went = task("t"), list[str]()
    for attempt in range(tries):
        [(_, placement)] = pass_over(state_of(*map(node, names), row), samples)
        untried = set(names) - set(went)
        assert placement.node in (untried or names)
        assert placement.node not in went[-1:] or len(names) == 1
        assert ("rather than" in placement.reason) == (bool(went) and bool(untried))
        went.append(placement.node)
        row = task("t", attempt=attempt + 1)
        row.node = placement.node
        row.failures.extend(Failure(run=1, attempt=n, node=name) for n, name in enumerate(went))
