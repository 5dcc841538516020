"""What a person writes for a task or a node -> the one that is meant."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1.types_pb2 import Operation, Task, Workflow
from node.core.faults import Code, Fault
from node.replica import Replica

_MIN_PREFIX = 4


class Lookup:
    """Ids, unique prefixes of ids, and hostnames. Every method raises Fault."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def task(self, text: str) -> Task:
        task = self._replica.task(text) if text else None
        if task is None:
            task = self._replica.task(self._complete(text))
        if task is None:
            raise _no_task(text)
        return task

    def task_ids(self, texts: Sequence[str]) -> list[str]:
        if not texts:
            raise Fault(Code.INVALID, "No task is named.", "Give one id or more.")
        return list(dict.fromkeys(self.task(text).id for text in texts))

    def operation(self, text: str) -> Operation:
        operation = self._replica.operation(text) if text else None
        if operation is None and len(text) >= _MIN_PREFIX:
            found = set(self._replica.store.operation_ids_with_prefix(text))
            found.update(key for key in self._replica.state.operations if key.startswith(text))
            if len(found) > 1:
                raise _ambiguous(text, found)
            operation = self._replica.operation(found.pop()) if found else None
        if operation is None:
            message = f"There is no operation {text!r}."
            raise Fault(Code.NOT_FOUND, message, "List them with `cortex operations`.")
        return operation

    def workflow(self, text: str) -> Workflow:
        workflow = self._replica.workflow(text) if text else None
        if workflow is None and len(text) >= _MIN_PREFIX:
            found = set(self._replica.store.workflow_ids_with_prefix(text))
            found.update(key for key in self._replica.state.workflows if key.startswith(text))
            if len(found) > 1:
                raise _ambiguous(text, found)
            workflow = self._replica.workflow(found.pop()) if found else None
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
        if not found:
            raise Fault(Code.NOT_FOUND, f"There is no node {text!r}.", "List the nodes with `cortex nodes`.")
        if len(found) > 1:
            message = f"{text!r} could be any of {', '.join(found[:5])}."
            raise Fault(Code.AMBIGUOUS, message, "Write more of the id.")
        return found[0]

    def _complete(self, prefix: str) -> str:
        if len(prefix) < _MIN_PREFIX:
            raise _no_task(prefix)
        found: set[str] = set(self._replica.store.ids_with_prefix(prefix, limit=2))
        found.update(task_id for task_id in self._replica.state.tasks if task_id.startswith(prefix))
        if not found:
            raise _no_task(prefix)
        if len(found) > 1:
            raise _ambiguous(prefix, found)
        return found.pop()


def _ambiguous(text: str, found: set[str]) -> Fault:
    message = f"{text!r} could be {' or '.join(sorted(found)[:2])}."
    return Fault(Code.AMBIGUOUS, message, "Write more of the id.")


def _no_task(text: str) -> Fault:
    return Fault(Code.NOT_FOUND, f"There is no task {text!r}.", "List the tasks with `cortex tasks`.")
