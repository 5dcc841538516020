"""Workflows of the past: as node.store.moment has it for tasks."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from cortex.v1.types_pb2 import Event, Task, Workflow
from node.core.model import COMPLETED, Table
from node.store import moment, queries
from node.store.asof import At, workflow_as_of
from node.store.queries import Statement
from node.store.rows import Codec

# What its first later event says that a workflow w was, else what it is.
_STATE = (
    "coalesce((SELECT e.was_workflow_state FROM te_task_events e INDEXED BY te_task_events_of_workflows"
    " WHERE e.workflow_id = w.id AND e.workflow_id <> '' AND e.task_id = '' AND e.log_index > :i"
    " ORDER BY e.log_index, e.number LIMIT 1), w.state)"
)


@dataclass(frozen=True, slots=True)
class WorkflowQuery:
    """Empty fields do not restrict. `limit` 0 = 50."""

    states: tuple[int, ...] = ()
    text: str = ""
    limit: int = 0
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class WorkflowPage:
    workflows: list[Workflow]
    total: int
    next_cursor: str
    index: int


def list_workflows(
    db: sqlite3.Connection, codecs: dict[Table, Codec], query: WorkflowQuery, at: At
) -> WorkflowPage:
    """Workflows as they were, newest first, without their contexts; those that were trimmed since are absent."""
    limit = queries.checked_limit(query.limit)
    codec = codecs[Table.WORKFLOWS]
    found = [codec.decode(values) for values in workflow_page(codec, query, at, limit + 1).rows(db)]
    rows = [row for row in found if isinstance(row, Workflow)]
    after = queries.encode_cursor(rows[limit - 1].created_index, rows[limit - 1].id) if len(rows) > limit else ""
    total = int(workflow_total(query, at).rows(db)[0][0])
    shown = [as_of(db, codecs, row, at)[0] for row in rows[:limit]]
    return WorkflowPage(shown, total, after, at.index)


def workflow_page(codec: Codec, query: WorkflowQuery, at: At, count: int) -> Statement:
    cursor = moment.max_cursor(queries.decode_cursor(query.cursor), at)
    columns = ", ".join(f"w.{name}" for name in codec.columns)
    sql = (
        f"SELECT {columns} FROM te_workflows w WHERE (w.created_index, w.id) < (:c, :k) AND {_matched(query)}"
        " ORDER BY w.created_index DESC, w.id DESC LIMIT :n"
    )
    values = {"i": at.index, "c": cursor[0], "k": cursor[1], "n": count, "text": query.text.lower()}
    return Statement(sql, values)


def workflow_total(query: WorkflowQuery, at: At) -> Statement:
    sql = f"SELECT count(*) FROM te_workflows w WHERE w.created_index < :c AND {_matched(query)}"
    return Statement(sql, {"i": at.index, "c": at.index + 1, "text": query.text.lower()})


def _matched(query: WorkflowQuery) -> str:
    parts = ["1"]
    if query.text:
        parts.append("(instr(lower(w.name), :text) OR instr(w.id, :text))")
    if query.states:
        parts.append(f"{_STATE} IN ({','.join(str(int(state)) for state in sorted(set(query.states)))})")
    return " AND ".join(parts)


def as_of(
    db: sqlite3.Connection, codecs: dict[Table, Codec], row: Workflow, at: At
) -> tuple[Workflow, Sequence[Task]]:
    """A workflow that was there, and its tasks, as they were; of one that did not change since, no tasks."""
    if row.modified_index <= at.index:
        return row, ()
    events = codecs[Table.EVENTS]
    later = first_workflow_event(events, row.id, at).rows(db)
    first = events.decode(later[0]) if later else None
    rows = _members_today(db, codecs[Table.TASKS], row.id, at)
    tasks = moment.tasks_as_of(db, events, rows, at)
    was = workflow_as_of(row, first if isinstance(first, Event) else None, tasks, at)
    if not any(map(_may_have_updated, rows, tasks)):
        was.context.extend(row.context)
    return was, tasks


def members(db: sqlite3.Connection, codecs: dict[Table, Codec], workflow: str, at: At) -> list[Task]:
    """All tasks of a workflow as they were, by member."""
    rows = _members_today(db, codecs[Table.TASKS], workflow, at)
    return moment.tasks_as_of(db, codecs[Table.EVENTS], rows, at)


def _members_today(db: sqlite3.Connection, codec: Codec, workflow: str, at: At) -> list[Task]:
    """Those that were there, as they are, by member."""
    sql = f"SELECT {', '.join(codec.columns)} FROM te_tasks WHERE workflow_id = ? AND workflow_id <> ''"
    found = [row for values in db.execute(sql, (workflow,)) if isinstance(row := codec.decode(values), Task)]
    return sorted((row for row in found if row.created_index <= at.index), key=lambda row: row.member)


def _may_have_updated(row: Task, then: Task) -> bool:
    """Whether its workflow's context may have changed since by this task; of earlier runs nothing is known."""
    return row.run != then.run or (then.state != COMPLETED and bool(row.result.context_update))


def first_workflow_event(codec: Codec, workflow: str, at: At) -> Statement:
    sql = (
        f"SELECT {', '.join(codec.columns)} FROM te_task_events INDEXED BY te_task_events_of_workflows"
        " WHERE workflow_id = ? AND workflow_id <> '' AND task_id = '' AND log_index > ?"
        " ORDER BY log_index, number LIMIT 1"
    )
    return Statement(sql, (workflow, at.index))
