"""Plans about tasks: cancel, retry, priority. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from cortex.v1 import types_pb2
from tui.columns.base import Draw
from tui.columns.tasks import run_us
from tui.drawing.draw import Cell, age, count_of
from tui.drawing.format import duration
from tui.plans.base import Done, Plan, Task, command_line, in_parts, line, parts_said, split, task_line, tasks_of
from tui.source import Mutator
from tui.store.view import ENDED


def cancel(draw: Draw, ids: Sequence[str], reason: str = "") -> Plan:
    def refusal(task: Task) -> str:
        if task.state in ENDED:
            return "has ended"
        return "is being cancelled" if task.cancel_requested else ""

    taken, left = split(draw, ids, refusal)
    running = [task for task in taken if task.state == types_pb2.TASK_STATE_RUNNING]
    consequences: list[Cell] = []
    if running:
        kill_us = max(task.spec.kill_timeout_ms for task in running) * 1000
        lost_us = sum(run_us(task, draw.now_us) or 0 for task in running)
        grace = f" within {duration(kill_us)}" if kill_us else ""
        consequences.append(
            line(
                "warn",
                f"{tasks_of(len(running))} running: TERM now, KILL{grace}; {age(lost_us)} of work is lost.",
            )
        )
    if waiting := len(taken) - len(running):
        consequences.append(line("text", f"{tasks_of(waiting)} not started: will never run."))
    consequences.append(line("dim", "A cancel cannot be undone; the same command can be submitted again."))
    consequences += parts_said(len(taken))
    chosen = tuple(task.id for task in taken)

    async def call(mutator: Mutator) -> Done:
        replies = await in_parts(chosen, lambda part: mutator.cancel(part, reason))
        said = f"Cancel of {tasks_of(len(chosen))} accepted at index {count_of(replies[-1].index)}."
        return Done(said, audit=tuple(reply.operation_id for reply in replies))

    return Plan(
        "cancel",
        f"Cancel {tasks_of(len(taken))}",
        tuple(task_line(task, draw) for task in taken),
        tuple(consequences),
        tuple(left),
        command_line("cancel", chosen) + (f" --reason {shlex.quote(reason)}" if reason else ""),
        frozenset(f"{task.id} {'runs' if task in running else 'waits'}" for task in taken)
        # A task that has not started yet may be stopped at no cost, so that much is always covered.
        | frozenset(f"{task.id} waits" for task in taken),
        chosen,
        call,
        destroys=True,
        with_reason=lambda why: cancel(draw, ids, why),
    )


def retry(draw: Draw, ids: Sequence[str]) -> Plan:
    revivable = (types_pb2.TASK_STATE_DEAD_LETTER, types_pb2.TASK_STATE_FAILED)

    def refusal(task: Task) -> str:
        if task.state in revivable or task.lost_at_us:
            return ""
        return "ended well" if task.state == types_pb2.TASK_STATE_COMPLETED else "is not failed or dead-lettered"

    taken, left = split(draw, ids, refusal)
    consequences = [line("text", "Queued again with all their retries, as a new run of the same task.")]
    lost = [task for task in taken if task.lost_at_us]
    if lost:
        consequences.append(
            line(
                "warn",
                f"{tasks_of(len(lost))} on a lost machine: the command may still run there and then run twice.",
            )
        )
    prints = {task.fingerprint for task in taken if task.fingerprint}
    if len(taken) > 1 and prints:
        causes = "1 cause" if len(prints) == 1 else f"{len(prints)} causes"
        consequences.append(line("dim", f"They failed of {causes}; if it is still there they will fail again."))
    consequences.append(line("dim", "This cannot be undone; a task can be cancelled while it waits or runs."))
    consequences += parts_said(len(taken))
    chosen = tuple(task.id for task in taken)

    async def call(mutator: Mutator) -> Done:
        replies = await in_parts(chosen, mutator.retry)
        said = f"{tasks_of(len(chosen)).capitalize()} queued again at index {count_of(replies[-1].index)}."
        return Done(said, audit=tuple(reply.operation_id for reply in replies))

    return Plan(
        "retry",
        f"Retry {tasks_of(len(taken))}",
        tuple(task_line(task, draw) for task in taken),
        tuple(consequences),
        tuple(left),
        command_line("retry", chosen),
        frozenset(chosen) | frozenset(f"{task.id} lost" for task in lost),
        chosen,
        call,
    )


def set_priority(draw: Draw, ids: Sequence[str], priority: int) -> Plan:
    """0 to 10, higher goes first."""
    waiting = (types_pb2.TASK_STATE_PENDING, types_pb2.TASK_STATE_QUEUED)

    def refusal(task: Task) -> str:
        if task.state not in waiting:
            return "has ended" if task.state in ENDED else "waits no more"
        return f"has priority {priority} already" if task.priority == priority else ""

    taken, left = split(draw, ids, refusal)
    chosen = tuple(task.id for task in taken)
    queued = [task for task in draw.view.tasks.values() if task.state == types_pb2.TASK_STATE_QUEUED]
    before = sum(task.priority > priority for task in queued)
    marked = set(chosen)
    others = sum(task.priority == priority and task.id not in marked for task in queued)
    consequences = [
        line(
            "text", f"{tasks_of(before)} in the queue would still go first; {count_of(others)} have that priority."
        ),
        line("dim", f"It takes effect 10 s after you confirm; until then {draw.word('app', 'undo')} undoes it."),
        *parts_said(len(taken), undo=draw.word("app", "undo")),
    ]

    async def call(mutator: Mutator) -> Done:
        replies = await in_parts(chosen, lambda part: mutator.set_priority(part, priority))
        said = f"Priority {priority} for {tasks_of(len(chosen))} in 10 s."
        return Done(said, audit=tuple(reply.operation_id for reply in replies))

    return Plan(
        "change",
        f"Give {tasks_of(len(taken))} priority {priority}",
        tuple((*task_line(task, draw), (f"  priority {task.priority} now", "dim")) for task in taken),
        tuple(consequences),
        tuple(left),
        f"{command_line('priority', chosen)} {priority}",
        frozenset(chosen),
        chosen,
        call,
    )
