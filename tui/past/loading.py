"""Reads one past moment from the source, in pages; the first ones are enough to show it."""

from __future__ import annotations

import asyncio

from cortex.v1 import types_pb2
from tui.past.moments import Moment
from tui.past.view import Loaded, PastView
from tui.source import Source
from tui.store.view import ENDED

PAGE = 1000
FIRST_PAGE = 200
CAUSES = 1000
OPERATIONS = 200
MAX_TASKS = 20_000
"""Tasks of a moment that are read at most; `/` finds among those."""
_LIVE = tuple(state for state in types_pb2.TaskState.values() if state and state not in ENDED)
_ON_NODES = (types_pb2.TASK_STATE_RUNNING, types_pb2.TASK_STATE_ASSIGNED)
_DEAD = (types_pb2.TASK_STATE_DEAD_LETTER,)


async def load_moment(source: Source, wanted: Moment) -> Loaded:
    """The nodes, and the first page of everything else: enough to show it, and quick to find.

    Raises SourceError.
    """
    nodes = await source.list_nodes(at=wanted)
    at = Moment(index=nodes.at.index, at_us=nodes.at.at_us)
    here = Moment(index=at.index) if at.index else at
    (dead, newest, events), (workflows, causes, operations) = await asyncio.gather(
        asyncio.gather(
            source.list_tasks(_DEAD, FIRST_PAGE, at=here),
            source.list_tasks((), PAGE, at=here),
            source.list_events(limit=FIRST_PAGE, at=here),
        ),
        asyncio.gather(
            source.list_workflows(limit=FIRST_PAGE, at=here),
            source.list_causes(CAUSES, at=here),
            source.list_operations(limit=OPERATIONS, at=here),
        ),
    )
    return Loaded(
        at,
        nodes.nodes,
        {task.id: task for reply in (newest, dead) for task in reply.tasks},
        workflows.workflows,
        operations.operations,
        events.events,
        causes,
        newest.total,
        newest.next_cursor,
    )


async def load_rest(source: Source, loaded: Loaded, view: PastView) -> None:
    """What ran, then what waited, then all other tasks, up to MAX_TASKS, page by page. Raises SourceError.

    Which had not ended is what the cluster takes longest to find: it walks the events since then.
    """
    here = Moment(index=loaded.at.index)
    if not loaded.cursor:
        view.live_total = sum(task.state not in ENDED for task in loaded.tasks.values())
        return
    view.live_total = (await source.list_tasks(_LIVE, 1, at=here)).total
    for states, first in ((_ON_NODES, ""), (_LIVE, ""), ((), loaded.cursor)):
        cursor: str | None = first or None
        while cursor != "" and len(view.tasks) < MAX_TASKS:
            reply = await source.list_tasks(states, PAGE, cursor or "", at=here)
            for task in reply.tasks:
                view.put_task(task)
            cursor = reply.next_cursor


async def oldest_moment(source: Source) -> Moment | None:
    """The first moment that is kept; None when nothing has happened yet. Raises SourceError."""
    reply = await source.list_events(limit=1, oldest=True)
    if not reply.events:
        return None
    return Moment(index=reply.events[0].index, at_us=reply.events[0].at_us)


async def index_at(source: Source, at_us: int) -> int:
    """Log index of the last event up to a time. Raises SourceError."""
    return (await source.list_events(limit=1, at=Moment(at_us=at_us))).at.index
