"""What to do about a refusal that apply recorded: its cause comes with it, its subject from the command."""

from __future__ import annotations

from typing import Any, NamedTuple

from cortex.v1.log_pb2 import Command
from cortex.v1.types_pb2 import OperationKind
from node.core.faults import Code


class Subject(NamedTuple):
    """What a command is about. `id` is empty where there is no such thing yet, or there are several."""

    kind: str = ""  # task, node, workflow, operation or settings
    id: str = ""
    verb: str = ""  # that a user gives the command with


_SHOW = {
    "task": "cortex task {}",
    "node": "cortex node {}",
    "workflow": "cortex workflow show {}",
    "operation": "cortex operations {}",
    "settings": "cortex settings get {}",
}
_LIST = {
    "task": "cortex tasks",
    "node": "cortex nodes",
    "workflow": "cortex workflow list",
    "operation": "cortex operations",
    "settings": "cortex settings get",
}
_VERBS = {
    "task_submit": "submit",
    "task_cancel": "cancel",
    "task_annotate": "annotate",
    "node_cordon": "cordon",
    "node_leave": "remove",
    "config_change": "voters",
    "workflow_submit": "workflow submit",
    "workflow_cancel": "workflow cancel",
    "workflow_resume": "workflow resume",
    "operation_stop": "undo",
    "settings_change": "settings set",
}
_OF_CODE = {
    Code.ALREADY_EXISTS: "Choose another key, or submit exactly what the key stands for.",
    Code.QUEUE_FULL: "Wait until tasks have ended, or raise max_queue_depth.",
    Code.OVERLOADED: "Try again in a second.",
    Code.TOO_LARGE: "Ask for less at a time.",
}


def subject_of(command: Command) -> Subject:
    kind = command.WhichOneof("kind") or ""
    verb = _VERBS.get(kind, "")
    if not kind or kind.endswith("_submit"):
        return Subject(kind.partition("_")[0], "", verb)
    inner: Any = getattr(command, kind)
    if kind == "operation_start":
        row = inner.operation
        verb = OperationKind.Name(row.kind).removeprefix("OPERATION_KIND_").lower()
        if len(row.bulk.ids) == 1:
            return Subject("task", row.bulk.ids[0], verb)
        return Subject("node", row.node, verb) if row.node else Subject("operation", "", verb)
    if kind == "settings_change":
        return Subject("settings", inner.name, verb)
    noun = "node" if kind == "config_change" else kind.partition("_")[0]
    return Subject(noun, getattr(inner, "id", ""), verb)


def remedy(code: Code, subject: Subject) -> str:
    """One sentence, with a command that can be given as it stands."""
    if code in _OF_CODE:
        return _OF_CODE[code]
    lists = _LIST.get(subject.kind, "cortex nodes")
    if code == Code.NOT_FOUND:
        return f"List what exists with `{lists}`."
    if code == Code.INVALID and subject.kind == "settings":
        return f"`{_SHOW[subject.kind].format(subject.id)}` says what it may be."
    if code == Code.INVALID:
        verb = f"cortex {subject.verb}" if subject.verb else "cortex"
        return f"Correct that, and ask again; `{verb} --help` says what can be given."
    shown = _SHOW[subject.kind].format(subject.id) if subject.id and subject.kind in _SHOW else lists
    return f"See its present state with `{shown}`."
