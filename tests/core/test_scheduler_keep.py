"""Nothing starves for what it reserves: after 30 minutes a node runs empty for it."""

from __future__ import annotations

from typing import Any

from cortex.v1.types_pb2 import Task
from node.core.explain import why
from node.core.model import RUNNING, Change, Outcome, Table
from node.core.queue import Queue
from node.core.scheduler import KEEP_AFTER_US, Limits, plan
from node.core.waiting import Survey
from tests.core.scheduling import NOW_US, node, places, state_of, task

LONG_US = KEEP_AFTER_US + 1
CPU = {"capacity": (4000, 0, 0)}


def on(node_id: str, task_id: str, cpu_millis: int = 1000) -> Task:
    row = task(task_id, cpu_millis=cpu_millis)
    row.state, row.node, row.fence = RUNNING, node_id, 3
    return row


def aged(task_id: str, age_us: int, **fields: Any) -> Task:
    row = task(task_id, **fields)
    row.created_at_us = row.queued_at_us = NOW_US - age_us
    return row


def planned(*rows: Any) -> tuple[dict[str, str], dict[str, str]]:
    state, queue = state_of(*rows), Queue()
    queue.load(state)
    found = plan(queue, state, {}, Limits(), NOW_US, 99)
    return places(found.placements), dict(found.kept)


def test_a_node_is_kept_for_who_has_waited_long_enough_and_not_before() -> None:
    rows = [node("a", 8, **CPU), on("a", "r"), task("small", cpu_millis=1000)]
    assert planned(*rows, aged("large", KEEP_AFTER_US, cpu_millis=4000)) == ({"small": "a"}, {})
    assert planned(*rows, aged("large", LONG_US, cpu_millis=4000)) == ({}, {"a": "large"})


def test_what_reserves_nothing_still_runs_there() -> None:
    rows = [node("a", 8, **CPU), on("a", "r"), task("plain"), task("locked", locks=["l"])]
    found, kept = planned(*rows, aged("large", LONG_US, cpu_millis=4000))
    assert found == {"plain": "a", "locked": "a"}
    assert kept == {"a": "large"}


def test_the_node_that_lacks_least_is_kept_and_the_others_go_on() -> None:
    nodes = [node(name, 8, **CPU) for name in ("a", "b")]
    rows = [*nodes, on("a", "r", 2000), on("b", "s", 1000), *(task(f"t{n}", cpu_millis=1000) for n in range(5))]
    found, kept = planned(*rows, aged("large", LONG_US, cpu_millis=4000))
    assert kept == {"b": "large"}
    assert set(found.values()) == {"a"}
    assert len(found) == 2


def test_a_task_that_no_node_could_ever_take_keeps_none() -> None:
    rows = [node("a", 8, **CPU), on("a", "r"), task("small", cpu_millis=1000)]
    assert planned(*rows, aged("huge", LONG_US, cpu_millis=4001)) == ({"small": "a"}, {})
    nowhere = aged("nowhere", LONG_US, cpu_millis=4000, labels=["x"])
    assert planned(*rows, nowhere) == ({"small": "a"}, {})


def test_at_most_half_of_the_nodes_are_kept() -> None:
    nodes = [node(name, 8, **CPU) for name in ("a", "b", "c", "d")]
    rows = [*nodes, *(on(one.id, f"r{one.id}") for one in nodes)]
    larges = [aged(f"large{n}", LONG_US + n, cpu_millis=4000 - n) for n in range(4)]
    found, kept = planned(*rows, *larges, *(task(f"t{n}", cpu_millis=1000) for n in range(20)))
    assert len(kept) == 2
    assert set(found.values()) == set("abcd") - set(kept)


def test_why_and_lists_say_so() -> None:
    small = task("small", cpu_millis=1000)
    state = state_of(node("a", 8, **CPU), on("a", "r"), small, aged("large", LONG_US, cpu_millis=4000))
    queue = Queue()
    queue.load(state)
    found = plan(queue, state, {}, Limits(), NOW_US, 9)
    assert found.placements == []
    limits = Limits(kept=found.kept)
    (verdict,) = why(state, {}, small, limits)
    assert verdict.reason == "kept for task large, which has waited longer for what it reserves"
    assert verdict.flip == "wait until task large has begun"
    group = queue.group_of("small")
    assert group is not None
    assert Survey(state, queue, {}, limits).reason(group) == "kept for a task that has waited longer"


def test_it_begins_as_soon_as_the_last_one_ends_though_others_keep_coming() -> None:
    """Each round one of the small ones ends and another one is submitted."""
    state = state_of(
        node("a", 8, **CPU),
        *(on("a", f"r{n}") for n in range(4)),
        aged("large", LONG_US, cpu_millis=4000),
    )
    queue = Queue()
    queue.load(state)
    for number in range(4):
        ended = state.tasks[f"r{number}"]
        coming = task(f"s{number}", cpu_millis=1000)
        changes = [Change(Table.TASKS, ended.id, ended, None), Change(Table.TASKS, coming.id, None, coming)]
        state.commit(Outcome(tuple(changes), None), number + 2, 1, NOW_US)  # type: ignore[arg-type]
        queue.observe(changes)
        found = plan(queue, state, {}, Limits(), NOW_US, 9).placements
        assert places(found) == ({"large": "a"} if number == 3 else {})
