"""What a person writes for a task or a node -> the one that is meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from cortex.v1.types_pb2 import Operation, Task, Workflow
from node.core.faults import Code, Fault
from node.replica import Replica

_MIN_PREFIX = 4

R = TypeVar("R")


class Lookup:
    """Ids, unique prefixes of ids, and hostnames. Every method raises Fault."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def task(self, text: str) -> Task:
        replica = self._replica
        try:
            task = _found(text, replica.task, replica.store.ids_with_prefix, replica.state.tasks)
        except Fault:
            # The ids of a workflow's tasks begin with its own.
            if replica.workflow(text) is None:
                raise
            message = f"{text!r} is a workflow, not a task."
            raise Fault(
                Code.NOT_FOUND, message, "Name one of its tasks; `cortex workflow show` lists them."
            ) from None
        if task is None:
            raise Fault(Code.NOT_FOUND, f"There is no task {text!r}.", "List the tasks with `cortex tasks`.")
        return task

    def task_ids(self, texts: Sequence[str]) -> list[str]:
        if not texts:
            raise Fault(Code.INVALID, "No task is named.", "Give one id or more.")
        return list(dict.fromkeys(self.task(text).id for text in texts))

    def operation(self, text: str) -> Operation:
        replica = self._replica
        operation = _found(
            text, replica.operation, replica.store.operation_ids_with_prefix, replica.state.operations
        )
        if operation is None:
            message = f"There is no operation {text!r}."
            raise Fault(Code.NOT_FOUND, message, "List them with `cortex operations`.")
        return operation

    def workflow(self, text: str) -> Workflow:
        replica = self._replica
        workflow = _found(text, replica.workflow, replica.store.workflow_ids_with_prefix, replica.state.workflows)
        if workflow is None:
            message = f"There is no workflow {text!r}."
            raise Fault(Code.NOT_FOUND, message, "List them with `cortex workflow list`.")
        return workflow

    def cause(self, text: str) -> str:
        """Fingerprint of dead letters, as far as they are saved."""
        found = self._replica.store.causes_with_prefix(text) if text else []
        if not found:
            message = f"No dead letter has the cause {text!r}."
            raise Fault(Code.NOT_FOUND, message, "See `cortex dead-letters --group`.")
        if len(found) > 1 and text not in found:
            raise _ambiguous(text, set(found))
        return text if text in found else found[0]

    def node_id(self, text: str) -> str:
        nodes = self._replica.state.nodes
        if text in nodes:
            return text
        found = sorted(
            {node.id for node in nodes.values() if text and (node.id.startswith(text) or node.hostname == text)}
        )
        before, slash, _ = text.partition("/")
        if not found and slash and before in nodes:
            message = f"{text[:200]!r} is reached through node {before} and has no state of its own."
            raise Fault(Code.NOT_FOUND, message, f"Name {before}.")
        if not found:
            raise Fault(Code.NOT_FOUND, f"There is no node {text!r}.", "List the nodes with `cortex nodes`.")
        if len(found) > 1:
            message = f"{text!r} could be any of {', '.join(found[:5])}."
            raise Fault(Code.AMBIGUOUS, message, "Write more of the id.")
        return found[0]


def _found(
    text: str,
    get: Callable[[str], R | None],
    saved: Callable[[str], Iterable[str]],
    in_memory: Iterable[str],
) -> R | None:
    """The row of that id, else of the only id that begins so; None when there is neither. Raises Fault."""
    row = get(text) if text else None
    if row is not None or len(text) < _MIN_PREFIX:
        return row
    found = {*saved(text), *(key for key in in_memory if key.startswith(text))}
    if len(found) > 1:
        raise _ambiguous(text, found)
    return get(found.pop()) if found else None


def _ambiguous(text: str, found: set[str]) -> Fault:
    message = f"{text!r} could be {' or '.join(sorted(found)[:2])}."
    return Fault(Code.AMBIGUOUS, message, "Write more of the id.")
