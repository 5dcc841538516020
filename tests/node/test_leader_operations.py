"""The leader's duty for retries, discards and priorities of many tasks, on virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command
from cortex.v1.types_pb2 import Operation, Task
from node.core.faults import Code, Fault
from node.core.model import CANCELLED, COMPLETED, DEAD_LETTER, LIVE_OPERATION, QUEUED, Key, Table
from node.core.operations import DONE, PAGE_LIMIT, RUNNING, SCHEDULED, STOPPED, UNDONE
from node.leader.operations import few_workflows
from tests.core.cluster import assign, cancel, complete, failed
from tests.core.operating import CAUSE, bulk, retry_all, stop
from tests.node.fake_replica import FakeReplica
from tests.node.leader_kit import PATIENCE_S, Cluster, machine_node, shell, virtual

WINDOW_US = 10_000_000


class Ward:
    """A leader, a node without a worker, and letters on it; the test plays how retried letters end."""

    def __init__(self, **settings: int) -> None:
        self.cluster = Cluster(**settings)
        self.replica.apply_commands(Command(node_join={"node": machine_node(slots=100_000)}))

    @property
    def replica(self) -> FakeReplica:
        return self.cluster.replica

    def submit(self, count: int, cause: str = CAUSE) -> list[str]:
        """New letters, before any duty runs."""
        ids = [f"{cause}{number:05d}" for number in range(count)]
        for task_id in ids:
            self.replica.apply_commands(
                Command(task_submit=shell(task_id, retry=types_pb2.RetryPolicy(max_retries=0)))
            )
            self.end(task_id, cause)
        return ids

    def end(self, task_id: str, cause: str = "") -> None:
        """A queued task runs and ends: well, or with a cause."""
        self.replica.apply_commands(assign(task_id))
        fence = self.replica.state.index
        command = failed(task_id, fence) if cause else complete(task_id, fence)
        if cause:
            command.task_failed.fingerprint = cause
        self.replica.apply_commands(command)

    def end_retried(self, cause: str = "") -> int:
        """All that is queued ends the same way; how many there were."""
        queued = sorted(task.id for task in self.replica.past.of(Task) if task.state == QUEUED)
        for task_id in queued:
            self.end(task_id, cause)
        return len(queued)

    def states(self) -> Counter[int]:
        return Counter(task.state for task in self.replica.past.of(Task))

    def row(self, operation_id: str = "op1") -> Operation:
        row = self.replica.all_rows[Key(Table.OPERATIONS, operation_id)]
        assert isinstance(row, Operation)
        return row

    async def until(self, *states: int, operation_id: str = "op1") -> Operation:
        await self.cluster.until(lambda: self.row(operation_id).state in states)
        return self.row(operation_id)

    async def settled(self) -> None:
        """Nothing more comes by itself."""
        count = -1
        while count != len(self.replica.entries):
            count = len(self.replica.entries)
            await asyncio.sleep(5)


def test_letters_of_a_cause_are_retried_page_by_page() -> None:
    async def main() -> None:
        ward = Ward()
        ward.submit(2 * PAGE_LIMIT + 1)
        ward.submit(3, "other")
        ward.cluster.begin()
        ward.replica.apply_commands(retry_all())
        operation = await ward.until(DONE)
        assert (operation.counts.total, operation.counts.issued) == (1001, 1001)
        assert operation.outcome == "1001 of 1001 tasks"
        assert ward.states() == {QUEUED: 1001, DEAD_LETTER: 3}
        pages = [len(command.operation_advance.ids) for e in ward.replica.entries for command in e.commands]
        assert [size for size in pages if size] == [500, 500, 1]
        await ward.cluster.stop()

    virtual(main)


def test_nothing_begins_within_the_window() -> None:
    async def main() -> None:
        ward = Ward()
        letters = ward.submit(2)
        ward.cluster.begin()
        ward.replica.apply_commands(bulk("discard", window_us=WINDOW_US, reason="old", ids=letters))
        await asyncio.sleep(9.5)
        assert ward.row().state == SCHEDULED
        await asyncio.sleep(1)
        assert ward.row().state == DONE
        assert ward.states() == {CANCELLED: 2}
        await ward.cluster.stop()

    virtual(main)


def test_an_undo_within_the_window() -> None:
    async def main() -> None:
        ward = Ward()
        letters = ward.submit(2)
        ward.cluster.begin()
        ward.replica.apply_commands(bulk("discard", window_us=WINDOW_US, reason="old", ids=letters))
        await asyncio.sleep(9)
        ward.replica.apply_commands(stop("op1", undo=True))
        await ward.settled()
        assert ward.row().state == UNDONE
        assert ward.states() == {DEAD_LETTER: 2}
        await ward.cluster.stop()

    virtual(main)


def test_a_new_leader_leaves_a_full_window() -> None:
    async def main() -> None:
        ward = Ward()
        letters = ward.submit(1)
        ward.cluster.begin()
        ward.replica.apply_commands(bulk("discard", window_us=WINDOW_US, reason="old", ids=letters))
        await asyncio.sleep(9)
        ward.cluster = ward.cluster.successor()
        await asyncio.sleep(9.5)
        assert ward.row().state == SCHEDULED
        await asyncio.sleep(1)
        assert ward.row().state == DONE
        await ward.cluster.stop()

    virtual(main)


def test_a_cause_without_letters_is_done_at_once() -> None:
    async def main() -> None:
        ward = Ward()
        ward.cluster.begin()
        ward.replica.apply_commands(retry_all(canary=True))
        operation = await ward.until(DONE)
        assert operation.outcome == "0 of 0 tasks"
        await ward.cluster.stop()

    virtual(main)


def test_a_canary_goes_on_when_its_steps_end_well() -> None:
    async def main() -> None:
        ward = Ward()
        ward.submit(100)
        ward.cluster.begin()
        ward.replica.apply_commands(retry_all(canary=True))
        sizes = []
        while ward.row().state in LIVE_OPERATION:
            await ward.settled()
            sizes.append(ward.end_retried())
        assert sizes == [1, 9, 90]
        counts = ward.row().counts
        assert (counts.issued, counts.succeeded, counts.failed) == (100, 100, 0)
        assert ward.states() == {COMPLETED: 100}
        await ward.cluster.stop()

    virtual(main)


@pytest.mark.parametrize(("step", "untouched"), [(1, 99), (2, 90)])
def test_a_canary_stops_when_a_step_fails_the_same_way(step: int, untouched: int) -> None:
    async def main() -> None:
        ward = Ward()
        ward.submit(100)
        ward.cluster.begin()
        ward.replica.apply_commands(retry_all(canary=True))
        await ward.settled()
        if step == 2:
            ward.end_retried()
            await ward.settled()
        failing = ward.end_retried(CAUSE)
        operation = await ward.until(STOPPED)
        issued = 100 - untouched
        assert f"of {issued} failed the same way again; {untouched} are untouched" in operation.outcome
        await ward.settled()
        assert ward.row().counts.failed_same == failing
        assert ward.states()[DEAD_LETTER] == untouched + failing
        await ward.cluster.stop()

    virtual(main)


def test_a_canary_goes_on_when_a_step_fails_in_another_way() -> None:
    async def main() -> None:
        ward = Ward()
        ward.submit(10)
        ward.cluster.begin()
        ward.replica.apply_commands(retry_all(canary=True))
        await ward.settled()
        assert ward.end_retried("another") == 1
        await ward.settled()
        assert ward.row().state == RUNNING
        assert ward.row().bulk.step == 2
        await ward.cluster.stop()

    virtual(main)


@pytest.mark.parametrize("step", [1, 2])
def test_a_canary_of_which_a_letter_is_cancelled_goes_no_further(step: int) -> None:
    async def main() -> None:
        ward = Ward()
        ward.submit(100)
        ward.cluster.begin()
        ward.replica.apply_commands(retry_all(canary=True))
        await ward.settled()
        if step == 2:
            assert ward.end_retried() == 1
            await ward.settled()
        under_way = sorted(task.id for task in ward.replica.past.of(Task) if task.state == QUEUED)
        ward.replica.apply_commands(cancel(under_way[0]))
        ward.end_retried()
        operation = await ward.until(STOPPED)
        issued = (1, 10)[step - 1]
        assert operation.outcome == f"1 of {issued} were cancelled; {100 - issued} are untouched"
        await ward.cluster.stop()

    virtual(main)


def test_a_fault_of_the_log_is_tried_again() -> None:
    async def main() -> None:
        ward = Ward()
        ward.submit(3)
        ward.cluster.begin()
        ward.replica.fault = Fault(Code.OUTCOME_UNKNOWN, "Not known.", "Repeat it.")
        ward.replica.apply_commands(retry_all())
        await asyncio.sleep(5)
        assert ward.row().state == SCHEDULED
        ward.replica.fault = None
        assert (await ward.until(DONE)).counts.issued == 3
        await ward.cluster.stop()

    virtual(main)


def test_a_page_spans_few_workflows() -> None:
    ids = ["w1.0", "alone", "w1.1", "w2.0", "w3.7", "w4.0", "w4.1", "w5.0", "alone2"]
    assert few_workflows(ids) == ids[:7]
    assert few_workflows(ids[:7]) == ids[:7]
    assert few_workflows(["a", "b"]) == ["a", "b"]
    assert few_workflows([]) == []


def test_ended_operations_leave_after_a_time_or_beyond_a_count() -> None:
    async def main() -> None:
        ward = Ward(heartbeat_ms=3_600_000, offline_ms=3_600_000)
        ward.cluster.begin()
        for name, value in (("max_operations", "2"), ("operations_kept_s", "3600")):
            ward.replica.apply_commands(Command(settings_change={"name": name, "value": value}))
        for number in range(4):
            ward.replica.apply_commands(retry_all(operation=f"op{number}"))
            await ward.until(DONE, operation_id=f"op{number}")
        past = ward.replica.past
        await asyncio.sleep(120)
        assert sorted(row.id for row in past.of(Operation)) == ["op2", "op3"]
        await asyncio.sleep(3000)
        assert len(past.of(Operation)) == 2
        await asyncio.sleep(3000)
        assert not past.of(Operation)
        await ward.cluster.stop()

    virtual(main)


@pytest.mark.parametrize("seed", range(25))
def test_each_letter_is_enqueued_once_whoever_leads(seed: int) -> None:
    """Leaders change at random, proposals get lost or land late, letters die again meanwhile."""

    async def main() -> None:
        random = Random(seed)
        ward = Ward()
        count = random.choice((1, 7, 40, 700))
        ward.submit(count)
        ward.cluster.begin()
        ward.replica.apply_commands(retry_all(canary=random.random() < 0.5))
        async with asyncio.timeout(PATIENCE_S * 100):
            while ward.row().state in LIVE_OPERATION:
                chance = random.random()
                if chance < 0.2:
                    old = ward.cluster
                    ward.cluster = old.successor()
                    late = [
                        entry for entry in old.replica.entries if entry.commands[0].HasField("operation_advance")
                    ]
                    if late:
                        ward.replica.apply(random.choice(late))
                elif chance < 0.3:
                    ward.replica.fault = Fault(Code.OUTCOME_UNKNOWN, "Not known.", "Repeat it.")
                else:
                    ward.replica.fault = None
                ward.end_retried(random.choice(("", "", "", "another")))
                await asyncio.sleep(random.choice((0.0015, 0.1, 2)))
        runs = Counter(task.run for task in ward.replica.past.of(Task))
        assert runs == {2: count}
        counts = ward.row().counts
        assert (counts.total, counts.issued, counts.passed_over) == (count, count, 0)
        await ward.cluster.stop()

    virtual(main)
