"""A task's specification as YAML with the keys of task files, and back: for editing before a retry. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

import yaml

from cortex.v1 import types_pb2
from tui.documents.json_view import label
from tui.written.taskspec import BadField, task_request

_HEAD = "# Task {id} will be run again as follows. Durations as 30s, 5m or 1h30m.\n"
_TEXT_ONLY = "it has bytes that are no text, which cannot be edited here"
# Fields of a specification that a file may have no key for: they stay as they are.
_KEPT = frozenset({"payload", "wait_ms"})


def dump(task: types_pb2.Task) -> str:
    """The specification as a file. Raises BadField for what cannot be written as text."""
    fields = spec_fields(task.spec)
    body = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    return _HEAD.format(id=task.id) + body


def parse(text: str, task: types_pb2.Task) -> types_pb2.TaskSpec:
    """The specification that an edited file says. Raises BadField."""
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark is not None else "the file"
        raise BadField(where, f"it is no YAML: {getattr(error, 'problem', None) or 'it cannot be read'}") from None
    if not isinstance(fields, Mapping):
        raise BadField("the file", "it is no map of keys to values")
    for key in ("name", "key", "priority"):
        if key in fields:
            raise BadField(key, "a retry keeps it; only what is run can be edited")
    spec = task_request(fields).spec
    shown = _payload(task.spec)
    if isinstance(shown, dict) and _payload(spec) == shown:
        # Not other bytes for the same, which would be shown as a difference.
        spec.payload = task.spec.payload
    given = {field.name for field, _ in spec.ListFields()} | ({"payload"} if isinstance(shown, dict) else set())
    for field, value in task.spec.ListFields():
        if field.name in _KEPT - given:
            setattr(spec, field.name, value)
    return spec


def difference(before: str, after: str) -> list[str]:
    """Lines that say what was edited."""
    lines = unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="", n=1)
    return [line for line in lines if not line.startswith("@@")]


def spec_fields(spec: types_pb2.TaskSpec) -> dict[str, Any]:
    """The keys of a task file that lead to `spec`; what is empty is left out. Raises BadField."""
    fields: dict[str, Any] = {"type": _word(types_pb2.TaskType, "TASK_TYPE_", spec.type)}
    if spec.argv:
        fields["command"] = [_text("command", part) for part in spec.argv]
    elif spec.shell_command:
        fields["command"] = _text("command", spec.shell_command)
    if isinstance(payload := _payload(spec), dict):
        fields["payload"] = payload
    more = {
        "cwd": spec.cwd,
        "env": {item.name: _text("env", item.value) for item in spec.env},
        "timeout": _duration(spec.timeout_ms),
        "queue_timeout": _duration(spec.queue_timeout_ms),
        "kill_timeout": _duration(spec.kill_timeout_ms),
        "stall_after": _duration(spec.stall_after_ms) or "0s",
        "idle_timeout": _duration(spec.idle_timeout_ms) or "0s",
        "sandbox": _word(types_pb2.SandboxLevel, "SANDBOX_LEVEL_", spec.sandbox),
        "on_lost": _on_lost(spec),
        "on_exhausted": _word(types_pb2.OnExhausted, "ON_EXHAUSTED_", spec.on_exhausted),
        "success_codes": list(spec.success_codes),
        "no_retry_codes": list(spec.no_retry_codes),
        "locks": list(spec.locks),
        "limit": f"{spec.limit_key}={spec.limit_count}" if spec.limit_count else "",
        "constraints": _constraints(spec.constraints),
        "requests": _plain(spec.requests),
        "retry_policy": _retry(spec.retry),
    }
    fields.update({name: value for name, value in more.items() if value})
    return fields


def _payload(spec: types_pb2.TaskSpec) -> Any:
    """What its JSON says; None where it is none."""
    try:
        return json.loads(spec.payload) if spec.payload else None
    except ValueError:
        return None


def _text(field: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadField(field, _TEXT_ONLY) from None


def _duration(milliseconds: int) -> str:
    if milliseconds % 1000:
        return f"{milliseconds}ms"
    return f"{milliseconds // 1000}s" if milliseconds else ""


def _word(enum: Any, prefix: str, number: int) -> str:
    return str(enum.Name(number)).removeprefix(prefix).lower() if number else ""


def _on_lost(spec: types_pb2.TaskSpec) -> str:
    word = _word(types_pb2.OnLost, "ON_LOST_", spec.on_lost)
    return f"wait({_duration(spec.wait_ms)})" if spec.on_lost == types_pb2.ON_LOST_WAIT else word


def _plain(message: Any) -> dict[str, Any]:
    """Fields that are set, of a message of numbers and words."""
    return {field.name: list(value) if field.is_repeated else value for field, value in message.ListFields()}


def _constraints(row: types_pb2.Constraints) -> dict[str, Any]:
    found = _plain(row)
    if row.node_labels:
        found["node_labels"] = [label(item) for item in row.node_labels]
    return found


def _retry(row: types_pb2.RetryPolicy) -> dict[str, Any]:
    found = {field.name: value for field, value in row.ListFields() if field.name != "jitter"}
    if row.jitter:
        found["jitter"] = _word(types_pb2.Jitter, "JITTER_", row.jitter)
    return found
