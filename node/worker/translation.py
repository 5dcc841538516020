"""Orders, events and results between the worker's port and the supervisor's wire."""

from __future__ import annotations

from collections.abc import Mapping

from cortex.v1.types_pb2 import Cause
from node.supervisor import wire
from node.worker.port import (
    AttemptKey,
    AttemptResult,
    Connected,
    Delayed,
    Finished,
    HeldAttempt,
    HeldState,
    Limits,
    Quiet,
    Returned,
    SpawnOrder,
    Started,
    StreamEnd,
    SupervisorEvent,
    Unkillable,
)

_STREAMS = wire.RESULT_FIELDS.index("stdout")


def order_values(order: SpawnOrder) -> tuple[object, ...]:
    """In the order of wire.ORDER_FIELDS."""
    values = (
        str(order.key),
        order.kind,
        order.priority,
        order.created_us,
        order.argv,
        dict(order.env),
        order.cwd,
        order.output,
        order.timeout_us,
        order.kill_timeout_us,
        order.lease_end_us,
        order.success_codes,
        order.start_before_us,
        order.stall_us,
        order.idle_us,
        _limits(order.limits) if order.limits is not None else {},
    )
    return wire.shortened(values)


def _limits(limits: Limits) -> dict[str, object]:
    """Those that there are."""
    values = {
        "wrap": list(limits.wrap),
        "seccomp": limits.seccomp,
        "folder": limits.folder,
        "owner": limits.owner,
        "memory_bytes": limits.memory_bytes,
        "pids": limits.pids,
        "cpu_millis": limits.cpu_millis,
        "rlimits": dict(limits.rlimits),
        "folder_fd": limits.folder_fd,
    }
    return {name: value for name, value in values.items() if value}


def event_of(message: tuple[object, ...], greeting: Mapping[str, str]) -> SupervisorEvent | None:
    """None for a message that this release does not know. Unknown items at its end are passed over."""
    kind, rest = message[0], message[1:]
    if kind == "inventory":
        attempts = [_held(*item[:5]) for item in rest[0]]  # type: ignore[attr-defined]
        return Connected(greeting.get("boot", ""), int(greeting.get("pid", "0")), attempts)
    if kind == "started":
        key, pid, started_us = rest[:3]
        return Started(AttemptKey.parse(str(key)), int(pid), int(started_us))  # type: ignore[call-overload]
    if kind == "ended":
        key, result = rest[:2]
        return Finished(AttemptKey.parse(str(key)), _result(result))  # type: ignore[arg-type]
    if kind == "recalled":
        key, never_started = rest[:2]
        return Returned(AttemptKey.parse(str(key)), bool(never_started))
    if kind == "delayed":
        return Delayed(str(rest[0]))
    if kind == "quiet":
        key, quiet_us, idle = rest[:3]
        return Quiet(AttemptKey.parse(str(key)), int(quiet_us), bool(idle))  # type: ignore[call-overload]
    if kind == "unkillable":
        key, reason = rest[:2]
        return Unkillable(AttemptKey.parse(str(key)), str(reason))
    return None


def _held(key: str, state: str, pid: int, started_us: int, result: tuple[object, ...]) -> HeldAttempt:
    return HeldAttempt(
        AttemptKey.parse(key), HeldState(state), pid, started_us, _result(result) if result else None
    )


def _result(values: tuple[object, ...]) -> AttemptResult:
    plain, (stdout, stderr), added = values[:_STREAMS], values[_STREAMS : _STREAMS + 2], values[_STREAMS + 2 :]
    streams = StreamEnd(*stdout), StreamEnd(*stderr)  # type: ignore[misc]
    known = added[: len(wire.RESULT_FIELDS) - wire.RESULT_BASE]
    return AttemptResult(*plain, *streams, *known)  # type: ignore[arg-type,call-arg,unused-ignore]


def refused() -> AttemptResult:
    """Of an order for a supervisor of an older release, which would not do all that it asks for."""
    nothing = StreamEnd(0, 0, b"", b"", b"")
    why = (
        "The supervisor of this node is of an older release, which cannot be brought up to date in place. "
        "Let its commands end, then end the process that supervisor.pid in its data folder names."
    )
    return AttemptResult(Cause.CAUSE_CANNOT_START, why, -1, 0, 0, 0, 0, 0, 0, 0, nothing, nothing)
