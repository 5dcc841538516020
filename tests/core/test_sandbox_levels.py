"""A task goes only where its sandbox level is offered, and whoever asks is told why not elsewhere."""

from __future__ import annotations

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1.cluster_pb2 import SubmitWorkflowRequest, WorkflowTaskRequest
from node.core import settings, validate, workflow
from node.core.explain import why
from node.core.faults import Fault
from node.core.filters import ask_of
from node.core.queue import Queue, group_key
from node.core.scheduler import Limits
from node.core.waiting import Survey, shape_of
from tests.core.cluster import assign, cluster
from tests.core.scheduling import node, pass_over, places, sample, state_of, task
from tests.core.test_drain_rehearsal import on, rehearsed
from tests.core.test_validate import request
from tui.store.waiting import shape_of as shape_by_client

STRICT, DEFAULT, NONE = t.SANDBOX_LEVEL_STRICT, t.SANDBOX_LEVEL_DEFAULT, t.SANDBOX_LEVEL_NONE
WHY_NOT = "bubblewrap is not installed: install it, restart"


def offering(node_id: str, *levels: t.SandboxLevel.ValueType) -> t.Node:
    row = node(node_id)
    for level in (NONE, DEFAULT, STRICT):
        there = level in levels
        row.sandboxes.add(level=level, available=there, reason="" if there else WHY_NOT)
    return row


def wanting(task_id: str, level: t.SandboxLevel.ValueType) -> t.Task:
    row = task(task_id)
    row.spec.sandbox = level
    return row


def test_a_task_is_placed_only_where_its_level_is_offered() -> None:
    rows = [offering("a", NONE), offering("b", NONE, DEFAULT), offering("c", NONE, DEFAULT, STRICT), node("old")]
    state = state_of(*rows, wanting("s", STRICT))
    assert places(pass_over(state, {row.id: sample() for row in rows})) == {"s": "c"}
    state = state_of(*rows[:2], rows[3], wanting("s", STRICT))
    assert places(pass_over(state, {row.id: sample() for row in rows})) == {}


def test_a_node_that_says_nothing_of_levels_offers_none() -> None:
    state = state_of(node("old"), wanting("n", NONE))
    assert places(pass_over(state, {"old": sample()})) == {"n": "old"}


def test_the_why_not_names_the_level_and_what_would_change_it() -> None:
    wants = wanting("s", STRICT)
    (found,) = why(state_of(offering("a", NONE), wants), {"a": sample()}, wants)
    assert (found.eligible, found.reason) == (False, "sandbox level strict not offered")
    assert found.flip == f"make sandbox level strict work on a ({WHY_NOT})"
    (found,) = why(state_of(node("a"), wants), {"a": sample()}, wants)
    assert found.flip == "make sandbox level strict work on a"


def test_what_waits_for_a_level_waits_apart_and_says_so() -> None:
    wants, plain = wanting("s", STRICT), wanting("n", NONE)
    state = state_of(offering("a", NONE), wants, plain)
    queue = Queue()
    queue.load(state)
    survey = Survey(state, queue, {"a": sample()}, Limits())
    reasons = {each: survey.reason(found) for each in ("s", "n") if (found := queue.group_of(each)) is not None}
    assert reasons == {"s": "sandbox level strict not offered", "n": ""}


@pytest.mark.parametrize("level", [t.SANDBOX_LEVEL_UNSPECIFIED, NONE, DEFAULT, STRICT])
def test_a_shape_is_what_a_client_makes_from_the_spec(level: t.SandboxLevel.ValueType) -> None:
    spec = wanting("s", level).spec
    assert shape_of(group_key(spec)) == shape_by_client(spec)
    assert ask_of(spec).sandbox == (level if level in (DEFAULT, STRICT) else 0)


def test_the_clusters_level_is_stamped_on_commands_that_name_none() -> None:
    row = t.Setting(name=settings.SANDBOX, value='"strict"')
    level = settings.sandbox(row)
    assert (level, settings.sandbox(None)) == (STRICT, NONE)
    assert validate.complete(request(), "t1", sandbox=level).spec.sandbox == STRICT
    assert validate.complete(request({"sandbox": NONE}), "t1", sandbox=level).spec.sandbox == NONE
    service = request({"type": t.TASK_TYPE_SERVICE})
    assert validate.complete(service, "t1", sandbox=level).spec.sandbox == STRICT
    noop = request({"type": t.TASK_TYPE_NOOP, "argv": []})
    assert validate.complete(noop, "t1", sandbox=level).spec.sandbox == NONE


def test_the_tasks_of_a_workflow_get_it_too() -> None:
    asked = SubmitWorkflowRequest(tasks=[WorkflowTaskRequest(key="a", task=request())])
    (made,) = workflow.complete(asked, "w", sandbox=DEFAULT).tasks
    assert made.spec.sandbox == DEFAULT


def test_a_level_is_a_setting_with_three_values() -> None:
    assert settings.flaw(settings.SANDBOX, '"default"') is None
    assert settings.flaw(settings.SANDBOX, '"tight"') == "sandbox must be one of none, default, strict."


def test_no_other_type_takes_a_level() -> None:
    with pytest.raises(Fault, match="A noop task runs at no sandbox level"):
        validate.complete(request({"type": t.TASK_TYPE_NOOP, "argv": [], "sandbox": STRICT}), "t1")


def test_an_assignment_to_a_node_without_the_level_is_refused() -> None:
    m = cluster(nodes=1)
    task_id = m.submit(sandbox=STRICT)
    reply = m.one(assign(task_id))
    assert (reply.accepted, reply.message) == (False, "Node n1 does not offer sandbox level strict.")
    offer = t.SandboxOffer(level=STRICT, available=True)
    assert m.join("n2", sandboxes=[offer]).accepted
    assert m.one(assign(task_id, "n2")).accepted


def test_a_drain_finds_no_place_where_the_level_is_not_offered() -> None:
    found = rehearsed(state_of(offering("a", STRICT), offering("b", NONE), on("a", "s", sandbox=STRICT)))
    assert [(item.task, item.reason) for item in found.stuck] == [
        ("s", "No other node takes it: sandbox level strict not offered (1 node).")
    ]
    found = rehearsed(state_of(offering("a", STRICT), offering("b", STRICT), on("a", "s", sandbox=STRICT)))
    assert [move.to for move in found.moves] == ["b"]
