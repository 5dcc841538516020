"""What a console asks for beside the stream, whose snapshot has live rows only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from cortex.v1 import types_pb2
from tui.source import Source, SourceError
from tui.store.view import ClusterView

TASKS = 1000
EVENTS = 1000
OPERATIONS = 200
WORKFLOWS = 1000
SPANS_US = (3_600_000_000, 600_000_000, 60_000_000, 5_000_000)
"""How far back events are asked for; the first span of which all fit in one page."""


async def load_history(source: Source, view: ClusterView, clock: Callable[[], float]) -> None:
    """What ended lately, the last workflows, operations and events. Stops at the first call that fails."""
    with suppress(SourceError):
        dead = await source.list_tasks((types_pb2.TASK_STATE_DEAD_LETTER,), TASKS)
        for task in dead.tasks:
            view.put_task(task)
        ended = await source.list_tasks((), TASKS)
        for task in ended.tasks:
            view.put_task(task)
        for workflow in (await source.list_workflows(limit=WORKFLOWS)).workflows:
            view.put_workflow(workflow)
        for operation in (await source.list_operations(limit=OPERATIONS)).operations:
            view.put_operation(operation)
        for span_us in SPANS_US:
            since_us = max(0, view.now_us(clock()) - span_us)
            reply = await source.list_events(since_us=since_us, limit=EVENTS)
            if not reply.next_cursor:
                break
        for event in reply.events:
            view.put_event(event)
