"""What must hold of commands on machines: leases, dependencies, the ledger of double runs. Not read off the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from cortex.v1 import types_pb2
from node.core.model import Key, Table
from node.store.store import Store
from tests.sim.processes import Execution
from tests.sim.run_checks import Runs

Report = Callable[[str], None]
# A lease's end is a timer of the supervisor: it may fire this much later than the instant itself.
_TIMER_S = 0.01


class ExecutionChecker:
    """Looks at all commands of a cluster when everything is over."""

    def __init__(self, report: Report, found: Sequence[Execution], now_s: float) -> None:
        self._report = report
        self._found = found
        self._now_s = now_s

    def leases(self, holds: set[str]) -> None:
        """No command outlives its lease; no task runs twice at once, unless its owner took that upon himself."""
        by_task: dict[str, list[Execution]] = {}
        for one in self._found:
            by_task.setdefault(one.key.task, []).append(one)
            if one.ended_s is None:
                self._report(f"{one.key} still runs on {one.machine} when the cluster is idle")
            if one.lease_end_us >= 0 and (one.ended_s or self._now_s) > one.lease_end_us / 1e6 + _TIMER_S:
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

    def dependencies(self, runs: Runs) -> int:
        """No command begins before those of its dependencies have ended on their machines; pairs looked at."""
        by_task: dict[str, list[Execution]] = {}
        for one in self._found:
            by_task.setdefault(one.key.task, []).append(one)
        looked = 0
        for task_id, released in runs.released.items():
            for one in by_task.get(task_id, ()):
                last = max((each for each in released if each.at < one.key.fence), default=None)
                if last is None:
                    continue
                for parent_id in last.parents:
                    looked += 1
                    # What is of a later run of the dependency began after this was released.
                    self._order(one, [each for each in by_task.get(parent_id, ()) if each.key.fence < last.at])
        return looked

    def _order(self, one: Execution, parents: Iterable[Execution]) -> None:
        for parent in parents:
            # What no lease ends may outlive its task.
            if parent.lease_end_us >= 0 and (parent.ended_s is None or parent.ended_s > one.started_s):
                self._report(f"{one.key} began before {parent.key}, on which it depends, had ended")

    def ledger(self, store: Store, runs: Runs) -> int:
        """What began again within an attempt, after it was ended from outside, has its line, and no other has one.

        The number of lines.
        """
        lines = _lines(store)
        known = {(row.task, row.fence) for row in lines}
        by_attempt: dict[tuple[str, tuple[bytes, bytes]], list[Execution]] = {}
        for one in self._found:
            by_attempt.setdefault((one.key.task, one.attempt), []).append(one)
        for (task_id, _), found in by_attempt.items():
            key = Key(Table.TASKS, task_id)
            row = store.get([key]).get(key)
            # What was cancelled meanwhile ends without a word on where it had begun.
            if not isinstance(row, types_pb2.Task) or row.state == types_pb2.TASK_STATE_CANCELLED:
                continue
            found.sort(key=lambda one: one.key.fence)
            for before, after in pairwise(found):
                if not before.by_itself and (task_id, after.key.fence) not in known:
                    self._report(f"{task_id} began again as {after.key} after {before.key}, and no line says so")
        self._unfounded(lines, runs)
        return len(lines)

    def _unfounded(self, lines: Sequence[types_pb2.DoubleRun], runs: Runs) -> None:
        """A line tells of two starts, of which the first was not over by a report of its own."""
        begun = {(one.key.task, one.key.fence): one for one in self._found}
        seen: Counter[tuple[str, int]] = Counter()
        for line in lines:
            seen[line.task, line.fence] += 1
            first, fences = begun.get((line.task, line.first_fence)), (line.first_fence, line.fence)
            if (line.task, line.first_fence) in runs.ends:
                self._report(
                    f"the ledger has {line.task} begin again as {line.fence} after {fences[0]}, which ended"
                )
            if first is None and "may have begun" not in line.reason:
                self._report(f"the ledger says that {line.task} had begun as {fences[0]}, which it never did")
            if seen[line.task, line.fence] > 1 or fences[0] >= fences[1]:
                self._report(f"the ledger has {line.task} begin as {line.fence} twice, or after itself")


def _lines(store: Store) -> list[types_pb2.DoubleRun]:
    lines: list[types_pb2.DoubleRun] = []
    cursor = ""
    while True:
        page = store.list_double_runs(limit=1000, cursor=cursor)
        lines += page.double_runs
        cursor = page.next_cursor
        if not cursor:
            return lines
