"""Views of the past against the state that the replayed log really had then."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from cortex.v1 import types_pb2 as t
from node.core.faults import Code, Fault
from node.core.model import ENDED, Key, Row, Table
from node.store.asof import Moment
from node.store.moment_workflows import WorkflowQuery
from node.store.queries import TaskQuery
from node.store.store import Store

Report = Callable[[str], None]
_TASK_FIELDS = ("state", "node", "attempt", "run", "priority", "name", "workflow_id", "created_at_us", "spec")
_WORKFLOW_FIELDS: tuple[str, ...] = ("state", "run", "remaining", "failures", "count", "name")
_FAR_US = 1 << 60
_PAGE = 200


@dataclass(frozen=True, slots=True)
class _Then:
    index: int
    rows: dict[Key, Row]


class PastChecker:
    """Keeps the rows of a few moments while the log is replayed, and then asks the store about these."""

    def __init__(self, report: Report, seed: int, last_index: int, moments: int = 3) -> None:
        self._report = report
        self._random = random.Random(f"{seed}/past")
        self._wanted = {self._random.randint(max(1, last_index // 3), max(1, last_index)) for _ in range(moments)}
        self._then: list[_Then] = []
        self._of_workflows = _WORKFLOW_FIELDS
        self.looked = 0

    def applied(self, index: int, rows: Mapping[Key, Row]) -> None:
        if index in self._wanted:
            tables = (Table.TASKS, Table.NODES, Table.WORKFLOWS)
            self._then.append(_Then(index, {key: row for key, row in rows.items() if key.table in tables}))

    def compare(self, store: Store, now: Mapping[Key, Row], gone: Collection[Key]) -> None:
        """Of what is `gone` by now nothing is told; where that goes for events, failures may be forgotten, too."""
        if any(key.table is Table.EVENTS for key in gone):
            self._of_workflows = tuple(name for name in _WORKFLOW_FIELDS if name != "failures")
        for then in self._then:
            moment = Moment(then.index, 0, _FAR_US)
            try:
                self._tasks(store, moment, then, now)
                self._nodes(store, moment, then, now)
                self._workflows(store, moment, then, now)
            except Fault as fault:
                # Its events may have been trimmed.
                if fault.code != Code.GONE:
                    self._report(f"the past at index {then.index} cannot be read: {fault.message}")
                continue
            self.looked += 1

    def _tasks(self, store: Store, moment: Moment, then: _Then, now: Mapping[Key, Row]) -> None:
        tasks = {key.id: row for key, row in then.rows.items() if isinstance(row, t.Task) and key in now}
        states = self._random.choice([(), tuple(sorted(ENDED)), (t.TASK_STATE_QUEUED,), (t.TASK_STATE_RUNNING,)])
        wanted = {key: row for key, row in tasks.items() if not states or row.state in states}
        found: dict[str, t.Task] = {}
        cursor, total = "", 0
        while True:
            query = TaskQuery(states=states, limit=_PAGE, cursor=cursor)
            page, _ = store.reads.list_tasks_at(query, moment)
            total, cursor = page.total, page.next_cursor
            found.update((task.id, task) for task in page.tasks)
            if not cursor:
                break
        if found.keys() != wanted.keys() or total != len(wanted):
            odd = sorted(found.keys() ^ wanted.keys())[:3]
            self._report(f"tasks in {states} at index {then.index}: {total} are shown, {len(wanted)} were; {odd}")
        for task_id in sorted(found.keys() & wanted.keys()):
            self._same(then.index, found[task_id], wanted[task_id], _TASK_FIELDS)

    def _nodes(self, store: Store, moment: Moment, then: _Then, now: Mapping[Key, Row]) -> None:
        nodes = {key.id: row for key, row in then.rows.items() if isinstance(row, t.Node)}
        found, held, _ = store.reads.nodes_at(moment)
        for node in found:
            if node.id in nodes and node != nodes[node.id]:
                self._report(f"node {node.id} at index {then.index} is not shown as it was")
        if {node.id for node in found} != nodes.keys():
            self._report(f"nodes at index {then.index}: {len(found)} are shown, {len(nodes)} were")
        tasks = (row for key, row in then.rows.items() if isinstance(row, t.Task) and key in now)
        running = [task.node for task in tasks if task.state == t.TASK_STATE_RUNNING]
        for node_id, counts in held.items():
            if counts.running != running.count(node_id):
                shown = f"{counts.running} running on {node_id} at index {then.index}"
                self._report(f"{shown} are shown, {running.count(node_id)} were")

    def _workflows(self, store: Store, moment: Moment, then: _Then, now: Mapping[Key, Row]) -> None:
        for key, row in sorted(then.rows.items()):
            if isinstance(row, t.Workflow) and key in now:
                found, _, _ = store.reads.workflow_at(key.id, moment)
                if found is None:
                    self._report(f"workflow {key.id}, which was there at index {then.index}, is not shown")
                else:
                    self._same(then.index, found, row, self._of_workflows)
        if store.reads.list_workflows_at(WorkflowQuery(limit=1), moment)[0].index != then.index:
            self._report(f"workflows at index {then.index} are shown of another moment")

    def _same(self, index: int, found: object, row: object, names: tuple[str, ...]) -> None:
        for name in names:
            shown, was = getattr(found, name), getattr(row, name)
            if shown != was:
                what = f"{name} of {getattr(row, 'id')}"  # noqa: B009
                self._report(f"{what} at index {index} is shown as {shown!r}, it was {was!r}"[:300])
