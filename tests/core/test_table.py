"""The transition table: what it has is possible, and nothing else; what a submission and an assignment need."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import (
    Command,
    NodeCordon,
    NodeJoin,
    NodeLeave,
    TaskAnnotate,
    TaskPriority,
    WorkflowAdvance,
)
from cortex.v1.types_pb2 import Node, Requests, Task
from node.core import machine, rules
from node.core.faults import Code
from node.core.model import ASSIGNED, QUEUED, RUNNING
from tests.core.cluster import (
    Machine,
    assign,
    cancel,
    cluster,
    complete,
    failed,
    fenced,
    migrate,
    queue_timeout,
    retry,
)
from tests.core.states import WAYS, Made, assigned, completed, queued, running

COMMANDS: dict[str, Callable[[Task], Command]] = {
    "task_assign": lambda task: assign(task.id),
    "task_started": lambda task: fenced("task_started", task.id, task.fence),
    "task_complete": lambda task: complete(task.id, task.fence),
    "task_failed": lambda task: failed(task.id, task.fence),
    "task_stopped": lambda task: fenced("task_stopped", task.id, task.fence, cause=types_pb2.CAUSE_LEASE),
    "task_recalled": lambda task: fenced("task_recalled", task.id, task.fence),
    "task_lost": lambda task: fenced("task_lost", task.id, task.fence),
    "task_cancel": lambda task: cancel(task.id, "enough"),
    "task_retry": lambda task: retry(task.id),
    "task_migrate": lambda task: migrate(task.id),
    "task_escalate": lambda task: fenced("task_escalate", task.id, task.fence),
    "task_ready": lambda task: fenced("task_ready", task.id, task.fence),
    "task_dead_letter": lambda task: queue_timeout(task.id),
    "workflow_advance": lambda task: Command(
        workflow_advance=WorkflowAdvance(task=task.id, verdict=True, input_sha256=rules.input_sha256(()))
    ),
    "task_priority": lambda task: Command(task_priority=TaskPriority(id=task.id, priority=9)),
    "task_annotate": lambda task: Command(task_annotate=TaskAnnotate(id=task.id, text="checked")),
}
# Where the plain command of COMMANDS is refused by a guard that has a test of its own.
GUARDED = {(ASSIGNED, "task_retry"), (RUNNING, "task_retry"), (QUEUED, "task_dead_letter")}


def test_commands_are_those_of_the_table() -> None:
    assert set(COMMANDS) == machine.TASK_COMMANDS


@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize("state", WAYS)
def test_only_the_table_is_possible(state: types_pb2.TaskState.ValueType, kind: str) -> None:
    m, task_id = WAYS[state]()
    before = m.task(task_id)
    assert before.state == state
    reply = m.one(COMMANDS[kind](before))
    rule = machine.TASK_TABLE.get((state, kind))
    if rule is not None and (state, kind) not in GUARDED:
        assert reply.accepted
        assert m.task(task_id).state in rule.to
        return
    assert not reply.accepted
    assert reply.code in (Code.WRONG_STATE, Code.STALE_FENCE)
    assert m.task(task_id) == before
    (event,) = m.last_events()
    assert (event.type, event.task, event.state) == (types_pb2.EVENT_TYPE_REJECTED, task_id, state)


@pytest.mark.parametrize("kind", sorted(machine.FENCED))
@pytest.mark.parametrize("way", [assigned, running])
def test_another_fence_changes_nothing(way: Callable[[], Made], kind: str) -> None:
    m, task_id = way()
    before = m.task(task_id)
    for fence in (0, before.fence - 1, before.fence + 1):
        command = COMMANDS[kind](before)
        getattr(command, kind).fence = fence
        assert m.one(command).code == Code.STALE_FENCE
        assert m.task(task_id) == before


def test_unknown_task() -> None:
    m = cluster()
    reply = m.one(cancel("nobody"))
    assert (reply.accepted, reply.code) == (False, Code.NOT_FOUND)
    assert m.last_events()[0].task == "nobody"


def test_submitted_task_is_complete() -> None:
    m = cluster()
    reply = m.apply(Command(task_submit=m.submission(priority=7)), actor="ann")
    task = m.task(reply.commands[0].id)
    assert (task.state, task.priority, task.run, task.attempt, task.actor) == (QUEUED, 7, 1, 0, "ann")
    assert task.created_at_us == task.queued_at_us == m.now_us
    assert task.created_index == task.modified_index == reply.index
    (event,) = m.last_events()
    assert (event.id, event.type, event.actor) == (f"{reply.index}-0", types_pb2.EVENT_TYPE_SUBMITTED, "ann")
    assert (event.state, event.run, event.at_us) == (QUEUED, 1, m.now_us)


def test_an_id_is_used_once_even_after_it_left_memory() -> None:
    m, task_id = completed()
    assert task_id not in m.state.tasks
    again = m.submission()
    again.id = task_id
    assert m.one(Command(task_submit=again)).code == Code.ALREADY_EXISTS


@pytest.mark.parametrize(
    ("field", "value"),
    [("id", ""), ("id", "a b"), ("id", "x" * 65), ("name", "a\x1b[31m"), ("priority", 11), ("priority", -1)],
)
def test_a_bad_submission_is_refused_by_apply_too(field: str, value: object) -> None:
    m = cluster()
    submission = m.submission()
    setattr(submission, field, value)
    reply = m.one(Command(task_submit=submission))
    assert reply.code == Code.INVALID
    assert m.state.live_count() == 0


def test_other_types_are_refused() -> None:
    m = cluster()
    submission = m.submission()
    submission.spec.type = 99  # type: ignore[assignment]
    assert "not supported" in m.one(Command(task_submit=submission)).message


def test_assignment_takes_its_index_as_fence() -> None:
    m, task_id = queued()
    fence = m.assign(task_id, "n2")
    task = m.task(task_id)
    assert (task.state, task.node, task.fence) == (ASSIGNED, "n2", fence)
    assert (task.assigned_at_us, task.started_at_us, task.placement.node) == (m.now_us, 0, "n2")
    assert m.state.by_node == {"n2": {task_id}}


def test_not_before_it_is_due() -> None:
    m = cluster()
    task_id, fence = m.running()
    m.one(failed(task_id, fence, delay_us=5_000))
    due_us = m.task(task_id).scheduled_after_us
    assert due_us == m.now_us + 5_000
    assert m.one(assign(task_id), after_us=4_999).code == Code.WRONG_STATE
    assert m.one(assign(task_id), after_us=1).accepted


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (Command(node_cordon=NodeCordon(id="n1", cordoned=True)), Code.WRONG_STATE),
        (Command(node_leave=NodeLeave(id="n1")), Code.WRONG_STATE),
        (Command(node_leave=NodeLeave(id="n1", removed=True)), Code.WRONG_STATE),
        (Command(node_join=NodeJoin(node=Node(id="n1", incarnation="i1"))), Code.WRONG_STATE),
    ],
)
def test_not_to_a_node_that_takes_nothing(change: Command, code: Code) -> None:
    m, task_id = queued()
    assert m.one(change).accepted
    assert m.one(assign(task_id)).code == code
    assert m.one(assign(task_id, "n2")).accepted


def test_not_to_an_unknown_node() -> None:
    m, task_id = queued()
    assert m.one(assign(task_id, "n9")).code == Code.NOT_FOUND


def test_slots_and_512_more() -> None:
    m = Machine()
    m.join("n1", slots=3)
    ids = [m.apply(Command(task_submit=m.submission())).commands[0].id for _ in range(516)]
    replies = m.apply(*(assign(task_id) for task_id in ids)).commands
    assert [reply.accepted for reply in replies] == [True] * 515 + [False]
    m.one(complete(ids[0], m.task(ids[0]).fence))
    assert m.one(assign(ids[-1])).accepted


def test_reservations_fit_to_the_last_unit() -> None:
    m = Machine()
    m.join("n1", slots=9, capacity=Requests(cpu_millis=2000, memory_bytes=100, gpus=1))
    half = [m.submit(requests=Requests(cpu_millis=1000)) for _ in range(3)]
    replies = m.apply(*map(assign, half)).commands
    assert [reply.accepted for reply in replies] == [True, True, False]
    assert "cpu_millis" in replies[2].message
    assert m.one(assign(m.submit(requests=Requests(memory_bytes=101)))).code == Code.WRONG_STATE
    assert m.one(assign(m.submit(requests=Requests(memory_bytes=100, gpus=1)))).accepted
    assert m.one(assign(m.submit(requests=Requests(gpus=1)))).code == Code.WRONG_STATE
    assert m.one(assign(m.submit())).accepted
    assert m.state.reserved("n1") == Requests(cpu_millis=2000, memory_bytes=100, gpus=1)
    m.one(complete(half[0], m.task(half[0]).fence))
    assert m.one(assign(half[2])).accepted


def test_a_lock_has_one_holder_and_is_given_back() -> None:
    m = cluster()
    first, second = (m.submit(locks=["db", "disk"]) for _ in range(2))
    replies = m.apply(assign(first), assign(second, "n2")).commands
    assert [reply.accepted for reply in replies] == [True, False]
    assert first in replies[1].message
    m.apply(fenced("task_recalled", first, m.task(first).fence), assign(second, "n2"))
    assert m.state.locks == {"db": second, "disk": second}


def test_limit_per_key() -> None:
    m = cluster()
    ids = [m.submit(limit_key="api", limit_count=2) for _ in range(3)]
    replies = m.apply(*map(assign, ids)).commands
    assert [reply.accepted for reply in replies] == [True, True, False]
    m.apply(complete(ids[0], m.task(ids[0]).fence), assign(ids[2]))
    assert m.state.limit_use == {"api": 2}


def test_one_fence_per_entry_and_task() -> None:
    m, task_id = queued()
    index = m.state.index + 1
    replies = m.apply(assign(task_id), fenced("task_recalled", task_id, index), assign(task_id)).commands
    assert [reply.accepted for reply in replies] == [True, True, False]
