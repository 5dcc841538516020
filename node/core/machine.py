"""The state machine: everything that may change the replicated state stands in TASK_TABLE and CLUSTER_TABLE.

apply() is pure and total. Time, ids, jitter and verdicts are in the entry; what the state does not allow is a
recorded rejection on which all replicas agree. The one thing that stops a daemon is an entry that it does not
understand, because passing over it would let replicas diverge: check_level() raises before anything is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, CommandReply, Entry, OperationAdvance, OperationStart, Reply
from cortex.v1.types_pb2 import StoredReply, Task, TaskState
from node.core import checks
from node.core.faults import Code
from node.core.model import (
    ASSIGNED,
    CANCELLED,
    COMPLETED,
    DEAD_LETTER,
    ENDED,
    FAILED,
    LEVEL,
    LIVE,
    ON_NODE,
    PENDING,
    PREFETCH_LIMIT,
    QUEUED,
    RUNNING,
    SKIPPED,
    Outcome,
    Table,
    reply_key,
)
from node.core.state import ClusterState
from node.core.transitions import (
    alarms,
    begin,
    cluster,
    end,
    fail,
    levels,
    members,
    notes,
    operations,
    services,
    workflows,
)
from node.core.transitions.advance import react
from node.core.transitions.begin import Submitted
from node.core.transitions.draft import Cold, Draft, Refusal
from node.core.transitions.kinds import Items

State: TypeAlias = TaskState.ValueType
# What an accepted command may tell of the single tasks that it concerned.
Answer: TypeAlias = Items | Submitted | Refusal | None


class LevelTooNew(Exception):
    """An entry that only a later version understands. This daemon must stop before it."""

    def __init__(self, index_of: str, needed: int) -> None:
        super().__init__(f"{index_of} needs feature level {needed}; this daemon knows {LEVEL}. Upgrade cortexd.")
        self.needed = needed


class Rule(NamedTuple):
    """One row of the table: which states a command may lead to from here, what does it, and on what condition."""

    to: frozenset[State]
    step: Callable[[Draft, Task, Any], Refusal | None]
    guard: str = ""


def _to(*states: State) -> frozenset[State]:
    return frozenset(states)


_FAIL = _to(QUEUED, DEAD_LETTER, FAILED, CANCELLED)

# Submission has no state to start from: see begin.submit. A command that is not here is refused.
TASK_TABLE: Mapping[tuple[State, str], Rule] = {
    (PENDING, "workflow_advance"): Rule(
        _to(QUEUED, SKIPPED), workflows.advance, "dependencies ended; input hash equals the one at apply"
    ),
    (PENDING, "task_cancel"): Rule(_to(CANCELLED), end.cancel),
    (QUEUED, "task_cancel"): Rule(_to(CANCELLED), end.cancel),
    (QUEUED, "task_assign"): Rule(
        _to(ASSIGNED),
        begin.assign,
        f"due; node active and online; assigned + running <= slots + {PREFETCH_LIMIT}; reservations, locks and"
        " limits fit",
    ),
    (QUEUED, "task_dead_letter"): Rule(_to(DEAD_LETTER), end.dead_letter, "queue timeout passed"),
    (ASSIGNED, "task_started"): Rule(_to(RUNNING), begin.started, "fence"),
    (RUNNING, "task_started"): Rule(_to(RUNNING), begin.started, "fence; only ends lost_at"),
    (ASSIGNED, "task_complete"): Rule(_to(COMPLETED), end.complete, "fence; success"),
    (RUNNING, "task_complete"): Rule(_to(COMPLETED), end.complete, "fence; success"),
    (ASSIGNED, "task_failed"): Rule(
        _FAIL | {ASSIGNED}, fail.failed, "fence; no success; cancel_requested -> cancelled"
    ),
    (RUNNING, "task_failed"): Rule(
        _FAIL | {RUNNING}, fail.failed, "fence; no success; cancel_requested -> cancelled"
    ),
    (ASSIGNED, "task_stopped"): Rule(_FAIL, fail.stopped, "fence; cancel_requested -> cancelled"),
    (RUNNING, "task_stopped"): Rule(_FAIL, fail.stopped, "fence; cancel_requested -> cancelled"),
    (ASSIGNED, "task_recalled"): Rule(
        _to(QUEUED, CANCELLED), begin.recalled, "fence; cancel_requested -> cancelled"
    ),
    (ASSIGNED, "task_lost"): Rule(
        _FAIL | {ASSIGNED}, fail.lost, "fence; hold and wait keep the state, with lost_at"
    ),
    (RUNNING, "task_lost"): Rule(_FAIL | {RUNNING}, fail.lost, "fence; hold and wait keep the state, with lost_at"),
    (ASSIGNED, "task_migrate"): Rule(
        _to(ASSIGNED, DEAD_LETTER),
        fail.migrate,
        "ends by the node's acknowledgement; lost_at: for a drain, at once",
    ),
    (RUNNING, "task_migrate"): Rule(
        _to(RUNNING, DEAD_LETTER), fail.migrate, "ends by the node's acknowledgement; lost_at: for a drain, at once"
    ),
    (RUNNING, "task_escalate"): Rule(_to(RUNNING), fail.escalate, "fence; once per assignment"),
    (RUNNING, "task_ready"): Rule(
        _to(RUNNING), services.ready, "fence; told again with the same endpoints it changes nothing"
    ),
    (ASSIGNED, "task_cancel"): Rule(
        _to(ASSIGNED, CANCELLED), end.cancel, "at once with lost_at, else in two phases"
    ),
    (RUNNING, "task_cancel"): Rule(_to(RUNNING, CANCELLED), end.cancel, "at once with lost_at, else in two phases"),
    (ASSIGNED, "task_retry"): Rule(_to(QUEUED), end.retry, "lost_at; burns the fence"),
    (RUNNING, "task_retry"): Rule(_to(QUEUED), end.retry, "lost_at; burns the fence"),
    (DEAD_LETTER, "task_retry"): Rule(_to(QUEUED), end.retry),
    (FAILED, "task_retry"): Rule(_to(QUEUED), end.retry),
    (DEAD_LETTER, "task_cancel"): Rule(_to(CANCELLED), end.cancel, "reason required"),
    (PENDING, "task_priority"): Rule(_to(PENDING), notes.set_priority),
    (QUEUED, "task_priority"): Rule(_to(QUEUED), notes.set_priority),
    **{(state, "task_annotate"): Rule(_to(state), notes.annotate) for state in sorted(LIVE | ENDED)},
}

_STOPS = "its workflow is stopped: workflow_cancel, fail_fast, max_failures, timeouts of conditions"
_AGAIN = "workflow_resume, or task_retry of what it depends on"
# What happens to a member of a workflow because of others: from, to, and by what.
WORKFLOW_STEPS: Mapping[tuple[State, State], str] = {
    (PENDING, QUEUED): "all that it depends on has ended",
    (PENDING, SKIPPED): "all that it depends on has ended, and its rule denies it",
    (PENDING, CANCELLED): _STOPS,
    (QUEUED, CANCELLED): _STOPS,
    (QUEUED, PENDING): "workflow_resume of what it depends on",
    **{
        (state, to): "workflow_resume" if state == COMPLETED else _AGAIN
        for state in sorted(ENDED)
        for to in (PENDING, QUEUED, SKIPPED)
        if state != to
    },
}


def _operation_start(draft: Draft, command: OperationStart) -> Answer:
    return operations.start(draft, command, _act)


def _operation_advance(draft: Draft, command: OperationAdvance) -> Answer:
    return operations.advance(draft, command, _act)


def _act(draft: Draft, kind: str, command: Any) -> Refusal | None:
    """A command on a task, within an operation."""
    refusal = _task_step(draft, draft.task(command.id), kind, command)
    if draft.moves:
        react(draft)
    return refusal


CLUSTER_TABLE: Mapping[str, Callable[[Draft, Any], Answer]] = {
    "config_change": members.config_change,
    "node_join": cluster.node_join,
    "node_leave": cluster.node_leave,
    "node_cordon": cluster.node_cordon,
    "node_alarm": alarms.node_alarm,
    "node_suspect": alarms.node_suspect,
    "settings_change": cluster.settings_change,
    "level_raise": levels.level_raise,
    "history_trim": cluster.history_trim,
    "operation_start": _operation_start,
    "operation_advance": _operation_advance,
    "operation_stop": operations.stop,
    "workflow_submit": workflows.submit,
    "workflow_cancel": workflows.cancel,
    "workflow_resume": workflows.resume,
}

FENCED = frozenset(
    {
        "task_started",
        "task_complete",
        "task_failed",
        "task_stopped",
        "task_recalled",
        "task_lost",
        "task_escalate",
        "task_ready",
    }
)
TASK_COMMANDS = frozenset(kind for _, kind in TASK_TABLE)
# The feature level that brings each kind of command. Kinds that are not here belong to levels to come.
KIND_LEVELS: Mapping[str, int] = dict.fromkeys({"noop", "task_submit", *TASK_COMMANDS, *CLUSTER_TABLE}, 1)

_KNOWN_KINDS = frozenset(kind for kind, level in KIND_LEVELS.items() if level <= LEVEL)

# What an operator is told about a command that a state does not allow.
_IMPOSSIBLE: Mapping[str, str] = {
    "task_cancel": "it has ended, and there is nothing to cancel",
    "task_retry": "only a failed task, a dead letter or a lost task is retried",
    "workflow_advance": "only a pending task waits for a verdict",
    "task_priority": "only a task that waits has a place in the queue",
}

# Refusals that say nothing about the request itself: it may be repeated under its id and then be accepted.
_NOT_STORED = frozenset({Code.QUEUE_FULL, Code.OVERLOADED})


def check_level(entry: Entry) -> None:
    """Raises LevelTooNew for an entry that this version cannot apply."""
    if entry.level > LEVEL:
        raise LevelTooNew("The next log entry", entry.level)
    for command in entry.commands:
        kind = command.WhichOneof("kind")
        if kind == "level_raise" and command.level_raise.level > LEVEL:
            raise LevelTooNew("The next log entry", command.level_raise.level)
        if kind in _KNOWN_KINDS:
            continue
        if kind is None:
            # Bytes without a kind that is known here are a kind that is not.
            if command.ByteSize():
                raise LevelTooNew("A command of unknown kind", LEVEL + 1)
        else:
            raise LevelTooNew(f"Command {kind}", KIND_LEVELS.get(kind, LEVEL + 1))


def apply(
    state: ClusterState, cold: Cold, entry: Entry, index: int, term: int, *, answered: bool = True
) -> Outcome:
    """What `entry` leads to at `index`. `cold` has the rows of reads() and follow() that memory lacks.

    Commands are applied in order, a refused one does not undo the others; but the submissions of an entry are
    accepted all together, where the first of them stands, or not at all. `answered`: whether anybody here reads the
    replies to single commands; what changes does not depend on it.
    """
    draft = Draft(state, cold, entry, index)
    reply = Reply(index=index)
    if not entry.request_id:
        answers = _run(draft, entry)
        if answered:
            _tell(reply, answers)
        return Outcome(draft.changes(), reply)
    flaw = checks.request_flaw(entry.client, entry.request_id)
    if flaw is not None:
        refusal = Refusal(Code.INVALID, flaw)
        reply.commands.extend(_reply("", refusal) for _ in entry.commands)
        draft.cluster_event(types_pb2.EVENT_TYPE_REJECTED, flaw)
        return Outcome(draft.changes(), reply)
    key = reply_key(entry.client, entry.request_id)
    stored = draft.get(Table.REPLIES, key)
    if isinstance(stored, StoredReply) and draft.now_us < stored.at_us + cluster.REPLY_KEPT_US:
        repeated = Reply.FromString(stored.reply)
        repeated.repeated_request = True
        return Outcome((), repeated)
    _tell(reply, _run(draft, entry))
    if not any(answer.code in _NOT_STORED for answer in reply.commands):
        data = reply.SerializeToString(deterministic=True)
        row = StoredReply(
            client=entry.client, request_id=entry.request_id, index=index, reply=data, at_us=draft.now_us
        )
        draft.put_row(Table.REPLIES, key, row)
    return Outcome(draft.changes(), reply)


def _run(draft: Draft, entry: Entry) -> list[str | CommandReply]:
    """What became of each command; an accepted one on a task is told by the task's id."""
    answers: list[str | CommandReply] = []
    submitted = None
    for command in entry.commands:
        kind = command.WhichOneof("kind")
        if kind == "task_submit":
            if submitted is None:
                batch = [command.task_submit for command in entry.commands if command.HasField("task_submit")]
                part = entry.batch if entry.HasField("batch") else None
                submitted = iter(begin.submit(draft, batch, part))
            answer = next(submitted)
            if isinstance(answer, Refusal):
                answers.append(_reply(command.task_submit.id, answer))
            elif answer.deduplicated:
                answers.append(CommandReply(accepted=True, id=answer.id, deduplicated=True))
            else:
                answers.append(answer.id)
        elif kind == "noop":
            answers.append("")
        elif kind in TASK_COMMANDS:
            inner = getattr(command, kind)
            task_id = task_of(kind, inner)
            refusal = _task_command(draft, kind, inner, task_id)
            answers.append(task_id if refusal is None else _reply(task_id, refusal))
        else:
            answers.append(_cluster_command(draft, kind, command))
        if draft.moves:
            react(draft)
    return answers


