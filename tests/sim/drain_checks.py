"""What must hold of drains, read off the log as it is replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from cortex.v1 import types_pb2 as t
from node.core.model import ON_NODE, Key, Row, Table
from tests.sim.replay import Step

Report = Callable[[str], None]
_STATE_OF = {
    t.OPERATION_STATE_SCHEDULED: t.NODE_STATE_CORDONED,
    t.OPERATION_STATE_RUNNING: t.NODE_STATE_DRAINING,
}


class DrainChecker:
    """Told of each step."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._there: dict[str, set[str]] = {}
        self.reached: Counter[str] = Counter()

    def applied(self, step: Step) -> None:
        changes, rows = step.changes, step.rows
        for change in changes:
            old, new = change.old, change.new
            if isinstance(old, t.Task) and old.state in ON_NODE:
                self._there.get(old.node, set()).discard(old.id)
            if isinstance(new, t.Task) and new.state in ON_NODE:
                self._there.setdefault(new.node, set()).add(new.id)
            if isinstance(old, t.Task) and isinstance(new, t.Task):
                self._letter(old, new)
        for change in changes:
            if isinstance(change.new, t.Operation) and change.new.kind == t.OPERATION_KIND_DRAIN:
                self._operation(change.new, rows)
            elif isinstance(change.new, t.Event):
                self._event(change.new, rows)

    def _letter(self, old: t.Task, new: t.Task) -> None:
        """Only what may not move becomes a dead letter for a drain."""
        drained = new.state == t.TASK_STATE_DEAD_LETTER and new.cause == t.CAUSE_DRAINED
        if drained and old.state in ON_NODE:
            self.reached["drained letters"] += 1
            if old.spec.retry.retryable and not old.lost_at_us:
                self._report(f"{new.id} became a dead letter of a drain although it might have moved")

    def _operation(self, operation: t.Operation, rows: Mapping[Key, Row]) -> None:
        """A node is under a drain exactly as long as the drain lives, in the state that belongs to it."""
        node = rows.get(Key(Table.NODES, operation.node))
        if not isinstance(node, t.Node):
            self._report(f"drain {operation.id} is of {operation.node}, which is no node")
            return
        expected = _STATE_OF.get(operation.state)
        if expected is None and node.operation == operation.id:
            self._report(f"{node.id} is under drain {operation.id}, which has ended")
        elif expected is not None and (node.operation, node.state) != (operation.id, expected):
            self._report(f"{node.id} is {node.state} under {node.operation!r} while drain {operation.id} lives")

    def _event(self, event: t.Event, rows: Mapping[Key, Row]) -> None:
        if event.type == t.EVENT_TYPE_NODE_DRAINED:
            self.reached["nodes drained"] += 1
            if self._there.get(event.node):
                self._report(f"{event.node} is drained and holds {sorted(self._there[event.node])}")
        elif event.type == t.EVENT_TYPE_MIGRATE_REQUESTED and event.operation:
            self.reached["moved by drains"] += 1
            operation = rows.get(Key(Table.OPERATIONS, event.operation))
            if not isinstance(operation, t.Operation) or operation.state != t.OPERATION_STATE_RUNNING:
                self._report(f"{event.task} was moved by drain {event.operation}, which does not run")
