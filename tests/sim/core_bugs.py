"""Deliberate bugs in the state machine and its duties: workflows, operations, drains, counts, memory, the past."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from cortex.v1 import types_pb2 as t
from cortex.v1.log_pb2 import Entry, OperationAdvance, OperationStop, TaskComplete, WorkflowAdvance
from node.core import machine, reads, rules
from node.core.blame import Ends
from node.core.dag import Dag
from node.core.model import ASSIGNED, ENDED, PENDING, RUNNING, SKIPPED, Key, Table, member_id
from node.core.state import ClusterState
from node.core.transitions import advance, drains, end, fail, operations, restarts, workflows
from node.core.transitions.draft import Cold, Draft, Refusal
from node.leader.operations import Operations
from node.store import moment, slow

Bug = AbstractContextManager[Any]


@contextmanager
def _all(*patches: Bug) -> Iterator[None]:
    for one in patches:
        one.__enter__()
    try:
        yield
    finally:
        for one in reversed(patches):
            one.__exit__(None, None, None)


def _copy(message: Any, **fields: Any) -> Any:
    new = type(message)()
    new.CopyFrom(message)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


# Workflows


def release_at_the_first_end() -> Bug:
    """What waits for several tasks is judged when the first of them has ended."""
    sound = Dag.step

    def step(self: Dag, member: int, ended: bool) -> list[int]:
        sound(self, member, ended)
        return sorted(self.children[member]) if ended else []

    def judge(self: advance.Play, number: int, *, forced: bool = False) -> None:
        task = self.member(number)
        if task is not None and task.state == PENDING and not task.condition:
            self.release(task)

    return _all(patch.object(Dag, "step", step), patch.object(advance.Play, "judge", judge))


def skip_without_cascade() -> Bug:
    """Nothing follows from a skip."""
    sound = advance.Play.take

    def take(self: advance.Play, old: t.Task, new: t.Task) -> None:
        if new.state != SKIPPED or old.state in ENDED:
            return sound(self, old, new)
        self.new.remaining -= 1
        self._dag.step(new.member, True)
        return None

    return patch.object(advance.Play, "take", take)


def take_stale_verdicts() -> Bug:
    """A verdict counts whatever became of the dependencies that it was based on."""

    def advance_(draft: Draft, task: t.Task, command: WorkflowAdvance) -> Refusal | None:
        parents = [draft.task(member_id(task.workflow_id, member)) for member in task.depends_on]
        sha256 = rules.input_sha256([parent for parent in parents if parent is not None])
        return workflows.advance(draft, task, _copy(command, input_sha256=sha256))

    rule = machine.TASK_TABLE[PENDING, "workflow_advance"]
    return patch.dict(machine.TASK_TABLE, {(PENDING, "workflow_advance"): rule._replace(step=advance_)})


def live_again_in_the_same_run() -> Bug:
    """What is run again keeps the number of its run."""
    sound = end.begin_run

    def begin_run(draft: Draft, new: t.Task) -> None:
        sound(draft, new)
        new.run -= 1

    return patch.object(end, "begin_run", begin_run)


def fail_slowly() -> Bug:
    """No failure stops a workflow, whatever its policy."""
    return patch.object(advance.Play, "_why_stop", lambda self: None)


# Operations


def repeat_steps() -> Bug:
    """A step of an operation is taken wherever that stands by now."""
    sound = operations._advance_flaw

    def flaw(draft: Draft, old: t.Operation, command: OperationAdvance) -> str | None:
        return sound(draft, old, _copy(command, cursor=old.cursor))

    return patch.object(operations, "_advance_flaw", flaw)


def undo_what_has_begun() -> Bug:
    """An undo is taken for a stop when it comes too late."""
    sound = operations.stop

    def stop(draft: Draft, command: OperationStop) -> Refusal | None:
        return sound(draft, _copy(command, undo=False))

    return patch.dict(machine.CLUSTER_TABLE, {"operation_stop": stop})


def canary_goes_on() -> Bug:
    """A canary does not look at how those before it ended."""
    sound = Operations._next

    def next_(self: Operations, operation: t.Operation) -> OperationAdvance | None:
        blind = _copy(operation)
        blind.counts.failed_same = 0
        return sound(self, blind)

    return patch.object(Operations, "_next", next_)


def forget_ends_of_operations() -> Bug:
    """How the tasks of an operation ended is not counted."""
    return patch.object(end.tally, "count_end", lambda _draft, _task: None)


# Drains


def forget_to_cordon() -> Bug:
    """The commit of a drain leaves its node as it is."""
    careless = drains.DRAIN._replace(start=lambda _draft, _new: None)
    return patch.dict(operations.KINDS, {t.OPERATION_KIND_DRAIN: careless})


def count_what_was_moved() -> Bug:
    """A task that is moved uses up an attempt."""
    sound = fail._moves

    def moves(draft: Draft, task: t.Task, new: t.Task, detail: str) -> None:
        new.attempt += 1
        sound(draft, task, new, detail)

    return patch.object(fail, "_moves", moves)


# Attempts and results


def believe_every_blame() -> Bug:
    """The leader blames nodes for everything, and apply obeys it without a bound."""
    return _all(
        patch.object(Ends, "failed", lambda *_: t.BLAME_NODE),
        patch.object(fail, "EXCUSED_LIMIT", 1000),
    )


def tell_of_every_restart() -> Bug:
    """The ledger takes each further start for one of the same command, also after it had ended."""
    return patch.object(restarts, "over", lambda _new: None)


def cancel_beats_completion() -> Bug:
    """What was to be cancelled is, also when it completed before that reached it."""

    def complete(draft: Draft, task: t.Task, command: TaskComplete) -> Refusal | None:
        if not task.cancel_requested:
            return end.complete(draft, task, command)
        end.cancelled(draft, task, task.cancel_reason, command.result)
        return None

    states = (ASSIGNED, RUNNING)
    table = {(state, "task_complete"): machine.TASK_TABLE[state, "task_complete"] for state in states}
    return patch.dict(machine.TASK_TABLE, {key: rule._replace(step=complete) for key, rule in table.items()})


def share_locks() -> Bug:
    """Nobody remembers who holds a lock."""
    sound = ClusterState._enter_node

    def enter(self: ClusterState, task: t.Task) -> None:
        sound(self, task)
        for lock in task.spec.locks:
            self.locks.pop(lock, None)

    return patch.object(ClusterState, "_enter_node", enter)


# Memory


def forget_members_of_live_workflows() -> Bug:
    """What has ended leaves memory, also where its workflow goes on."""

    def evict(self: ClusterState, task_id: str) -> None:
        task = self.tasks.get(task_id)
        if task is not None and task.state in ENDED:
            self._put_task(task_id, task, None)
            self._task_digests.pop(task_id, None)

    return patch.object(ClusterState, "_evict_task", evict)


def load_no_members() -> Bug:
    """A workflow that lives again is applied without those of its tasks that memory lacks."""
    sound = reads.follow

    def follow(entry: Entry, state: ClusterState, cold: Cold) -> set[Key]:
        return {key for key in sound(entry, state, cold) if key.table is not Table.TASKS or "." not in key.id}

    return patch.object(reads, "follow", follow)


# The past


def show_the_past_as_it_is() -> Bug:
    """A view of the past shows tasks as they are now."""

    def as_of(row: t.Task, _events: Sequence[t.Event], _at: object) -> t.Task:
        return row

    return _all(patch.object(moment, "task_as_of", as_of), patch.object(slow, "task_as_of", as_of))


BUGS: Mapping[str, Callable[[], Bug]] = {
    bug.__name__: bug
    for bug in (
        release_at_the_first_end,
        skip_without_cascade,
        take_stale_verdicts,
        live_again_in_the_same_run,
        fail_slowly,
        repeat_steps,
        undo_what_has_begun,
        canary_goes_on,
        forget_ends_of_operations,
        forget_to_cordon,
        count_what_was_moved,
        believe_every_blame,
        tell_of_every_restart,
        cancel_beats_completion,
        share_locks,
        forget_members_of_live_workflows,
        load_no_members,
        show_the_past_as_it_is,
    )
}
