"""A leader before a shutdown: it places nothing, and what runs is queued again with nothing counted."""

from __future__ import annotations

import asyncio

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import TaskSubmit
from cortex.v1.types_pb2 import EventType
from cortex.v1.worker_pb2 import Assignment, AttemptState
from node.core.faults import Code, Fault
from node.core.model import ASSIGNED, COMPLETED, DEAD_LETTER, QUEUED, RUNNING
from tests.node.leader_kit import Cluster, WorkerEnd, ended, held, machine_node, recalled, shell, started, virtual

SECOND_US = 1_000_000
MIGRATE = types_pb2.CAUSE_MIGRATE


async def with_work(*tasks: str | TaskSubmit) -> tuple[Cluster, WorkerEnd, dict[str, Assignment]]:
    """A leader whose worker was given `tasks`."""
    cluster = Cluster().begin()
    worker = await cluster.connect(machine_node(slots=4))
    await cluster.submit(*(shell(task) if isinstance(task, str) else task for task in tasks))
    given: dict[str, Assignment] = {}
    while len(given) < len(tasks):
        message = await worker.next("assignments")
        given.update((item.task, item) for item in message.assignments.assignments)
    return cluster, worker, given


def events(cluster: Cluster, task_id: str) -> list[int]:
    rows = cluster.replica.past.of(types_pb2.Event)
    return [event.type for event in rows if event.task == task_id]


def test_what_runs_is_ended_and_queued_again_with_nothing_counted() -> None:
    async def main() -> None:
        cluster, worker, given = await with_work("runs", "waits")
        await worker.report(1, started(given["runs"]))
        await cluster.until(lambda: cluster.task("runs").state == RUNNING)
        quiet = asyncio.create_task(cluster.leadership.quiesce(8 * SECOND_US, 5 * SECOND_US))
        stops = (await worker.next("stop")).stop.items
        assert {(item.task, item.cause) for item in stops} == {("runs", MIGRATE), ("waits", MIGRATE)}
        assert not quiet.done()
        await worker.report(2, ended(given["runs"], exit_code=None, cause=MIGRATE), recalled(given["waits"]))
        assert await quiet == (2, 0)
        task = cluster.task("runs")
        assert (task.state, task.attempt, task.losses, task.run) == (QUEUED, 0, 0, 1)
        assert events(cluster, "runs")[-2:] == [
            EventType.EVENT_TYPE_MIGRATE_REQUESTED,
            EventType.EVENT_TYPE_MIGRATED,
        ]
        assert events(cluster, "waits")[-1] == EventType.EVENT_TYPE_RECALLED
        assert await worker.quiet(6, "reports_ack", "renewal_ack") == []
        await worker.next("assignments")
        await cluster.stop()

    virtual(main)


def test_a_new_reign_of_the_same_daemon_is_quiet_too_and_a_restarted_one_is_not() -> None:
    async def main() -> None:
        cluster = Cluster()
        assert await cluster.leadership.quiesce(8 * SECOND_US, SECOND_US) is None
        cluster.begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"))
        assert await worker.quiet(7, "renewal_ack") == []
        restarted = cluster.successor()
        worker = await restarted.connect(machine_node())
        await worker.next("assignments")
        await restarted.stop()

    virtual(main)


def test_a_reign_that_begins_in_the_middle_goes_on_giving_back() -> None:
    async def main() -> None:
        cluster, worker, given = await with_work("t1")
        cluster.leadership.end()
        await worker.ended()
        assert await cluster.leadership.quiesce(20 * SECOND_US, SECOND_US) is None
        cluster.begin()
        item = held(given["t1"], AttemptState.ATTEMPT_STATE_RUNNING)
        worker = await cluster.connect(machine_node(slots=4), [item])
        assert (await worker.next("stop")).stop.items[0].cause == MIGRATE
        await cluster.stop()

    virtual(main)


