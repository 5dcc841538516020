"""Plans about workflows: cancel, resume. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from cortex.v1 import types_pb2
from tui.columns.base import Draw
from tui.columns.tasks import run_us
from tui.columns.workflows import Workflow, workflow_state
from tui.drawing.draw import Cell, Span, age, count_of, foreign, task_state
from tui.drawing.format import duration
from tui.drawing.text import clean, fit
from tui.plans.base import Done, Plan, Task, command_line, line, missing, tasks_of
from tui.source import Mutator, SourceError
from tui.store.view import ENDED, ENDED_WORKFLOWS, ClusterView

STATE_CELLS = 14
KEY_CELLS = 30
"""As much as a title shows of a task's key."""


@dataclass(frozen=True)
class Rehearsal:
    """What a resume of one workflow would run again, as the cluster said it."""

    workflow: Workflow
    key: str
    """Where it begins; empty for all that did not complete."""
    tasks: tuple[Task, ...]
    """As they are now, in the order of their numbers."""
    again: Callable[[], Awaitable[Sequence[str]]]
    """Asks once more for the ids of the tasks that would run again. Raises SourceError."""


def workflows_of(count: int) -> str:
    """`1 workflow`, `12 workflows`."""
    return "1 workflow" if count == 1 else f"{count_of(count)} workflows"


def is_final(task: Task) -> bool:
    """Whether it runs when all others have ended."""
    return bool(getattr(task, "finally"))


def live_members(view: ClusterView, ids: Iterable[str]) -> dict[str, list[Task]]:
    """Tasks of each workflow that have not ended, in the order of their numbers."""
    found: dict[str, list[Task]] = {key: [] for key in ids}
    for task in view.tasks.values():
        if task.workflow_id in found and task.state not in ENDED:
            found[task.workflow_id].append(task)
    return {key: sorted(tasks, key=lambda task: task.member) for key, tasks in found.items()}


def cancel(draw: Draw, ids: Sequence[str], reason: str = "") -> Plan:
    """Of workflows by id."""
    taken: list[Workflow] = []
    left: list[Cell] = []
    for key in ids:
        row = draw.view.workflows.get(key)
        if row is None:
            left.append(missing(key, draw))
        elif row.state in ENDED_WORKFLOWS or row.cancel_requested:
            why = "has ended" if row.state in ENDED_WORKFLOWS else "is being cancelled"
            left.append((*_workflow_line(row, draw), (f"  {why}", "warn")))
        else:
            taken.append(row)
    live = live_members(draw.view, [row.id for row in taken])
    open_ones = [task for tasks in live.values() for task in tasks]
    stopped = [task for task in open_ones if not is_final(task)]
    chosen = tuple(row.id for row in taken)

    async def call(mutator: Mutator) -> Done:
        replies = [await mutator.cancel_workflow(key, reason) for key in chosen]
        index = max(reply.index for reply in replies)
        said = f"Cancel of {workflows_of(len(chosen))} accepted at index {count_of(index)}."
        return Done(said, audit=tuple(reply.operation_id for reply in replies))

    return Plan(
        "cancel",
        f"Cancel {workflows_of(len(taken))}" + (f" with {tasks_of(len(stopped))}" if stopped else ""),
        tuple(_lines_of_cancel(taken, live, draw)),
        tuple(_consequences_of_cancel(open_ones, draw)),
        tuple(left),
        _per_workflow("cancel", chosen, f" --reason {shlex.quote(reason)}" if reason else ""),
        # That a task begins while this is shown is foreseen; one that was not there at all is not.
        frozenset(task.id for task in stopped),
        chosen,
        call,
        count=len(stopped) or len(taken),
        destroys=True,
        with_reason=lambda why: cancel(draw, ids, why),
    )


def _lines_of_cancel(taken: Sequence[Workflow], live: dict[str, list[Task]], draw: Draw) -> Iterable[Cell]:
    """Each workflow, then what runs in it, then what never will, then what runs in the end."""
    for row in taken:
        yield _workflow_line(row, draw)
        tasks = live[row.id]
        running = [task for task in tasks if not is_final(task) and task.state == types_pb2.TASK_STATE_RUNNING]
        waiting = [task for task in tasks if not is_final(task) and task.state != types_pb2.TASK_STATE_RUNNING]
        for task in running:
            yield (*member_line(task, draw), ("  is stopped", "warn"))
        for task in waiting:
            yield (*member_line(task, draw), ("  never runs", "dim"))
        for task in filter(is_final, tasks):
            yield (*member_line(task, draw), ("  runs all the same, in the end", "dim"))


def _consequences_of_cancel(open_ones: Sequence[Task], draw: Draw) -> list[Cell]:
    said: list[Cell] = []
    running = [task for task in open_ones if not is_final(task) and task.state == types_pb2.TASK_STATE_RUNNING]
    finals = sum(map(is_final, open_ones))
    if running:
        kill_us = max(task.spec.kill_timeout_ms for task in running) * 1000
        grace = f" within {duration(kill_us)}" if kill_us else ""
        lost_us = sum(run_us(task, draw.now_us) or 0 for task in running)
        said.append(
            line(
                "warn", f"{tasks_of(len(running))} running: TERM now, KILL{grace}; {age(lost_us)} of work is lost."
            )
        )
    if waiting := len(open_ones) - finals - len(running):
        said.append(line("text", f"{tasks_of(waiting)} not started: never run; what begins until then is stopped."))
    if finals:
        goes = "runs" if finals == 1 else "run"
        said.append(line("text", f"{tasks_of(finals)} marked finally: {goes} when all others have ended."))
    again = draw.word("workflows", "resume")
    said.append(line("dim", f"A cancel cannot be undone; {again} runs again what did not complete."))
    return said


