"""Random histories: the state machine and a naive model of the promises agree after every command."""

from __future__ import annotations

from collections import Counter

import pytest

from cortex.v1.types_pb2 import Task, TaskState
from node.core.model import Key, Table
from tests.core.small_model import Job, SmallModel
from tests.core.test_machine_random import NODES, Walk

STEPS = 400


def told(row: Task) -> tuple[object, ...]:
    state = TaskState.Name(row.state).removeprefix("TASK_STATE_").lower()
    on_node = state in ("assigned", "running")
    return (
        state,
        row.node,
        row.attempt,
        row.run,
        row.losses,
        row.idles,
        bool(row.excused),
        bool(row.lost_at_us),
        on_node and row.cancel_requested,
        on_node and row.migrate_requested,
        set(row.unstartable_nodes),
    )


def expected(job: Job) -> tuple[object, ...]:
    on_node = job.state in ("assigned", "running")
    return (
        job.state,
        job.node,
        job.attempt,
        job.run,
        job.losses,
        job.idles,
        job.excused,
        job.lost,
        on_node and job.cancelling,
        on_node and job.migrating,
        job.unstartable,
    )


def walk(seed: int, steps: int) -> Counter[str]:
    """Kinds of commands, with whether they were accepted."""
    history, model = Walk(seed), SmallModel()
    for name in NODES:
        model.join(name, 2, 3000, 1000)
    reached: Counter[str] = Counter()
    for _ in range(steps):
        command = history.command()
        if not hasattr(model, command.WhichOneof("kind") or ""):
            continue  # the model tells of single tasks only
        answer = history.machine.one(command, after_us=history.random.choice((1, 10**4, 10**9)))
        accepted = model.tell(command, history.machine.state.index, history.machine.now_us)
        kind = command.WhichOneof("kind")
        assert answer.accepted == accepted, (seed, kind, answer.message)
        reached[f"{kind} {accepted}"] += 1
        if command.HasField("task_submit") and accepted and not answer.deduplicated:
            history.ids.append(answer.id)
        for task_id, job in model.jobs.items():
            row = history.machine.rows[Key(Table.TASKS, task_id)]
            assert isinstance(row, Task)
            assert told(row) == expected(job), (seed, kind, task_id)
    return reached


@pytest.mark.parametrize("seed", range(1000, 1025))
def test_the_machine_does_what_the_model_says(seed: int) -> None:
    walk(seed, STEPS)


def test_the_histories_reach_every_command_both_ways() -> None:
    reached: Counter[str] = Counter()
    for seed in range(10):
        reached += walk(seed, STEPS)
    reports = ("started", "recalled", "stopped", "lost", "complete", "failed")
    asked = ("submit", "assign", "cancel", "retry", "migrate", "dead_letter")
    for kind in (*reports, *asked):
        assert reached[f"task_{kind} True"], kind
        assert reached[f"task_{kind} False"], kind
