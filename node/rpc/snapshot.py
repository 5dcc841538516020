"""All rows that a watcher begins with, as of one index, made without holding up the event loop.

Rows never change in place: what is in memory at that index is captured by reference at once. What has ended is read
elsewhere once it is saved; what changed after that index is left out of it, since the watcher is told of it next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from cortex.v1.types_pb2 import Event, Task, Workflow
from node.core.faults import Fault
from node.core.model import ENDED, Key, Row, Table
from node.replica import Replica
from node.store.moment_workflows import WorkflowQuery
from node.store.queries import TaskQuery
from node.store.slow import SlowReads

# What a snapshot shows of the past; older rows are read page by page.
_ENDED_SHOWN = 500
_DEAD_SHOWN = 1000
_WORKFLOWS_SHOWN = 200
# Log indexes, not events.
_EVENTS_SHOWN = 300


class Snapshot:
    """The rows as of `index`, which is the applied one when this is made."""

    def __init__(self, replica: Replica) -> None:
        state = replica.state
        self._replica = replica
        self.index = state.index
        self._tasks = dict(state.tasks)
        self._workflows = dict(state.workflows)
        self._others: list[Row] = [*state.nodes.values(), *state.settings.values(), *state.operations.values()]
        self._past: list[Row] = []

    async def read(self, *, events: bool) -> None:
        """Fetch what has ended. Raises Fault."""
        # With a disk that is slow or full, what the store has is shown all the same.
        with suppress(Fault):
            await self._replica.saver.flush(self.index)
        after = max(0, self.index - _EVENTS_SHOWN)
        self._past = await self._replica.read(lambda reads: _read(reads, after if events else None))

    def rows(self) -> Iterator[Row]:
        yield from self._others
        yield from self._workflows.values()
        yield from self._tasks.values()
        seen: set[str] = set()
        for row in self._past:
            if isinstance(row, Event):
                if row.index <= self.index:
                    yield row
            elif isinstance(row, Task | Workflow) and row.id not in seen and self._is_past(row):
                seen.add(row.id)
                yield row

    def _is_past(self, row: Task | Workflow) -> bool:
        if row.modified_index > self.index:
            return False
        if isinstance(row, Task):
            return row.id not in self._tasks and not self._replica.saver.peek(Key(Table.TASKS, row.id))[0]
        return row.id not in self._workflows and not self._replica.saver.peek(Key(Table.WORKFLOWS, row.id))[0]


def _read(reads: SlowReads, events_after: int | None) -> list[Row]:
    rows: list[Row] = []
    rows += reads.list_workflows(WorkflowQuery(limit=_WORKFLOWS_SHOWN)).workflows
    rows += reads.list_tasks(TaskQuery(states=tuple(sorted(ENDED)), limit=_ENDED_SHOWN)).tasks
    rows += reads.list_dead_letters(_DEAD_SHOWN).tasks
    if events_after is not None:
        rows += reads.recent_events(events_after)
    return rows
