"""What follows from the end of a workflow's member, or from its return, in the entry that brings it.

Dependants are released or skipped until nothing more follows; one with a condition waits for the leader's verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import TaskCancel
from cortex.v1.types_pb2 import SkipReason, Task, TaskState, Workflow, WorkflowState
from node.core import context, rules
from node.core.dag import is_final
from node.core.model import (
    CANCELLED,
    COMPLETED,
    ENDED,
    LIVE_WORKFLOW,
    ON_NODE,
    PENDING,
    SKIPPED,
    Table,
    member_id,
)
from node.core.transitions import end, keys, restarts
from node.core.transitions.draft import Draft

# Conditions of one run that may time out; the last of them fails the workflow.
CONDITION_TIMEOUTS_LIMIT = 3

_STOPPED = "its workflow was stopped: "
_POLICY = types_pb2.FailurePolicy


class Play:
    """One workflow while a command changes it: `new` is its row to come, put at the end of react()."""

    def __init__(self, draft: Draft, workflow: Workflow) -> None:
        self._draft = draft
        self._dag = draft.dag(workflow)
        self._revived: list[int] = []
        self._forced: frozenset[int] = frozenset()
        self._seen: set[int] = set()
        self._struck = False  # by a new failure: those that a retry leaves standing do not stop it again
        self._old = workflow
        self.new = Workflow()
        self.new.CopyFrom(workflow)

    @property
    def live(self) -> bool:
        return self.new.state in LIVE_WORKFLOW

    @property
    def stopped(self) -> bool:
        """Nothing but what runs finally begins any more."""
        return self.new.stopping or self.new.cancel_requested

    def members(self) -> Iterator[Task]:
        for number in range(self.new.count):
            task = self.member(number)
            if task is not None:
                yield task

    def member(self, number: int) -> Task | None:
        return self._draft.task(member_id(self.new.id, number))

    def parents(self, task: Task) -> list[Task]:
        return [parent for number in task.depends_on if (parent := self.member(number)) is not None]

    def is_ready(self, task: Task) -> bool:
        """Whether all that it waits for have ended."""
        return self._dag.is_ready(task.member)

    def descendants(self, members: Sequence[int]) -> list[int]:
        return self._dag.descendants(members)

    # What follows from moves

    def take(self, old: Task, new: Task) -> None:
        """A member went from `old` to `new`."""
        was, now = old.state in ENDED, new.state in ENDED
        if new.state in ON_NODE and self.new.state == types_pb2.WORKFLOW_STATE_PENDING:
            self._begin()
        if now and not was:
            self.new.remaining -= 1
            if rules.counts_as_failure(new):
                self.new.failures += 1
                self._struck = True
            if new.state == COMPLETED:
                self._merge_context(new)
            for number in self._dag.step(new.member, True):
                self.judge(number)
        elif was and not now:
            if not self.live:
                self.live_again("a task was retried")
            self.new.remaining += 1
            self.new.failures -= rules.counts_as_failure(old)
            self._dag.step(new.member, False)
            self._revive_after(new.member)

    def settle(self) -> None:
        """What follows once all moves so far are taken: it stops, or ends."""
        waiting, self._revived = self._revived, []
        for number in waiting:
            if self._dag.is_ready(number):
                self.judge(number, forced=number in self._forced)
        why = self._why_stop() if self.live and not self.stopped else None
        if why is not None:
            self.new.stopping = True
            self.new.reason = why
            self.cancel_open(_STOPPED + why)
        if self.live and not self.new.remaining and not self._draft.moves:
            self._end()

    def judge(self, number: int, *, forced: bool = False) -> None:
        """All that a member waits for have ended: release or skip it, unless it waits for a verdict, too."""
        task = self.member(number)
        if task is None or task.state != PENDING or task.condition:
            return
        if any(parent.state not in ENDED for parent in self.parents(task)):
            return  # one of them lives again by a later step of the same command
        denied = self.denial(task) if not forced else None
        if denied is None:
            self.release(task)
        else:
            self.skip(task, *denied)

    def denial(self, task: Task) -> tuple[SkipReason.ValueType, str] | None:
        """Why its rule keeps a task from running."""
        return rules.denial(task.rule, self.parents(task), lambda _parent: self.stopped)

    def release(self, task: Task, detail: str = "") -> None:
        new = self._draft.edit(task)
        end.requeue(self._draft, new)
        new.reason = ""
        new.condition_crashes = 0
        self._draft.put(task, new)
        self._draft.event(types_pb2.EVENT_TYPE_RELEASED, new, detail)

    def skip(self, task: Task, reason: SkipReason.ValueType, text: str, condition_error: str = "") -> None:
        new = self._draft.edit(task)
        end.end(self._draft, new, SKIPPED)
        new.skip_reason = reason
        new.reason = text
        new.condition_error = condition_error
        word = SkipReason.Name(reason).removeprefix("SKIP_REASON_").lower()
        self._draft.put(task, new)
        self._draft.event(types_pb2.EVENT_TYPE_SKIPPED, new, f"{word}: {text}")

    def cancel_open(self, reason: str) -> None:
        """Cancel whatever has not ended, but for what runs finally."""
        for task in self.members():
            if task.state not in ENDED and not is_final(task):
                end.cancel(self._draft, task, TaskCancel(id=task.id, reason=reason[:200]))

    # Living again

    def live_again(self, detail: str) -> None:
        """A new run of the workflow."""
        new = self.new
        new.run += 1
        new.state = types_pb2.WORKFLOW_STATE_RUNNING if new.started_at_us else types_pb2.WORKFLOW_STATE_PENDING
        for name in ("completed_at_us", "stopping", "cancel_requested", "cancel_reason", "reason"):
            new.ClearField(name)
        new.condition_timeouts = 0
        if new.submit_key:
            keys.revived(self._draft, new)
        self.event(types_pb2.EVENT_TYPE_WORKFLOW_RESUMED, f"run {new.run}: {detail}")

    def revive(self, number: int) -> None:
        """A member that has ended is to run, or to be judged, again."""
        task = self.member(number)
        if task is None or task.state not in ENDED:
            return
        new = self._draft.edit(task)
        restarts.over(new)
        end.begin_run(self._draft, new)
        new.state = PENDING
        self._draft.put(task, new)
        self._draft.event(types_pb2.EVENT_TYPE_RETRIED, new, "with its workflow")
        self._revived.append(number)

    def hold(self, number: int) -> None:
        """A member that was released, but not assigned, waits for its dependencies again."""
        task = self.member(number)
        if task is not None:
            new = self._draft.edit(task)
            new.state = PENDING
            new.scheduled_after_us = 0
            self._draft.put(task, new)
            self._draft.event(types_pb2.EVENT_TYPE_RETRIED, new, "waits again for what it depends on")

    def chosen(self, members: Iterable[int], forced: Iterable[int]) -> None:
        """These have been revived, and nothing else is to be; `forced` run whatever their rules say."""
        self._seen.update(members)
        self._forced = frozenset(forced)

    def _revive_after(self, number: int) -> None:
        """Those descendants that ended without success are to be judged again; the others are left alone."""
        for after in self._dag.descendants([number], self._seen):
            task = self.member(after)
            if task is not None and task.state in ENDED and task.state != COMPLETED:
                self.revive(after)

    # The workflow itself

    def event(self, kind: types_pb2.EventType.ValueType, detail: str = "") -> None:
        self._draft.workflow_event(kind, self.new, detail)

    def put(self) -> None:
        """Unless it is as it was."""
        if self.new != self._old:
            self.new.modified_index = self._draft.index
            self._draft.put_row(Table.WORKFLOWS, self.new.id, self.new)

    def _begin(self) -> None:
        self.new.state = types_pb2.WORKFLOW_STATE_RUNNING
        self.new.started_at_us = self._draft.now_us
        self.event(types_pb2.EVENT_TYPE_WORKFLOW_STARTED)

    def _why_stop(self) -> str | None:
        new = self.new
        if new.condition_timeouts >= CONDITION_TIMEOUTS_LIMIT:
            return f"{new.condition_timeouts} conditions ran out of time"
        if not self._struck:
            return None
        if new.policy == _POLICY.FAILURE_POLICY_FAIL_FAST:
            return "a task failed, and its policy is fail_fast"
        if new.policy == _POLICY.FAILURE_POLICY_MAX_FAILURES and new.failures > new.max_failures:
            return f"{new.failures} tasks failed, more than its max_failures of {new.max_failures}"
        return None

    def _end(self) -> None:
        new = self.new
        counts = Counter(task.state for task in self.members())
        new.state = self._verdict(cancelled=bool(counts[CANCELLED]))
        new.completed_at_us = self._draft.now_us
        words = ", ".join(f"{counts[state]} {_word(state)}" for state in sorted(counts))
        new.reason = f"{new.reason}: {words}" if new.reason else words
        if new.submit_key:
            keys.ended(self._draft, new)
        self.event(types_pb2.EVENT_TYPE_WORKFLOW_ENDED, new.reason)

    def _verdict(self, *, cancelled: bool) -> WorkflowState.ValueType:
        new = self.new
        if new.cancel_requested and cancelled:
            return types_pb2.WORKFLOW_STATE_CANCELLED
        if new.failures or new.condition_timeouts >= CONDITION_TIMEOUTS_LIMIT:
            return types_pb2.WORKFLOW_STATE_FAILED
        return types_pb2.WORKFLOW_STATE_COMPLETED

    def _merge_context(self, task: Task) -> None:
        """Take over what a task wrote; what cannot be used is told by an event and changes nothing."""
        data = task.result.context_update
        if not data:
            return
        try:
            items = context.merged(self.new.context, context.parse_update(data))
            size = context.size_bytes(items)
            if size > context.LIMIT_BYTES:
                raise context.NotJson(f"The context would have {size} bytes, the limit is {context.LIMIT_BYTES}.")
        except context.NotJson as flaw:
            self._draft.event(types_pb2.EVENT_TYPE_REJECTED, task, f"context update refused: {flaw}")
            return
        del self.new.context[:]
        self.new.context.extend(items)


def react(draft: Draft, *begun: Play) -> None:
    """All that follows from the moves of a command; `begun` are the workflows that it dealt with itself."""
    plays = {play.new.id: play for play in begun}
    while draft.moves or plays:
        while draft.moves:
            old, new = draft.moves.popleft()
            if new.workflow_id not in plays:
                workflow = draft.workflow(new.workflow_id)
                if workflow is None or not _matters(workflow, old, new):
                    continue
                plays[workflow.id] = Play(draft, workflow)
            plays[new.workflow_id].take(old, new)
        for play in plays.values():
            play.settle()
        if not draft.moves:
            break
    for play in plays.values():
        play.put()


def _matters(workflow: Workflow, old: Task, new: Task) -> bool:
    if new.state in ON_NODE:
        return workflow.state == types_pb2.WORKFLOW_STATE_PENDING
    return (old.state in ENDED) != (new.state in ENDED)


def _word(state: int) -> str:
    return TaskState.Name(TaskState.ValueType(state)).removeprefix("TASK_STATE_").lower().replace("_", " ")