def _tell(reply: Reply, answers: Iterable[str | CommandReply]) -> None:
    add = reply.commands.add
    for answer in answers:
        if isinstance(answer, str):
            # Each field by itself: named arguments are looked up one by one.
            done = add()
            done.accepted, done.id = True, answer
        else:
            reply.commands.append(answer)


def task_of(kind: str, command: Any) -> str:
    """Id of the task that one of TASK_COMMANDS is about."""
    task_id: str = command.task if kind == "workflow_advance" else command.id
    return task_id


def _task_command(draft: Draft, kind: str, command: Any, task_id: str) -> Refusal | None:
    task = draft.task(task_id)
    refusal = _task_step(draft, task, kind, command)
    if refusal is None or (kind == "task_assign" and command.express):
        return refusal
    detail = f"{kind} refused: {refusal.message}"
    if task is not None:
        draft.event(types_pb2.EVENT_TYPE_REJECTED, task, detail)
    else:
        known = task_id if checks.is_id(task_id) else ""
        draft.cluster_event(types_pb2.EVENT_TYPE_REJECTED, detail, task=known)
    return refusal


def _task_step(draft: Draft, task: Task | None, kind: str, command: Any) -> Refusal | None:
    if task is None:
        return Refusal(Code.NOT_FOUND, f"There is no task {checks.short(task_of(kind, command))}.")
    rule = TASK_TABLE.get((task.state, kind))
    if kind in FENCED and (command.fence != task.fence or task.state not in ON_NODE):
        return Refusal(Code.STALE_FENCE, f"Fence {command.fence} of task {task.id} does not hold any more.")
    if rule is None:
        state = TaskState.Name(task.state).removeprefix("TASK_STATE_").lower()
        why = _IMPOSSIBLE.get(kind, f"{kind} is not possible")
        if kind == "task_cancel" and command.discard:
            why = "only a dead letter is discarded"
        return Refusal(Code.WRONG_STATE, f"Task {task.id} is {state}: {why}.")
    if kind == "task_retry" and task.workflow_id:
        refusal = workflows.retry_refusal(draft, task)
        if refusal is not None:
            return refusal
    return rule.step(draft, task, command)


