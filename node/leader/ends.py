"""What a worker's report becomes in the log: a command, with what must be equal on all replicas stamped into it."""

from __future__ import annotations

from random import Random

from cortex.v1.log_pb2 import Command, NodeAlarm, NodeSuspect, TaskCancel, TaskEscalate, TaskMigrate, TaskReady
from cortex.v1.types_pb2 import Blame, Cause, StreamSummary, Task, TaskResult, TaskType
from cortex.v1.worker_pb2 import Ended, Report, Stalled
from node.core import checks, deadletter, retry
from node.core.blame import Ends, command_of
from node.core.transitions.services import PUT_OFFS, is_known
from node.leader.port import Replica

# Looked up once: an enum's names are found by a call.
_EXITS = frozenset({Cause.CAUSE_UNSPECIFIED, Cause.CAUSE_EXIT})
_LOST = Cause.CAUSE_LOST
_SHELL = TaskType.TASK_TYPE_SHELL
_COMMANDS = frozenset({TaskType.TASK_TYPE_SHELL, TaskType.TASK_TYPE_NOOP})
_STOPPED = frozenset({Cause.CAUSE_CANCEL, Cause.CAUSE_MIGRATE, Cause.CAUSE_LEASE, Cause.CAUSE_IDLE})
# Reports of these kinds are the last of an attempt; others tell of one that goes on.
FINAL = frozenset({"ended", "recalled", "lost"})
_HEAD_BYTES = 4 * 1024
_TAIL_BYTES = 12 * 1024
_ERROR_CHARS = 1000
_REASON_CHARS = 200


class Translator:
    """Keeps in mind how commands ended where, to say who is to blame."""

    def __init__(self, random: Random, replica: Replica) -> None:
        self._random = random
        self._replica = replica
        self._ends = Ends()

    def commands(self, task: Task, report: Report) -> list[Command]:
        """What a report of `task`'s current attempt leads to."""
        kind = report.WhichOneof("kind")
        command = Command()
        if kind == "started":
            command.task_started.id = task.id
            command.task_started.fence = task.fence
            command.task_started.started_at_us = report.started.started_at_us
        elif kind == "recalled":
            command.task_recalled.id = task.id
            command.task_recalled.fence = task.fence
        elif kind == "lost":
            command.task_lost.id = task.id
            command.task_lost.fence = task.fence
            command.task_lost.reason = report.lost.reason[:_ERROR_CHARS]
        elif kind == "unkillable":
            reason = f"Task {task.id}: {report.unkillable.reason}"[:_REASON_CHARS]
            return [Command(node_alarm=NodeAlarm(id=task.node, reason=reason, cordon=True, task=task.id))]
        elif kind == "stalled":
            return self._stalled(task, report.stalled)
        elif kind == "ready":
            told = report.ready
            # A daemon that began again tells it again.
            if is_known(task, told.endpoints):
                return []
            ready = TaskReady(id=task.id, fence=task.fence, endpoints=told.endpoints, ready_at_us=told.ready_at_us)
            return [Command(task_ready=ready)]
        else:
            return [*self._end(command, task, report.ended), command]
        return [command]

    def _stalled(self, task: Task, stalled: Stalled) -> list[Command]:
        """What the state does not know yet."""
        reason = f"It has written nothing for {stalled.quiet_us // 1_000_000} s."
        if stalled.idle and not (task.migrate_requested or task.cancel_requested or task.lost_at_us):
            migrate = TaskMigrate(id=task.id, fence=task.fence, reason=reason, idle=True)
            return [Command(task_migrate=migrate)]
        if not stalled.idle and not task.escalated_at_us:
            return [Command(task_escalate=TaskEscalate(id=task.id, fence=task.fence, reason=reason))]
        return []

    def _end(self, command: Command, task: Task, ended: Ended) -> list[Command]:
        """Fill `command`; what else the end leads to."""
        result = _bounded(ended.result)
        if ended.cause == _LOST:
            command.task_lost.id = task.id
            command.task_lost.fence = task.fence
            command.task_lost.reason = ended.error[:_ERROR_CHARS]
        elif _succeeded(task, ended):
            command.task_complete.id = task.id
            command.task_complete.fence = task.fence
            command.task_complete.result.CopyFrom(result)
            return self._succeeded(task)
        elif ended.cause in _STOPPED:
            command.task_stopped.id = task.id
            command.task_stopped.fence = task.fence
            command.task_stopped.cause = ended.cause
            command.task_stopped.result.CopyFrom(result)
            return self._by_itself(task, ended)
        else:
            return self._failed(command, task, ended, result)
        return []

    def _by_itself(self, task: Task, ended: Ended) -> list[Command]:
        """A driver's task may ask to be cancelled, which nobody did before."""
        if ended.cause != Cause.CAUSE_CANCEL or task.cancel_requested or task.spec.type in _COMMANDS:
            return []
        reason = checks.short(checks.UNSAFE.sub("?", ended.error).strip())
        return [Command(task_cancel=TaskCancel(id=task.id, reason=reason))]

    def _failed(self, command: Command, task: Task, ended: Ended, result: TaskResult) -> list[Command]:
        text = command_of(task.spec)
        failed = command.task_failed
        failed.id = task.id
        failed.fence = task.fence
        failed.result.CopyFrom(result)
        failed.cause = ended.cause
        failed.error = ended.error[:_ERROR_CHARS]
        failed.retry_delay_us = retry.draw_delay_us(task.spec.retry, task.attempt, self._random)
        failed.fingerprint = deadletter.fingerprint(text.decode("utf-8", "replace"), result, ended.cause)
        if ended.cause in PUT_OFFS:
            failed.put_off_us = retry.draw_put_off_us(task.put_offs, ended.retry_after_ms, self._random)
        if task.spec.type != _SHELL:
            return []
        failed.blame = self._ends.failed(task, text, self._replica.now_us())
        row = self._replica.state.nodes.get(task.node)
        if failed.blame != Blame.BLAME_NODE or row is None or row.suspect_reason:
            return []
        reason = "Different commands fail on it that succeed elsewhere."
        return [Command(node_suspect=NodeSuspect(id=task.node, reason=reason))]

    def _succeeded(self, task: Task) -> list[Command]:
        if task.spec.type != _SHELL:
            return []
        self._ends.succeeded(task.node, task.spec, self._replica.now_us())
        row = self._replica.state.nodes.get(task.node)
        if row is None or not row.suspect_reason or not self._ends.trusted(task.node):
            return []
        return [Command(node_suspect=NodeSuspect(id=task.node))]


def _succeeded(task: Task, ended: Ended) -> bool:
    """Judged by the exit as apply does, so that a report never stands between two commands that both refuse it."""
    if ended.cause not in _EXITS or ended.result.signal:
        return False
    if not ended.result.HasField("exit_code"):
        return not ended.cause
    return ended.result.exit_code == 0 or ended.result.exit_code in task.spec.success_codes


def _bounded(result: TaskResult) -> TaskResult:
    """The result with excerpts of the sizes that the log takes."""
    if not (
        (result.HasField("stdout") and _oversized(result.stdout))
        or (result.HasField("stderr") and _oversized(result.stderr))
    ):
        return result
    bounded = TaskResult()
    bounded.CopyFrom(result)
    for summary in (bounded.stdout, bounded.stderr):
        if _oversized(summary):
            summary.head = summary.head[:_HEAD_BYTES]
            summary.tail = summary.tail[-_TAIL_BYTES:]
    return bounded


def _oversized(summary: StreamSummary) -> bool:
    return len(summary.head) > _HEAD_BYTES or len(summary.tail) > _TAIL_BYTES
