"""What a person writes for a task or a node -> the one that is meant."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1.types_pb2 import Task
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
            message = f"{prefix!r} could be {' or '.join(sorted(found)[:2])}."
            raise Fault(Code.AMBIGUOUS, message, "Write more of the id.")
        return found.pop()


def _no_task(text: str) -> Fault:
    return Fault(Code.NOT_FOUND, f"There is no task {text!r}.", "List the tasks with `cortex tasks`.")
