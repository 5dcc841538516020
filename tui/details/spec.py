"""A task's specification, as lines. Pure."""

from __future__ import annotations

from cortex.v1 import types_pb2
from tui.columns.base import Draw
from tui.columns.tasks import type_word
from tui.details.common import long_text, pair, title
from tui.drawing.draw import Cell, bytes_of, count_of
from tui.drawing.format import duration
from tui.drawing.gist import payload_text

Task = types_pb2.Task

_ON_LOST = {
    types_pb2.ON_LOST_WAIT: "waits for its machine",
    types_pb2.ON_LOST_HOLD: "held for an operator",
}
_SANDBOX = {types_pb2.SANDBOX_LEVEL_DEFAULT: "default", types_pb2.SANDBOX_LEVEL_STRICT: "strict"}


def spec_lines(task: Task, draw: Draw, width: int) -> list[Cell]:
    spec, glyphs = task.spec, draw.glyphs
    """What was asked for; defaults that everything has are left out."""
    lines = title("SPECIFICATION")
    lines.append(pair("type", (type_word(task), "text"), (f"   priority {task.priority}", "text")))
    if spec.cwd:
        lines += long_text("directory", spec.cwd, "text", draw, width, most=2)
    if spec.env:
        # Names only: values may be secrets.
        lines += long_text("environment", " ".join(item.name for item in spec.env), "text", draw, width, most=3)
    limits = [
        f"{name} {duration(length_ms * 1000)}"
        for name, length_ms in (
            ("run", spec.timeout_ms),
            ("queue", spec.queue_timeout_ms),
            ("kill", spec.kill_timeout_ms),
        )
        if length_ms
    ]
    if limits:
        lines.append(pair("time limits", (", ".join(limits), "text")))
    retry = spec.retry
    policy = "never"
    if retry.retryable and retry.max_retries:
        policy = f"{retry.max_retries} times, after {duration(retry.backoff_ms * 1000)}"
        policy += (
            f" × {retry.backoff_multiplier:g}" if not glyphs.ascii_only else f" x {retry.backoff_multiplier:g}"
        )
    lines.append(pair("retry", (policy, "text")))
    if needs := needs_of(spec):
        lines += long_text("needs", needs, "text", draw, width, most=3)
    for label, text in _rest(spec):
        lines += long_text(label, text, "text", draw, width, most=2)
    if task.submit_key:
        lines += long_text("key", task.submit_key, "text", draw, width, most=1)
    if task.workflow_id:
        lines += long_text("workflow", f"{task.workflow_id}  as {task.task_key}", "text", draw, width, most=2)
    if task.operation:
        lines += long_text("operation", task.operation, "text", draw, width, most=1)
    if task.actor:
        lines += long_text("by", task.actor, "text", draw, width, most=1)
    lines.append(pair("index", (f"{count_of(task.created_index)} to {count_of(task.modified_index)}", "dim")))
    return lines


def _rest(spec: types_pb2.TaskSpec) -> list[tuple[str, str]]:
    """Whatever else is not as it is by default."""
    rest: list[tuple[str, str]] = []
    if spec.locks:
        rest.append(("locks", " ".join(spec.locks)))
    if spec.limit_count:
        rest.append(("limit", f"{spec.limit_count} of {spec.limit_key} at once"))
    codes = [f"{code} succeeds" for code in spec.success_codes]
    codes += [f"{code} is final" for code in spec.no_retry_codes]
    if codes:
        rest.append(("exit codes", ", ".join(codes)))
    if spec.on_lost in _ON_LOST:
        waits = f" for {duration(spec.wait_ms * 1000)}" if spec.wait_ms else ""
        rest.append(("when lost", _ON_LOST[spec.on_lost] + waits))
    if spec.on_exhausted == types_pb2.ON_EXHAUSTED_FAIL:
        rest.append(("exhausted", "ends as failed, not as a dead letter"))
    if spec.sandbox in _SANDBOX:
        rest.append(("sandbox", _SANDBOX[spec.sandbox]))
    silence = []
    if spec.stall_after_ms:
        silence.append(f"escalated after {duration(spec.stall_after_ms * 1000)}")
    if spec.idle_timeout_ms:
        silence.append(f"taken from its node after {duration(spec.idle_timeout_ms * 1000)}")
    if silence:
        rest.append(("silence", ", ".join(silence)))
    if spec.payload:
        rest.append(("payload", payload_text(spec.payload)))
    return rest


def needs_of(spec: types_pb2.TaskSpec) -> str:
    """Constraints and requests in words; empty when any node will do."""
    asked, reserved = spec.constraints, spec.requests
    parts = []
    if asked.target_node:
        parts.append(f"on {asked.target_node}")
    if asked.requires_gpu:
        parts.append("a GPU")
    if asked.avoid_gaming:
        parts.append("nobody gaming")
    if asked.min_memory_mb:
        parts.append(f"{asked.min_memory_mb} MB memory")
    if asked.min_disk_gb:
        parts.append(f"{asked.min_disk_gb} GB disk")
    if asked.node_labels:
        labels = " or ".join(f"{item.key}={item.value}" if item.value else item.key for item in asked.node_labels)
        parts.append(f"label {labels}")
    if asked.capabilities:
        parts.append("capability " + " and ".join(asked.capabilities))
    if asked.preferred_capabilities:
        parts.append("rather with " + " and ".join(asked.preferred_capabilities))
    if asked.allowed_nodes:
        parts.append("one of " + " ".join(asked.allowed_nodes))
    if asked.excluded_nodes:
        parts.append("none of " + " ".join(asked.excluded_nodes))
    if reserved.cpu_millis:
        parts.append(f"{reserved.cpu_millis / 1000:g} cores reserved")
    if reserved.memory_bytes:
        parts.append(f"{bytes_of(reserved.memory_bytes)} reserved")
    if reserved.gpus:
        parts.append(f"{reserved.gpus} GPUs reserved")
    return ", ".join(parts)
