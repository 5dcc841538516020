"""What a running task tells of itself, and of services that it needs: ready, put off."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import TaskReady
from cortex.v1.types_pb2 import Endpoint, Task
from node.core import checks
from node.core.transitions.draft import Draft, Refusal
from node.core.transitions.end import requeue

# Times that a run may be put off before that costs an attempt.
PUT_OFF_LIMIT = 100
# Causes of failures that are the fault of a service which the task needs.
PUT_OFFS = frozenset({types_pb2.CAUSE_RATE_LIMITED, types_pb2.CAUSE_INFRASTRUCTURE})
ENDPOINTS_LIMIT = 16
_ENDPOINT_CHARS = 500


def ready(draft: Draft, task: Task, command: TaskReady) -> Refusal | None:
    """A service takes requests, for the first time in its attempt or, begun again, at other endpoints."""
    if is_known(task, command.endpoints):
        return None
    new = draft.edit(task)
    new.ready_at_us = draft.now_us
    new.ClearField("endpoints")
    new.endpoints.extend(_shown(command.endpoints))
    draft.put(task, new)
    places = ", ".join(f"{endpoint.name} {endpoint.value}" for endpoint in new.endpoints)
    draft.event(types_pb2.EVENT_TYPE_READY, new, places)
    return None


def is_known(task: Task, endpoints: Iterable[Endpoint]) -> bool:
    """Whether `task` is ready at these already."""
    return bool(task.ready_at_us) and list(task.endpoints) == _shown(endpoints)


def begun(new: Task) -> None:
    """It started anew: what an attempt before told of itself holds no more."""
    new.ClearField("ready_at_us")
    new.ClearField("endpoints")


def _shown(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Without those that no terminal could show."""
    first = islice(endpoints, ENDPOINTS_LIMIT)
    return [endpoint for endpoint in first if not (_flaw(endpoint.name) or _flaw(endpoint.value))]


def _flaw(text: str) -> str | None:
    return checks.text_flaw("endpoint", text, _ENDPOINT_CHARS)


def put_off(draft: Draft, task: Task, new: Task, delay_us: int) -> bool:
    """Queue `new` again after `delay_us` with nothing counted, where its failure is a service's; whether it was."""
    if new.cause not in PUT_OFFS or task.put_offs >= PUT_OFF_LIMIT:
        return False
    new.put_offs = task.put_offs + 1
    requeue(draft, new, delay_us)
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_PUT_OFF, new, f"for {delay_us // 1_000_000} s, nothing counted: {new.error}")
    return True
