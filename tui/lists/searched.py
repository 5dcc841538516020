"""What a filter's plain words look for in a row. Pure."""

from __future__ import annotations

from cortex.v1 import types_pb2


def task_text(task: types_pb2.Task) -> str:
    command = task.spec.shell_command or b" ".join(task.spec.argv)
    return "\n".join((task.name, task.id, command.decode("utf-8", "replace"), task.node, task.error, task.reason))


def workflow_text(row: types_pb2.Workflow) -> str:
    return "\n".join((row.name, row.id, row.reason, row.actor))


def operation_text(row: types_pb2.Operation) -> str:
    return "\n".join((row.id, row.node, row.actor, row.reason, row.outcome))


def event_text(event: types_pb2.Event) -> str:
    word = types_pb2.EventType.Name(event.type)[len("EVENT_TYPE_") :]
    return "\n".join((event.task, event.node, word, event.detail, event.actor))
