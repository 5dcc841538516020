"""Reads that may take long: text filters, views of the past, differences, long lists of events.

They have a connection of their own, so that nothing quick waits for them; whoever has an event loop calls them on
another thread. One that takes more steps than a limit is given up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from cortex.v1.types_pb2 import Event, Node, Operation, Setting, Task, Workflow
from node.core.faults import Code, Fault
from node.core.model import ASSIGNED, RUNNING, Table
from node.store import diff, moment, moment_operations, moment_workflows, queries, workflows
from node.store.asof import At, Moment, task_as_of
from node.store.connect import Connection
from node.store.diff import RowDiff
from node.store.double_runs import DoubleRunPage, list_double_runs
from node.store.events import EventPage, EventQuery, list_events
from node.store.moment_workflows import WorkflowPage, WorkflowQuery
from node.store.operations import Cause, OperationPage
from node.store.queries import TaskPage, TaskQuery
from node.store.rows import Codec

# Operations of SQLite's machine, of which it does some 100 million a second, and how many times that.
_STEP = 1_000_000
_STEPS_LIMIT = 2_000
_EVENTS_SHOWN = 1_000


class Held(NamedTuple):
    """How many tasks were on a node."""

    assigned: int
    running: int


@dataclass(frozen=True, slots=True)
class Difference:
    rows: list[RowDiff]
    truncated: bool
    begin: At
    end: At


class SlowReads:
    """Every method raises Fault for a bad cursor or limit or a moment of which nothing is known, and StoreError."""

    def __init__(
        self,
        connection: Connection,
        codecs: dict[Table, Codec],
        *,
        step: int = _STEP,
        steps_limit: int = _STEPS_LIMIT,
    ) -> None:
        self._connection = connection
        self._codecs = codecs
        self._step = step
        self._steps_limit = steps_limit
        self._closed = False

    def close(self) -> None:
        """Give up what is being read."""
        self._closed = True

    def list_tasks(self, query: TaskQuery) -> TaskPage:
        """Tasks that match now, newest first."""
        with self._reading() as db:
            return queries.list_tasks(db, self._codecs[Table.TASKS], query)

    def list_events(self, query: EventQuery) -> EventPage:
        with self._reading() as db:
            return list_events(db, self._codecs[Table.EVENTS], query)

    def list_dead_letters(self, limit: int) -> TaskPage:
        """The latest dead letters."""
        with self._reading() as db:
            return queries.list_dead_letters(db, self._codecs[Table.TASKS], limit, "")

    def list_workflows(self, query: WorkflowQuery) -> WorkflowPage:
        """Workflows that match now, newest first."""
        with self._reading() as db:
            return workflows.list_workflows(db, self._codecs[Table.WORKFLOWS], query)

    def members(self, workflow_id: str) -> list[Task]:
        """All tasks of a workflow that are saved, in no order."""
        codec = self._codecs[Table.TASKS]
        sql = f"SELECT {', '.join(codec.columns)} FROM te_tasks WHERE workflow_id = ? AND workflow_id <> ''"
        with self._reading() as db:
            found = db.execute(sql, (workflow_id,)).fetchall()
        return [row for values in found if isinstance(row := codec.decode(values), Task)]

    def recent_events(self, after_index: int) -> list[Event]:
        """The last events, oldest first, none of an entry up to `after_index`."""
        with self._reading() as db:
            query = EventQuery(newest_first=True, limit=_EVENTS_SHOWN)
            page = list_events(db, self._codecs[Table.EVENTS], query)
        return [event for event in reversed(page.events) if event.index > after_index]

    def list_tasks_at(self, query: TaskQuery, wanted: Moment) -> tuple[TaskPage, At]:
        """As list_tasks(), as they were."""
        with self._reading() as db:
            at = moment.resolve(db, wanted)
            view = moment_operations if query.operation else moment
            return view.list_tasks(db, self._codecs, query, at), at

    def list_letters_at(self, cause: str, query: TaskQuery, wanted: Moment) -> tuple[TaskPage, At]:
        """Dead letters of one cause, given by a unique prefix, as they were, the latest first."""
        with self._reading() as db:
            at = moment.resolve(db, wanted)
            return moment_operations.list_letters(db, self._codecs, cause, query, at), at

    def list_causes_at(self, limit: int, wanted: Moment) -> tuple[list[Cause], At]:
        """Causes of dead letters as they were, most letters first."""
        with self._reading() as db:
            at = moment.resolve(db, wanted)
            return moment_operations.list_causes(db, self._codecs, limit, at), at

    def list_operations_at(self, live: bool, limit: int, cursor: str, wanted: Moment) -> tuple[OperationPage, At]:
        """Operations as they were, newest first."""
        with self._reading() as db:
            at = moment.resolve(db, wanted)
            return moment_operations.list_operations(db, self._codecs, live, limit, cursor, at), at

    def operation_at(self, operation_id: str, wanted: Moment) -> tuple[Operation | None, At]:
        """An operation as it was; None when it was not there, or is not any more."""
        with self._reading() as db:
            at = moment.resolve(db, wanted)
            return moment_operations.operation(db, self._codecs, operation_id, at), at

    def list_events_at(self, query: EventQuery, wanted: Moment) -> tuple[EventPage, At]:
        """Events up to that moment."""
        with self._reading() as db:
            at = moment.resolve(db, wanted)
            query = replace(query, through_index=at.index)
            return list_events(db, self._codecs[Table.EVENTS], query), at

    def list_double_runs_at(self, task: str, limit: int, cursor: str, wanted: Moment) -> tuple[DoubleRunPage, At]:
        """The ledger up to that moment."""
        with self._reading() as db:
            at = moment.resolve(db, wanted)
            codec = self._codecs[Table.DOUBLE_RUNS]
            return list_double_runs(db, codec, task, limit, cursor, at.index), at

    def task_at(self, task_id: str, wanted: Moment) -> tuple[Task | None, list[Event], At]:
        """A task as it was, with its events until then; None when it was not there, or is not any more."""
        with self._reading() as db:
            at = moment.resolve(db, wanted)
            codec, events = self._codecs[Table.TASKS], self._codecs[Table.EVENTS]
            found = db.execute(
                f"SELECT {', '.join(codec.columns)} FROM te_tasks WHERE id = ?", (task_id,)
            ).fetchone()
            row = codec.decode(found) if found else None
            if not isinstance(row, Task) or row.created_index > at.index:
                return None, [], at
            own = moment.events_of(db, events, [task_id]).get(task_id, [])
            past = [event for event in own if event.index <= at.index]
            return task_as_of(row, own, at), past[-_EVENTS_SHOWN:], at

    def nodes_at(self, wanted: Moment) -> tuple[list[Node], dict[str, Held], At]:
        """Nodes as they were, by id, and what was on them."""
        with self._reading() as db:
            at = moment.resolve(db, wanted)
            nodes = moment.nodes_as_of(db, self._codecs, at)
            counts = moment.held_tasks(db, at)
        held = {
            node.id: Held(counts.get((ASSIGNED, node.id), 0), counts.get((RUNNING, node.id), 0)) for node in nodes
        }
        return nodes, held, at

    def settings_at(self, wanted: Moment) -> tuple[dict[str, Setting], At]:
        """The settings that were set, as they were, by name."""
        with self._reading() as db:
            at = moment.resolve(db, wanted)
            return moment.settings_as_of(db, self._codecs[Table.SETTINGS], at), at

    def list_workflows_at(self, query: WorkflowQuery, wanted: Moment) -> tuple[WorkflowPage, At]:
        with self._reading() as db:
            at = moment.resolve(db, wanted)
            return moment_workflows.list_workflows(db, self._codecs, query, at), at

    def workflow_at(self, workflow_id: str, wanted: Moment) -> tuple[Workflow | None, list[Task], At]:
        """A workflow with its tasks, by member, as they were; None when it was not there, or is not any more."""
        with self._reading() as db:
            at = moment.resolve(db, wanted)
            codec = self._codecs[Table.WORKFLOWS]
            sql = f"SELECT {', '.join(codec.columns)} FROM te_workflows WHERE id = ?"
            found = db.execute(sql, (workflow_id,)).fetchone()
            row = codec.decode(found) if found else None
            if not isinstance(row, Workflow) or row.created_index > at.index:
                return None, [], at
            was, _ = moment_workflows.as_of(db, self._codecs, row, at)
            return was, moment_workflows.members(db, self._codecs, row.id, at), at

    def diff(self, begin: Moment, end: Moment, limit: int) -> Difference:
        """What is not the same at `end` as at `begin`."""
        if limit < 0 or limit > diff.LIMIT_MAX:
            message = f"limit is {limit}; it must be 1-{diff.LIMIT_MAX}."
            raise Fault(Code.INVALID, message, "Ask for fewer rows, or for less time.")
        with self._reading() as db:
            first, last = moment.resolve(db, begin), moment.resolve(db, end)
            if last.index < first.index:
                message = f"The first moment is index {first.index}, the second {last.index}, which is earlier."
                raise Fault(Code.INVALID, message, "Swap them.")
            rows, truncated = diff.diff(db, self._codecs, first, last, limit or diff.LIMIT_DEFAULT)
            return Difference(rows, truncated, first, last)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        left = self._steps_limit

        def go_on() -> int:
            nonlocal left
            left -= 1
            return int(left <= 0 or self._closed)

        with self._connection.transaction() as db:
            db.set_progress_handler(go_on, self._step)
            try:
                yield db
            except sqlite3.OperationalError:
                if left > 0:
                    raise
                raise Fault(
                    Code.DEADLINE,
                    "That would take too long over all that is kept.",
                    "Name a later moment, a shorter time or more filters.",
                ) from None
            finally:
                db.set_progress_handler(None, 0)
