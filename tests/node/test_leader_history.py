"""Trimming of the past by a leader, over days of virtual time."""

from __future__ import annotations

import asyncio

from cortex.v1.log_pb2 import (
    BatchPart,
    Command,
    Entry,
    HistoryTrim,
    NodeJoin,
    SettingsChange,
    TaskAssign,
    TaskCancel,
    TaskLost,
    TaskStarted,
)
from cortex.v1.types_pb2 import Batch, DoubleRun, Event, EventType, Placement, StoredReply, SubmitKey, Task
from node.core.faults import Code, Fault
from node.core.model import DEAD_LETTER
from node.leader import history
from node.store.past import Aged
from tests.node.leader_kit import Cluster, machine_node, shell, virtual

HOUR_S = 3600
DAY_S = 24 * HOUR_S
TRIMMED = EventType.EVENT_TYPE_HISTORY_TRIMMED


def leading() -> Cluster:
    """A leader without the beats of a day: they would be most of what happens in a month."""
    return Cluster(heartbeat_ms=HOUR_S * 1000, offline_ms=HOUR_S * 1000).begin()


def trims(cluster: Cluster) -> list[HistoryTrim]:
    """What was proposed so far."""
    commands = [command for entry in cluster.replica.entries for command in entry.commands]
    return [command.history_trim for command in commands if command.HasField("history_trim")]


async def end(cluster: Cluster, *ids: str, key: str = "") -> None:
    """Tasks that are submitted and end at once."""
    tasks = [shell(task_id) for task_id in ids]
    for task in tasks:
        task.submit_key = key
    await cluster.submit(*tasks)
    await cluster.replica.execute([Command(task_cancel=TaskCancel(id=task_id)) for task_id in ids])


async def setting(cluster: Cluster, name: str, value: int) -> None:
    change = SettingsChange(name=name, value=str(value))
    assert (await cluster.replica.execute([Command(settings_change=change)])).commands[0].accepted


def tasks(cluster: Cluster) -> list[str]:
    return sorted(task.id for task in cluster.replica.past.of(Task))


def test_nothing_is_proposed_where_nothing_is_old() -> None:
    async def main() -> None:
        cluster = leading()
        await cluster.submit(shell("t1"))
        entries = len(cluster.replica.entries)
        await asyncio.sleep(23 * HOUR_S)
        assert len(cluster.replica.entries) == entries
        await cluster.stop()

    virtual(main)


def test_each_kind_leaves_at_its_own_age() -> None:
    async def main() -> None:
        cluster = leading()
        past = cluster.replica.past
        await setting(cluster, "ended_tasks_kept_s", 4 * DAY_S)
        await end(cluster, "t1", key="k1")
        await cluster.replica.execute([Command(noop={})], client="ann", request_id="r1")
        await cluster.submit(shell("alive"))
        await asyncio.sleep(24 * HOUR_S - 60)
        assert not trims(cluster)
        assert past.of(StoredReply)
        await asyncio.sleep(7 * HOUR_S)
        assert not past.of(StoredReply)
        assert not past.of(SubmitKey)
        assert {event.type for event in past.of(Event)} == {TRIMMED}
        assert tasks(cluster) == ["alive", "t1"]
        await asyncio.sleep(3 * DAY_S - 8 * HOUR_S)
        assert tasks(cluster) == ["alive", "t1"]
        await asyncio.sleep(15 * HOUR_S)
        assert tasks(cluster) == ["alive"]
        await cluster.stop()

    virtual(main)


def test_what_trimming_leaves_of_itself_stays_small() -> None:
    async def main() -> None:
        cluster = leading()
        for number in range(50):
            await end(cluster, f"t{number}")
            await asyncio.sleep(HOUR_S)
        await asyncio.sleep(2 * DAY_S)
        before = len(trims(cluster))
        await asyncio.sleep(4 * DAY_S)
        assert len(trims(cluster)) - before <= 4 * 5
        assert len(cluster.replica.past.of(Event)) <= 6
        await cluster.stop()

    virtual(main)


def test_too_many_leave_whatever_their_age_page_by_page() -> None:
    async def main() -> None:
        cluster = leading()
        await setting(cluster, "max_ended_tasks", 10)
        count = 2 * history._PAGE_ROWS + 110
        await end(cluster, *(f"t{number:05}" for number in range(count)))
        await asyncio.sleep(120)
        assert tasks(cluster) == [f"t{number:05}" for number in range(count - 10, count)]
        assert [len(trim.ids) for trim in trims(cluster)] == [history._PAGE_ROWS, history._PAGE_ROWS, 100]
        await cluster.stop()

    virtual(main)


def test_the_next_page_waits_until_the_last_one_is_saved() -> None:
    async def main() -> None:
        cluster = leading()
        saved = asyncio.Event()

        async def saved_through(_index: int) -> None:
            await saved.wait()

        cluster.replica.saved_through = saved_through  # type: ignore[method-assign]
        await setting(cluster, "max_ended_tasks", 1)
        await end(cluster, *(f"t{number:05}" for number in range(3 * history._PAGE_ROWS)))
        await asyncio.sleep(600)
        assert len(trims(cluster)) == 1
        saved.set()
        await asyncio.sleep(3600)
        assert len(tasks(cluster)) == 1
        await cluster.stop()

    virtual(main)


def test_a_key_that_still_stands_holds_its_task() -> None:
    async def main() -> None:
        cluster = leading()
        await setting(cluster, "max_ended_tasks", 1)
        await end(cluster, "keyed", key="k1")
        await asyncio.sleep(1)
        await end(cluster, "t1", "t2")
        await asyncio.sleep(120)
        assert tasks(cluster) == ["keyed"]
        assert len(trims(cluster)) == 1
        await asyncio.sleep(DAY_S)
        await end(cluster, "t3")
        await asyncio.sleep(120)
        assert tasks(cluster) == ["t3"]
        await cluster.stop()

    virtual(main)


