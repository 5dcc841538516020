"""Why queued tasks wait: the leader tells it once for all that ask for the same. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from cortex.v1 import types_pb2
from tui.drawing.format import duration
from tui.store.ends import put_off_text


def shape_key(shape: types_pb2.Shape) -> bytes:
    return shape.SerializeToString(deterministic=True)


def shape_of(spec: types_pb2.TaskSpec) -> types_pb2.Shape:
    """What the task asks for, without what is its own."""
    shape = types_pb2.Shape(type=spec.type, locks=sorted(set(spec.locks)))
    if spec.HasField("constraints"):
        shape.constraints.CopyFrom(spec.constraints)
    if spec.HasField("requests"):
        shape.requests.CopyFrom(spec.requests)
    if spec.limit_count > 0:
        shape.limit_key, shape.limit_count = spec.limit_key, spec.limit_count
    if spec.sandbox > types_pb2.SANDBOX_LEVEL_NONE:
        shape.sandbox = spec.sandbox
    return shape


def wait_reason(task: types_pb2.Task, reasons: Mapping[bytes, str], now_us: int) -> str:
    """Why a queued task has no place; empty when its turn is next, or it is not queued."""
    if task.state != types_pb2.TASK_STATE_QUEUED:
        return ""
    early_us = task.scheduled_after_us - now_us
    if early_us > 0 and now_us:
        if put_off := put_off_text(task, now_us):
            return put_off
        return f"not due for {duration(early_us)}"
    return reasons.get(shape_key(shape_of(task.spec)), "") if reasons else ""
