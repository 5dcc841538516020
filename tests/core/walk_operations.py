"""Operations for random walks: started with and without a window, advanced rightly or not, stopped."""

from __future__ import annotations

from random import Random

from cortex.v1.log_pb2 import Command, TaskAnnotate, TaskPriority
from cortex.v1.types_pb2 import Operation, Task
from node.core.model import DEAD_LETTER, LIVE_OPERATION, Table
from tests.core.cluster import Machine
from tests.core.operating import advance, bulk, stop

_KINDS = ("retry", "retry", "discard", "priority")


def note(random: Random, task_id: str) -> Command:
    """An annotation or a priority, now and then a bad one."""
    if random.random() < 0.5:
        return Command(task_annotate=TaskAnnotate(id=task_id, text=random.choice(("checked", ""))))
    return Command(task_priority=TaskPriority(id=task_id, priority=random.randint(0, 11)))


def operation(random: Random, m: Machine, ids: list[str]) -> Command:
    """A command about an operation that mostly fits the state."""
    rows = [row for key, row in sorted(m.rows.items()) if isinstance(row, Operation)]
    live = [row for row in rows if row.state in LIVE_OPERATION]
    which = random.random()
    if not live or which < 0.3:
        return _start(random, ids, f"op{len(rows) - (random.random() < 0.1)}")
    chosen = random.choice(live)
    if which < 0.4:
        return stop(chosen.id, undo=random.random() < 0.5)
    letters = [
        key.id
        for key, row in m.rows.items()
        if key.table is Table.TASKS and isinstance(row, Task) and row.state == DEAD_LETTER
    ]
    page = list(chosen.bulk.ids) or letters
    picked = random.sample(page, min(len(page), random.randint(0, 3)))
    fits = random.random() < 0.9
    return advance(
        chosen.id,
        begin=(chosen.begun_at_us == 0) == fits,
        cursor=chosen.cursor if fits else "stale",
        next_cursor=f"{m.state.index}",
        ids=picked,
        total=len(letters),
        done=random.random() < 0.2,
        step=chosen.bulk.step + 1 if chosen.bulk.canary else 0,
        step_end=chosen.bulk.step_end + len(picked) if chosen.bulk.canary else 0,
    )


def _start(random: Random, ids: list[str], operation_id: str) -> Command:
    kind = random.choice(_KINDS)
    window_us = random.choice((0, 1000))
    some = random.sample(ids, min(len(ids), random.randint(1, 3)))
    if kind == "priority" or random.random() < 0.5:
        return bulk(kind, operation_id, window_us, "enough", ids=some, priority=3 if kind == "priority" else 0)
    return bulk(kind, operation_id, window_us, "enough", fingerprint="f1", canary=kind == "retry")