def test_dead_letters_have_bounds_of_their_own() -> None:
    async def main() -> None:
        cluster = leading()
        for number in range(5):
            await cluster.submit(shell(f"dead{number}", queue_timeout_ms=1))
            await cluster.until(lambda task_id=f"dead{number}": cluster.task(task_id).state == DEAD_LETTER)  # type: ignore[misc]
        await end(cluster, "t1")
        await setting(cluster, "max_ended_tasks", 1)
        await setting(cluster, "ended_tasks_kept_s", 1)
        await setting(cluster, "max_dead_letters", 3)
        await setting(cluster, "dead_letters_kept_s", 2 * DAY_S)
        await asyncio.sleep(120)
        assert tasks(cluster) == ["dead2", "dead3", "dead4"]
        await asyncio.sleep(DAY_S + 20 * HOUR_S)
        assert tasks(cluster) == ["dead2", "dead3", "dead4"]
        await asyncio.sleep(11 * HOUR_S)
        assert tasks(cluster) == []
        await cluster.stop()

    virtual(main)


def test_a_batch_without_its_next_part_is_given_up() -> None:
    async def main() -> None:
        cluster = leading()
        entry = Entry(level=1, at_us=cluster.replica.now_us(), client="ann", request_id="b/0")
        entry.commands.add(task_submit=shell("t1"))
        entry.batch.CopyFrom(BatchPart(id="b", count=3))
        assert cluster.replica.apply(entry).commands[0].accepted
        await asyncio.sleep(HOUR_S - 60)
        assert len(cluster.replica.past.of(Batch)) == 1
        await asyncio.sleep(180)
        assert not cluster.replica.past.of(Batch)
        assert not cluster.replica.state.batches
        (event,) = [event for event in cluster.replica.past.of(Event) if event.type == TRIMMED]
        assert event.detail == "batch b was given up: 1 of its 3 tasks had come"
        await cluster.stop()

    virtual(main)


def test_what_lives_stays_whatever_a_store_names() -> None:
    """A store that lags may name what was revived since: it is passed over, and not named again in haste."""

    async def main() -> None:
        cluster = leading()
        await cluster.submit(shell("t1"))
        cluster.replica.past.ended_tasks = lambda *_: [Aged("t1", 1)]  # type: ignore[method-assign]
        await asyncio.sleep(600)
        assert tasks(cluster) == ["t1"]
        assert 1 < len(trims(cluster)) <= 11
        assert not [event for event in cluster.replica.past.of(Event) if event.type == TRIMMED]
        await cluster.stop()

    virtual(main)


def test_a_new_leader_goes_on() -> None:
    async def main() -> None:
        cluster = leading()
        await setting(cluster, "max_ended_tasks", 1)
        await end(cluster, *(f"t{number}" for number in range(20)))
        cluster.replica.fault = Fault(Code.OUTCOME_UNKNOWN, "Unknown.", "Again.")
        await asyncio.sleep(300)
        assert len(tasks(cluster)) == 20
        rows = cluster.replica._rows
        after = cluster.successor()
        after.replica._rows.update(rows)
        await asyncio.sleep(120)
        assert tasks(after) == ["t9"]
        await after.stop()

    virtual(main)


def test_a_leader_with_work_trims_beside_it() -> None:
    async def main() -> None:
        cluster = leading()
        await setting(cluster, "max_ended_tasks", 1)
        await end(cluster, *(f"t{number}" for number in range(1200)))
        await cluster.submit(shell("next"))
        worker = await cluster.connect(machine_node())
        assigned = await worker.next("assignments")
        assert assigned.assignments.assignments[0].task == "next"
        await cluster.stop()

    virtual(main)


def test_the_ledger_of_double_runs_is_kept_for_as_long_and_as_many_as_are_set() -> None:
    async def lose(cluster: Cluster, task_id: str) -> None:
        """Begun on a machine that is lost, and begun again."""
        await cluster.submit(shell(task_id))
        for kind in ("task_lost", "task_cancel"):
            place = Command(task_assign=TaskAssign(id=task_id, placement=Placement(node="n1")))
            fence = (await cluster.replica.execute([place])).index
            begin = Command(task_started=TaskStarted(id=task_id, fence=fence))
            leave = Command(task_lost=TaskLost(id=task_id, fence=fence))
            await cluster.replica.execute([begin, leave] if kind == "task_lost" else [begin])
        await cluster.cancel(task_id)
        await cluster.replica.execute([leave])

    async def main() -> None:
        cluster = Cluster(heartbeat_ms=HOUR_S * 1000, offline_ms=HOUR_S * 1000)
        await cluster.replica.execute([Command(node_join=NodeJoin(node=machine_node()))])
        cluster.begin()
        await lose(cluster, "t1")
        await lose(cluster, "t2")
        past = cluster.replica.past
        assert [row.task for row in past.of(DoubleRun)] == ["t1", "t2"]
        await setting(cluster, "max_double_runs", 1)
        await asyncio.sleep(HOUR_S)
        assert [row.task for row in past.of(DoubleRun)] == ["t2"]
        await setting(cluster, "double_runs_kept_s", DAY_S)  # a month by default
        await asyncio.sleep(22 * HOUR_S)
        assert past.double_run_count() == 1
        await asyncio.sleep(DAY_S)
        assert past.double_run_count() == 0
        await cluster.stop()

    virtual(main)
