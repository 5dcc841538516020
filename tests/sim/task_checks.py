"""What must hold of tasks, checked from outside over all replicas, commands and clients of one cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from cortex.v1 import log_pb2, types_pb2
from node.consensus.port import Committed
from node.core import machine
from node.core.model import ENDED, Key, Row, Table
from node.core.state import ClusterState
from node.store.events import EventQuery
from node.store.store import Store
from tests.sim.drain_checks import DrainChecker
from tests.sim.processes import Execution
from tests.sim.workflow_checks import WorkflowChecker

Report = Callable[[str], None]
_RESULTS = (types_pb2.EVENT_TYPE_COMPLETED, types_pb2.EVENT_TYPE_DEAD_LETTERED)
# A lease's end is a timer of the supervisor: it may fire this much later than the instant itself.
_TIMER_S = 0.01
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
        self.trimmed: set[str] = set()
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

    def executions(self, found: Sequence[Execution], now_s: float, holds: set[str]) -> None:
        """No command outlives its lease; no task runs twice at once, unless its owner took that upon himself."""
        by_task: dict[str, list[Execution]] = {}
        for one in found:
            by_task.setdefault(one.key.task, []).append(one)
            if one.lease_end_us >= 0 and (one.ended_s or now_s) > one.lease_end_us / 1e6 + _TIMER_S:
                self._report(f"{one.key} on {one.machine} outlived its lease ({one.ended_s} s)")
        for task_id, runs in by_task.items():
            keys = Counter(one.key for one in runs)
            for key, times in keys.items():
                if times > 1:
                    self._report(f"assignment {key} was started {times} times")
            runs.sort(key=lambda one: one.started_s)
            for before, after in pairwise(runs):
                if (before.ended_s is None or before.ended_s > after.started_s) and task_id not in holds:
                    self._report(f"{task_id} ran on {before.machine} and {after.machine} at once")

    def ledger(self, found: Sequence[Execution], store: Store) -> int:
        """What began again within an attempt, after it was ended from outside, has its line; number of lines."""
        lines: set[tuple[str, int]] = set()
        cursor = ""
        while True:
            page = store.list_double_runs(limit=1000, cursor=cursor)
            lines |= {(row.task, row.fence) for row in page.double_runs}
            cursor = page.next_cursor
            if not cursor:
                break
        by_attempt: dict[tuple[str, tuple[bytes, bytes]], list[Execution]] = {}
        for one in found:
            by_attempt.setdefault((one.key.task, one.attempt), []).append(one)
        for (task_id, _), runs in by_attempt.items():
            rows = store.get([Key(Table.TASKS, task_id)])
            row = rows.get(Key(Table.TASKS, task_id))
            # What was cancelled meanwhile ends without a word on where it had begun.
            if not isinstance(row, types_pb2.Task) or row.state == types_pb2.TASK_STATE_CANCELLED:
                continue
            runs.sort(key=lambda one: one.key.fence)
            for before, after in pairwise(runs):
                if not before.by_itself and (task_id, after.key.fence) not in lines:
                    self._report(f"{task_id} began again as {after.key} after {before.key}, and no line says so")
        return len(lines)

    def store(self, node: str, store: Store, state: ClusterState) -> Counter[str]:
        """At the end: rows are what their digest says, nothing acknowledged is lost, one result per run."""
        saved, recounted = store.recount_digest()
        if saved.digest != recounted:
            self._report(f"the rows saved by {node} at {saved.index} are not what their digest says")
        if saved.index != state.index or saved.digest != state.digest:
            self._report(f"{node} saved {saved.index}, memory is at {state.index}")
        keys = [Key(Table.TASKS, task_id) for task_id in self.acknowledged]
        rows = store.get(keys)
        for key in keys:
            row = rows.get(key)
            if key.id in self.trimmed:
                continue
            if not isinstance(row, types_pb2.Task):
                self._report(f"acknowledged task {key.id} is lost on {node}")
            elif row.state not in ENDED:
                self._report(f"task {key.id} never ended: {types_pb2.TaskState.Name(row.state)} on {node}")
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
                results[run] += event.type in _RESULTS or event.state == types_pb2.TASK_STATE_FAILED
                cancels[run] += event.type == types_pb2.EVENT_TYPE_CANCELLED
            cursor = page.next_cursor
            if not cursor:
                break
        # A dead letter may be discarded, which cancels the run that it was the result of.
        for run, count in (results + cancels).items():
            if results[run] > 1 or cancels[run] > 1:
                self._report(f"run {run[1]} of {run[0]} has {count} results on {node}")
        return kinds

    def replay(self, log: Iterable[Committed], state: ClusterState) -> None:
        """The log through the pure core, from nothing, leads to the same digest."""
        fresh = ClusterState()
        workflows, drains = WorkflowChecker(self._report), DrainChecker(self._report)
        rows: dict[Key, Row] = {}
        self.parts = 0
        self._created.clear()
        for committed in log:
            if committed.index > state.index:
                break
            entry = log_pb2.Entry.FromString(committed.data)
            self.parts += entry.HasField("batch")
            outcome = machine.apply(fresh, rows, entry, committed.index, committed.term)
            fresh.commit(outcome, committed.index, committed.term, entry.at_us)
            for change in outcome.changes:
                key = Key(change.table, change.id)
                if isinstance(change.new, types_pb2.Task) and change.old is None:
                    self._created[change.new.name] += 1
                if change.new is None:
                    rows.pop(key, None)
                    if change.table is Table.TASKS:
                        self.trimmed.add(change.id)
                else:
                    rows[key] = change.new
            workflows.applied(outcome.changes, rows)
            drains.applied(outcome.changes, rows)
        self.reached = workflows.reached + drains.reached
        if (fresh.index, fresh.digest) != (state.index, state.digest):
            self._report(f"replaying the log to {fresh.index} does not lead to the state at {state.index}")

    def watched(self, seen: Mapping[str, types_pb2.Task], state: ClusterState, store: Store) -> None:
        """What a watcher folded together is what the replicas hold."""
        rows = store.get([Key(Table.TASKS, task_id) for task_id in seen])
        for task_id, task in seen.items():
            row = state.tasks.get(task_id) or rows.get(Key(Table.TASKS, task_id))
            if row != task:
                self._report(f"a watcher ended with another row of {task_id} than the cluster")
                return