def resume(draw: Draw, rehearsals: Sequence[Rehearsal], refused: Sequence[Cell]) -> Plan:
    """`refused`: a line for each workflow that the cluster would not resume."""
    taken: list[Rehearsal] = []
    left = list(refused)
    for found in rehearsals:
        row = draw.view.workflows.get(found.workflow.id) or found.workflow
        if row.run != found.workflow.run:
            left.append((*_workflow_line(row, draw), ("  was resumed meanwhile", "warn")))
        else:
            taken.append(found)
    tasks = [task for found in taken for task in found.tasks]
    objects: list[Cell] = []
    for found in taken:
        if len(taken) > 1:
            objects.append(_workflow_line(found.workflow, draw))
        # First what had come to a good end, for it is that which one might not want.
        order = sorted(found.tasks, key=lambda task: task.state != types_pb2.TASK_STATE_COMPLETED)
        objects += [_again_line(task, draw) for task in order]

    async def call(mutator: Mutator) -> Done:
        index, audit = 0, []
        for found in taken:
            if not set(await found.again()) <= {task.id for task in found.tasks}:
                raise SourceError("By now other tasks would run again than are shown.", "Leave this and ask again.")
            reply = await mutator.resume_workflow(found.workflow.id, found.key)
            index = reply.index
            audit.append(reply.operation_id)
        said = f"{tasks_of(len(tasks)).capitalize()} run again since index {count_of(index)}."
        return Done(said, audit=tuple(audit))

    return Plan(
        "resume",
        _resume_title(taken, len(tasks), draw),
        tuple(objects),
        tuple(_consequences_of_resume(taken)),
        tuple(left),
        _resume_command(taken),
        frozenset(task.id for task in tasks),
        tuple(found.workflow.id for found in taken),
        call,
        count=len(tasks),
    )


def _resume_title(taken: Sequence[Rehearsal], tasks: int, draw: Draw) -> str:
    if len(taken) == 1 and taken[0].key:
        key = fit(
            clean(taken[0].key, ascii_only=draw.glyphs.ascii_only), KEY_CELLS, ellipsis=draw.glyphs.ellipsis
        ).rstrip()
        return f"Run {tasks_of(tasks)} again from {key}"
    return f"Run {tasks_of(tasks)} again"


def _resume_command(taken: Sequence[Rehearsal]) -> str:
    if len(taken) == 1 and (key := taken[0].key):
        return f"{command_line('workflow resume', [taken[0].workflow.id])} --from {shlex.quote(clean(key))}"
    return _per_workflow("resume", [found.workflow.id for found in taken])


def _per_workflow(verb: str, ids: Sequence[str], options: str = "") -> str:
    """One command for each: the verb takes one workflow."""
    return " && ".join(f"{command_line(f'workflow {verb}', [key])}{options}" for key in ids)


def _consequences_of_resume(taken: Sequence[Rehearsal]) -> list[Cell]:
    tasks = [task for found in taken for task in found.tasks]
    said = [line("text", "Each runs as its rule and condition say; others keep their results.")]
    done = sum(task.state == types_pb2.TASK_STATE_COMPLETED for task in tasks)
    if done:
        had = "had completed: its command runs" if done == 1 else "had completed: their commands run"
        said.append(line("warn", f"{tasks_of(done)} {had} once more."))
    for found in taken[:1]:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        said.append(line("dim", f"It is run {found.workflow.run + 1} of the workflow{more}."))
        said.append(line("dim", "This cannot be undone; a workflow can be cancelled while it runs."))
    return said


def _again_line(task: Task, draw: Draw) -> Cell:
    spans: list[Span] = [*member_line(task, draw)]
    if task.state == types_pb2.TASK_STATE_COMPLETED:
        spans.append(("  runs once more", "warn"))
    return tuple(spans)


def member_line(task: Task, draw: Draw) -> Cell:
    """A task of a workflow, indented below it."""
    glyphs = draw.glyphs
    spans: list[Span] = [("  ", "text")]
    spans += [(fit(text, STATE_CELLS), role) for text, role in task_state(task, glyphs)]
    spans += [*foreign(task.task_key or task.name, "strong", glyphs), ("  ", "text")]
    spans += foreign(task.id, "dim", glyphs)
    if task.node and task.state not in ENDED:
        spans += [("  on ", "dim"), *foreign(task.node, "text", glyphs)]
    ran = run_us(task, draw.now_us)
    if ran is not None and task.state == types_pb2.TASK_STATE_RUNNING:
        spans += [("  for ", "dim"), (age(ran), "text")]
    return tuple(spans)


def _workflow_line(row: Workflow, draw: Draw) -> Cell:
    glyphs = draw.glyphs
    state = ((fit(text, STATE_CELLS), role) for text, role in workflow_state(row, glyphs))
    return (
        *state,
        *foreign(row.name or "workflow", "strong", glyphs),
        ("  ", "text"),
        *foreign(row.id, "dim", glyphs),
    )
