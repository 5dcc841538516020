"""Random histories that are saved as they go, with what each row was after every entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cortex.v1 import types_pb2
from cortex.v1.cluster_pb2 import SubmitWorkflowRequest
from cortex.v1.log_pb2 import Command, HistoryTrim, TaskCancel, TaskComplete, WorkflowResume
from cortex.v1.types_pb2 import ContextItem, Task, TaskResult, Workflow
from node.core import rules, workflow
from node.core.model import (
    ASSIGNED,
    DEAD_LETTER,
    ENDED,
    PENDING,
    QUEUED,
    RUNNING,
    Change,
    Key,
    Row,
    Table,
    member_id,
)
from node.store import Store
from node.store.asof import Moment
from tests.core import workflows
from tests.core.cluster import assign, failed, retry
from tests.core.test_machine_random import Walk

SHOWN = frozenset({Table.TASKS, Table.NODES, Table.WORKFLOWS, Table.OPERATIONS})


class PastWalk(Walk):
    """As Walk, with workflows, and with trims that take the oldest events first, as a leader's do."""

    def __init__(self, seed: int, *, trims: bool) -> None:
        self.store = Store(":memory:")
        self.store.open()
        self.was: dict[int, Mapping[Key, Row]] = {}
        self.at_us: dict[int, int] = {}
        self._trims = trims
        super().__init__(seed)
        self.machine.twice = False
        self._save([Change(key.table, key.id, None, row) for key, row in self.machine.rows.items()])

    def save(self) -> None:
        """What the last entry changed goes into the store, and is remembered as it is."""
        self._save(self.machine.outcome.changes)

    def _save(self, changes: Sequence[Change]) -> None:
        m = self.machine
        self.store.save(changes, m.state.index, 1, m.state.at_us, 0)
        self.was[m.state.index] = {key: row for key, row in m.rows.items() if key.table in SHOWN}
        self.at_us[m.state.index] = m.state.at_us

    def step(self) -> None:
        if self.random.random() < 0.35:
            self.machine.apply(self.workflow_command(), actor="ann", after_us=1000)
        else:
            super().step()
        self.save()

    def check_single(self, command: Command, accepted: bool, before: dict[Key, object]) -> None:
        """Walk's own tests check that."""

    def check_changes(self, index: int) -> None:
        """Likewise."""

    def workflow_command(self) -> Command:
        m, random = self.machine, self.random
        known = [row for _, row in sorted(m.rows.items()) if isinstance(row, Workflow)]
        if known and random.random() < 0.05:
            return Command(workflow_resume=WorkflowResume(id=random.choice(known).id))
        live = [row for row in m.state.workflows.values() if row.remaining]
        if not live or (random.random() < 0.15 and len(live) < 4):
            return Command(workflow_submit=workflow.complete(self._dag(), m.new_id()))
        chosen = random.choice(live)
        if random.random() < 0.03:
            return workflows.cancel(chosen.id, "enough")
        tasks = [row for one in range(chosen.count) if (row := m.state.tasks.get(member_id(chosen.id, one)))]
        able = [task for task in tasks if task.state not in ENDED]
        letters = [task for task in tasks if task.state == DEAD_LETTER]
        # That it had failed is told by events that a trim may take.
        if letters and not self._trims and random.random() < 0.1:
            return Command(task_cancel=TaskCancel(id=random.choice(letters).id, reason="known", discard=True))
        return self._member_command(random.choice(able)) if able else retry(random.choice(tasks).id)

    def _dag(self) -> SubmitWorkflowRequest:
        random = self.random
        steps = []
        for number in range(random.randint(1, 5)):
            after = random.sample(range(number), min(number, random.randint(0, 2)))
            more: dict[str, object] = {"condition": "true"} if random.random() < 0.2 else {}
            more["can_fail"] = random.random() < 0.3
            steps.append(workflows.step(f"k{number}", *(f"k{one}" for one in after), **more))  # type: ignore[arg-type]
        return workflows.request(*steps, context=[ContextItem(key="target", value=b'"prod"')])

    def _member_command(self, task: Task) -> Command:
        m, random = self.machine, self.random
        if task.state == QUEUED:
            return assign(task.id, random.choice(("n1", "n2", "n3")))
        if task.state == PENDING:
            parents = [m.task(member_id(task.workflow_id, number)) for number in task.depends_on]
            made = {"task": task.id, "verdict": random.random() < 0.7, "input_sha256": rules.input_sha256(parents)}
            return Command(workflow_advance=made)  # type: ignore[arg-type]
        assert task.state in (ASSIGNED, RUNNING)
        if random.random() < 0.3:
            return failed(task.id, task.fence)
        update = b'{"built": %d}' % random.randint(0, 9) if random.random() < 0.1 else b""
        result = TaskResult(exit_code=0, context_update=update)
        return Command(task_complete=TaskComplete(id=task.id, fence=task.fence, result=result))

    def trim(self) -> Command:
        m = self.machine
        if not self._trims:
            return Command(history_trim=HistoryTrim())
        kept = [event for event in m.events if Key(Table.EVENTS, event.id) in m.rows]
        ended = [task_id for task_id in self.ids if self._may_go(task_id)]
        oldest = kept[: self.random.randint(0, len(kept) // 2)]
        ids = self.random.sample(ended, min(len(ended), 2))
        return Command(
            history_trim=HistoryTrim(before_us=m.now_us, ids=ids, event_ids=[event.id for event in oldest])
        )

    def _may_go(self, task_id: str) -> bool:
        row = self.machine.rows.get(Key(Table.TASKS, task_id))
        return isinstance(row, Task) and row.state in ENDED

    def moment(self, index: int) -> Moment:
        return Moment(index, 0, self.machine.now_us)

    def oldest(self) -> int:
        """The first index of which a view is possible."""
        kept = (event for event in self.machine.events if Key(Table.EVENTS, event.id) in self.machine.rows)
        return next(kept).index

    def tasks_at(self, index: int) -> dict[str, Task]:
        """Tasks as they were after that entry, of those that are still there."""
        return {
            key.id: row
            for key, row in self.was[index].items()
            if isinstance(row, Task) and key in self.machine.rows
        }

    def workflows_at(self, index: int) -> dict[str, Workflow]:
        return {key.id: row for key, row in self.was[index].items() if isinstance(row, Workflow)}

    def operations_at(self, index: int) -> dict[str, types_pb2.Operation]:
        return {key.id: row for key, row in self.was[index].items() if isinstance(row, types_pb2.Operation)}

    def nodes_at(self, index: int) -> dict[str, types_pb2.Node]:
        return {key.id: row for key, row in self.was[index].items() if isinstance(row, types_pb2.Node)}