def _cluster_command(draft: Draft, kind: str | None, command: Command) -> CommandReply:
    if kind is None or kind not in CLUSTER_TABLE:
        answer: Answer = Refusal(Code.UNSUPPORTED, f"Command {kind or 'of no kind'} is not supported yet.")
        subject = ""
    else:
        inner = getattr(command, kind)
        subject = _subject(kind, inner)
        answer = CLUSTER_TABLE[kind](draft, inner)
    if isinstance(answer, Submitted):
        return CommandReply(accepted=True, id=answer.id, deduplicated=answer.deduplicated)
    if not isinstance(answer, Refusal):
        return CommandReply(accepted=True, id=subject, items=answer or ())
    node = subject if kind and kind.startswith(("node_", "config_")) and checks.is_id(subject) else ""
    draft.cluster_event(types_pb2.EVENT_TYPE_REJECTED, f"{kind} refused: {answer.message}", node=node)
    return _reply(subject, answer)


def _subject(kind: str, command: Any) -> str:
    """Id of what a command is about."""
    named = {"node_join": "node", "operation_start": "operation"}.get(kind)
    subject: str = getattr(getattr(command, named) if named else command, "id", "")
    return subject


def _reply(subject: str, refusal: Refusal) -> CommandReply:
    return CommandReply(code=refusal.code, message=refusal.message, id=checks.short(subject))
