"""What must hold of tasks, checked from outside over all replicas, commands and clients of one cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from cortex.v1 import log_pb2, types_pb2
from node.consensus.port import Committed
from node.core import machine
from node.core.model import Change, Key, Row, Table, has_ended
from node.core.state import ClusterState
from node.store.events import EventQuery
from node.store.store import Store
from tests.sim.drain_checks import DrainChecker
from tests.sim.operation_checks import OperationChecker
from tests.sim.past_checks import PastChecker
from tests.sim.replay import Step
from tests.sim.run_checks import RunChecker, Runs
from tests.sim.workflow_checks import WorkflowChecker

Report = Callable[[str], None]
_RESULTS = (types_pb2.EVENT_TYPE_COMPLETED, types_pb2.EVENT_TYPE_DEAD_LETTERED)
_FAILED = (types_pb2.EVENT_TYPE_FAILED, types_pb2.TASK_STATE_FAILED)
# Name of what runs on every node, of which there are several by intent.
EVERYWHERE = "everywhere"


class TaskChecker:
    """Collects what replicas and clients saw; reports what must never be."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._digests: dict[int, tuple[str, bytes]] = {}
        self.acknowledged: dict[str, str] = {}
        self._replies: dict[str, bytes] = {}
        self._batches: dict[str, tuple[list[str], bool]] = {}
        self._created: Counter[str] = Counter()
        self._promised: set[Key] = set()
        self.gone: set[Key] = set()
        self.runs = Runs()
        self.parts = 0
        self.reached: Counter[str] = Counter()

    def applied(self, node: str, index: int, digest: bytes) -> None:
        """Same index, same digest, on every replica and in every life."""
        first, known = self._digests.setdefault(index, (node, digest))
        if known != digest:
            self._report(f"{node} and {first} differ at index {index}")

    def answered(self, request_id: str, answer: bytes) -> None:
        """Same request, same answer."""
        known = self._replies.setdefault(request_id, answer)
        if known != answer:
            self._report(f"request {request_id} was answered in two ways")

    def submitted(self, task_id: str, request_id: str) -> None:
        self.acknowledged[task_id] = request_id

    def promised(self, table: Table, key: str) -> None:
        """A workflow or an operation was acknowledged."""
        self._promised.add(Key(table, key))

    def batch(self, request_id: str, names: list[str], *, accepted: bool) -> None:
        """A batch was answered; `names` are those of its tasks without a submit key."""
        self._batches[request_id] = (names, accepted)

    def requests(self) -> None:
        """At the end, after replay(): no submission was carried out twice, and each batch wholly or not at all."""
        for name, count in self._created.items():
            if count > 1 and name != EVERYWHERE:
                self._report(f"submission {name} was carried out {count} times")
        for request_id, (names, accepted) in self._batches.items():
            count = sum(self._created[name] for name in names)
            if count != (len(names) if accepted else 0):
                answer = "accepted" if accepted else "refused"
                self._report(f"batch {request_id} was {answer}, {count} of its {len(names)} tasks are there")

    def store(self, node: str, store: Store, state: ClusterState) -> Counter[str]:
        """At the end: rows are what their digest says, nothing acknowledged is lost, one result per run."""
        saved, recounted = store.recount_digest()
        if saved.digest != recounted:
            self._report(f"the rows saved by {node} at {saved.index} are not what their digest says")
        if saved.index != state.index or saved.digest != state.digest:
            self._report(f"{node} saved {saved.index}, memory is at {state.index}")
        keys = [*(Key(Table.TASKS, task_id) for task_id in self.acknowledged), *sorted(self._promised)]
        rows = store.get(keys)
        for key in keys:
            row = rows.get(key)
            if key in self.gone:
                continue
            if row is None:
                self._report(f"{key.id}, acknowledged, is lost on {node} ({key.table})")
            elif not has_ended(row):
                self._report(f"{key.id} never ended on {node} ({key.table}, state {getattr(row, 'state', '?')})")
        return self._events(node, store)

    def _events(self, node: str, store: Store) -> Counter[str]:
        results: Counter[tuple[str, int]] = Counter()
        cancels: Counter[tuple[str, int]] = Counter()
        kinds: Counter[str] = Counter()
        cursor = ""
        while True:
            page = store.list_events(EventQuery(limit=1000, cursor=cursor))
            for event in page.events:
                kinds[types_pb2.EventType.Name(event.type).removeprefix("EVENT_TYPE_").lower()] += 1
                run = (event.task, event.run)
                failed = (event.type, event.state) == _FAILED
                results[run] += event.type in _RESULTS or failed
                cancels[run] += event.type == types_pb2.EVENT_TYPE_CANCELLED
            cursor = page.next_cursor
            if not cursor:
                break
        # A dead letter may be discarded, which cancels the run that it was the result of.
        for run, count in (results + cancels).items():
            if results[run] > 1 or cancels[run] > 1:
                self._report(f"run {run[1]} of {run[0]} has {count} results on {node}")
        return kinds

    def replay(
        self, log: Iterable[Committed], states: Mapping[str, ClusterState], past: PastChecker
    ) -> dict[Key, Row]:
        """The log through the pure core, from nothing, leads to every node's digest. The rows in the end."""
        fresh = ClusterState()
        workflows, drains = WorkflowChecker(self._report), DrainChecker(self._report)
        runs, operations = RunChecker(self._report), OperationChecker(self._report)
        rows: dict[Key, Row] = {}
        digests = {fresh.index: fresh.digest}
        for committed in log:
            entry = log_pb2.Entry.FromString(committed.data)
            self.parts += entry.HasField("batch")
            outcome = machine.apply(fresh, rows, entry, committed.index, committed.term)
            fresh.commit(outcome, committed.index, committed.term, entry.at_us)
            for change in outcome.changes:
                self._keep(change, rows)
            step = Step(committed.index, entry, outcome.reply, outcome.changes, rows)
            for checker in (workflows, drains, runs, operations):
                checker.applied(step)
            past.applied(committed.index, rows)
            digests[fresh.index] = fresh.digest
        self.runs = runs.runs
        self.reached = workflows.reached + drains.reached + runs.reached + operations.reached
        for node, state in states.items():
            if digests.get(state.index) != state.digest:
                self._report(f"replaying the log does not lead to the state of {node} at {state.index}")
        return rows

    def _keep(self, change: Change, rows: dict[Key, Row]) -> None:
        key = Key(change.table, change.id)
        if isinstance(change.new, types_pb2.Task) and change.old is None:
            self._created[change.new.name] += 1
        if change.new is None:
            rows.pop(key, None)
            self.gone.add(key)
        else:
            rows[key] = change.new

    def watched(self, seen: Mapping[str, types_pb2.Task], state: ClusterState, store: Store) -> None:
        """What a watcher folded together is what the replicas hold."""
        rows = store.get([Key(Table.TASKS, task_id) for task_id in seen])
        for task_id, task in seen.items():
            row = state.tasks.get(task_id) or rows.get(Key(Table.TASKS, task_id))
            if row != task:
                self._report(f"a watcher ended with another row of {task_id} than the cluster")
                return
