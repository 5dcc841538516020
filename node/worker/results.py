"""From what the supervisor says of an end to what the leader is told."""

from __future__ import annotations

import signal

from cortex.v1 import worker_pb2
from cortex.v1.types_pb2 import Cause, StreamSummary, TaskResult, TaskSpec, TaskUse
from cortex.v1.worker_pb2 import Assignment, Ended
from node.worker.port import AttemptResult, Quiet, StreamEnd, Unkillable


def ended(assignment: Assignment, result: AttemptResult, use: TaskUse | None = None) -> Ended:
    """`use` is what was last measured of it while it ran."""
    message = Ended(task=assignment.task, fence=assignment.fence, cause=result.cause)  # type: ignore[arg-type]
    if result.cause:
        message.error = result.error or _sentence(assignment.spec, result)
    _fill(message.result, result)
    if use is not None:
        usage = message.result.usage
        usage.peak_memory_bytes = max(usage.max_rss_bytes, use.peak_memory_bytes)
        usage.peak_gpu_memory_bytes = use.peak_gpu_memory_bytes
    return message


def unstarted(
    assignment: Assignment, cause: Cause.ValueType, error: str, now_us: int, retry_after_ms: int = 0
) -> Ended:
    """The end of an attempt that never ran; `now_us` is unix time."""
    ended = Ended(task=assignment.task, fence=assignment.fence, cause=cause, error=error)
    ended.retry_after_ms = retry_after_ms
    ended.result.ended_at_us = now_us
    return ended


def notice(event: Quiet | Unkillable) -> worker_pb2.Report:
    """What is told of a command that runs on."""
    task, fence = event.key
    if isinstance(event, Unkillable):
        return worker_pb2.Report(unkillable=worker_pb2.Unkillable(task=task, fence=fence, reason=event.reason))
    stalled = worker_pb2.Stalled(task=task, fence=fence, quiet_us=event.quiet_us, idle=event.idle)
    return worker_pb2.Report(stalled=stalled)


def _fill(message: TaskResult, result: AttemptResult) -> None:
    """In place: each message made apart would be copied."""
    message.signal = result.signal
    _fill_stream(message.stdout, result.stdout)
    _fill_stream(message.stderr, result.stderr)
    usage = message.usage
    usage.wall_us = result.wall_us
    usage.cpu_user_us = result.user_us
    usage.cpu_system_us = result.system_us
    usage.max_rss_bytes = result.max_rss_bytes
    usage.read_bytes = result.read_bytes
    usage.written_bytes = result.written_bytes
    message.started_at_us = result.started_us
    message.ended_at_us = result.ended_us
    if result.exit_code >= 0:
        message.exit_code = result.exit_code


def _fill_stream(message: StreamSummary, end: StreamEnd) -> None:
    message.sha256 = end.sha256
    if end.total_bytes:
        message.total_bytes = end.total_bytes
        message.dropped_bytes = end.dropped_bytes
        message.head = end.head
        message.tail = end.tail


def _sentence(spec: TaskSpec, result: AttemptResult) -> str:
    how = f"exit code {result.exit_code}" if not result.signal else f"signal {_signal(result.signal)}"
    if result.cause == Cause.CAUSE_EXIT:
        return f"The command ended with {how}."
    if result.cause == Cause.CAUSE_SIGNAL:
        return f"The command was killed by {how}, which Cortex did not send."
    if result.cause == Cause.CAUSE_TIMEOUT:
        return f"The command ran longer than its timeout of {spec.timeout_ms / 1000:g} s; it ended with {how}."
    if result.cause == Cause.CAUSE_OUT_OF_MEMORY:
        return f"The kernel killed the command, or a part of it, since memory ran out; it ended with {how}."
    if result.cause == Cause.CAUSE_IDLE:
        return f"The command was stopped because its agent was idle; it ended with {how}."
    if result.cause == Cause.CAUSE_CANCEL:
        return f"The command was stopped by a cancel; it ended with {how}."
    if result.cause == Cause.CAUSE_MIGRATE:
        return f"The command was stopped because its node is emptied or shut down; it ended with {how}."
    if result.cause == Cause.CAUSE_LEASE:
        return f"The command was stopped because its node lost touch with the cluster; it ended with {how}."
    return f"The command ended with {how}."


def _signal(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)