def test_what_may_not_begin_again_is_left_to_an_operator() -> None:
    """As a drain does at its deadline. What had not started goes back; what only a loss would hold moves."""

    async def main() -> None:
        once = {"retry": types_pb2.RetryPolicy(retryable=False, max_retries=0)}
        cluster, worker, given = await with_work(
            shell("ran", **once), shell("waits", **once), shell("held", on_lost=types_pb2.ON_LOST_HOLD)
        )
        await worker.report(1, started(given["ran"]), started(given["held"]))
        await cluster.until(lambda: cluster.task("held").state == RUNNING)
        quiet = asyncio.create_task(cluster.leadership.quiesce(8 * SECOND_US, 5 * SECOND_US))
        await worker.next("stop")
        stopped = [ended(given[name], exit_code=None, cause=MIGRATE) for name in ("ran", "held")]
        await worker.report(2, *stopped, recalled(given["waits"]))
        assert await quiet == (2, 0)
        task = cluster.task("ran")
        assert (task.state, task.cause) == (DEAD_LETTER, types_pb2.CAUSE_DRAINED)
        assert task.error == "n1 was shut down under it"
        assert task.reason == "it is not retryable"
        assert (cluster.task("waits").state, cluster.task("held").state) == (QUEUED, QUEUED)
        await cluster.stop()

    virtual(main)


def test_what_does_not_end_in_time_is_told() -> None:
    async def main() -> None:
        cluster, worker, given = await with_work("t1", "t2")
        quiet = asyncio.create_task(cluster.leadership.quiesce(20 * SECOND_US, 5 * SECOND_US))
        await worker.next("stop")
        await worker.report(1, ended(given["t1"], exit_code=None, cause=MIGRATE))
        before = asyncio.get_running_loop().time()
        assert await quiet == (1, 1)
        assert asyncio.get_running_loop().time() - before < 5.1
        await cluster.stop()

    virtual(main)


def test_a_success_before_the_kill_counts() -> None:
    async def main() -> None:
        cluster, worker, given = await with_work("t1")
        quiet = asyncio.create_task(cluster.leadership.quiesce(20 * SECOND_US, 5 * SECOND_US))
        await worker.next("stop")
        await worker.report(1, ended(given["t1"]))
        assert await quiet == (0, 0)
        assert cluster.task("t1").state == COMPLETED
        await cluster.stop()

    virtual(main)


def test_a_cancel_stays_a_cancel() -> None:
    async def main() -> None:
        cluster, worker, given = await with_work("t1")
        await cluster.cancel("t1")
        quiet = asyncio.create_task(cluster.leadership.quiesce(20 * SECOND_US, 5 * SECOND_US))
        stops = (await worker.next("stop")).stop.items
        assert [item.cause for item in stops] == [types_pb2.CAUSE_CANCEL]
        await worker.report(1, ended(given["t1"], exit_code=None, cause=types_pb2.CAUSE_CANCEL))
        await quiet
        assert cluster.task("t1").state == types_pb2.TASK_STATE_CANCELLED
        await cluster.stop()

    virtual(main)


def test_nobody_waits_for_a_machine_that_is_away() -> None:
    async def main() -> None:
        cluster, worker, _ = await with_work("t1")
        await worker.break_off()
        before = asyncio.get_running_loop().time()
        assert await cluster.leadership.quiesce(20 * SECOND_US, 5 * SECOND_US) == (0, 1)
        assert asyncio.get_running_loop().time() - before < 1
        await asyncio.sleep(1)
        assert cluster.task("t1").migrate_requested
        assert cluster.task("t1").state == ASSIGNED
        await cluster.stop()

    virtual(main)


@pytest.mark.parametrize("fault", [Code.NO_LEADER, Code.OUTCOME_UNKNOWN])
def test_without_quorum_it_ends_in_time(fault: Code) -> None:
    async def main() -> None:
        cluster, _, _ = await with_work("t1")
        cluster.replica.fault = Fault(fault, "No quorum.", "Wait.")
        before = asyncio.get_running_loop().time()
        assert await cluster.leadership.quiesce(20 * SECOND_US, 5 * SECOND_US) == (0, 1)
        assert asyncio.get_running_loop().time() - before < 5.1
        await cluster.stop()

    virtual(main)


def test_a_placement_under_way_is_given_back_too() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        cluster.replica.gate.clear()
        submitting = asyncio.create_task(cluster.submit(shell("t1")))
        cluster.replica.gate.set()
        await submitting
        cluster.replica.gate.clear()
        await asyncio.sleep(0.5)  # the placement has proposed, and waits at the gate
        quiet = asyncio.create_task(cluster.leadership.quiesce(20 * SECOND_US, 5 * SECOND_US))
        await asyncio.sleep(0.1)
        cluster.replica.gate.set()
        given = (await worker.next("assignments")).assignments.assignments[0]
        assert (await worker.next("stop")).stop.items[0].task == "t1"
        await worker.report(1, recalled(given))
        assert await quiet == (1, 0)
        await cluster.stop()

    virtual(main)
