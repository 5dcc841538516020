"""Growth: what a million finished tasks in the store change for those who list, submit and restart.

Run: python -m bench.growth [tasks]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from bench import _meter
from bench._table import Goal, head, line
from cortex.v1 import cluster_pb2
from cortex.v1.types_pb2 import (
    EVENT_TYPE_ASSIGNED,
    EVENT_TYPE_COMPLETED,
    EVENT_TYPE_STARTED,
    EVENT_TYPE_SUBMITTED,
    TASK_STATE_ASSIGNED,
    TASK_STATE_COMPLETED,
    TASK_STATE_QUEUED,
    TASK_STATE_RUNNING,
    TASK_TYPE_SHELL,
    Constraints,
    Event,
    Task,
    TaskSpec,
)
from node.core.model import Change, Table
from node.store.connect import Connection
from node.store.rows import codecs
from node.store.store import FILE
from node.store.writer import Writer
from tests.e2e.harness import Cluster
from tui.link.client import ClusterClient

FEW = 200
SAVED = 2_000
ROUNDS = 150
# Entries before the rows: tasks are submitted at one of them each, and all end at the last.
ENTRIES = 40
LIFE = (
    (EVENT_TYPE_SUBMITTED, TASK_STATE_QUEUED),
    (EVENT_TYPE_ASSIGNED, TASK_STATE_ASSIGNED),
    (EVENT_TYPE_STARTED, TASK_STATE_RUNNING),
    (EVENT_TYPE_COMPLETED, TASK_STATE_COMPLETED),
)
# A node that is not there: what is submitted waits, and costs nothing but its acceptance.
NOWHERE = TaskSpec(argv=[b"true"], constraints=Constraints(target_node="nowhere"))


def finished(number: int, index: int, at_us: int) -> Task:
    task_id = f"0{number:015d}"
    spec = TaskSpec(type=TASK_TYPE_SHELL, argv=[b"/bin/sh", b"-c", b"true %d" % number], kill_timeout_ms=5_000)
    spec.retry.max_retries = 3
    spec.retry.backoff_ms = 1_000
    row = Task(
        id=task_id, name="true", state=TASK_STATE_COMPLETED, priority=5, spec=spec, node="n1", run=1, fence=index
    )
    row.created_index, row.modified_index = index - number % ENTRIES, index
    row.created_at_us = row.assigned_at_us = row.started_at_us = row.completed_at_us = at_us
    row.placement.node, row.placement.score = "n1", 71.25
    row.result.exit_code = 0
    row.result.stdout.head = b"hello\n"
    row.result.stdout.sha256 = bytes(32)
    return row


def rows(count: int, index: int, at_us: int) -> Iterator[list[Change]]:
    """All of them at `index`, with the events of their lives."""
    number = 1_000
    for first in range(0, count, SAVED):
        changes: list[Change] = []
        for one in range(first, min(first + SAVED, count)):
            task = finished(one, index, at_us)
            changes.append(Change(Table.TASKS, task.id, None, task))
            before = 0
            for kind, state in LIFE:
                number += 1
                when = index if before else task.created_index
                event = Event(id=f"{when}-{number}", index=when, task=task.id, type=kind, at_us=at_us, run=1)
                event.state, event.node = state, "n1"
                if before:
                    event.was_state, event.was_node, event.was_run = before, "n1", 1  # type: ignore[assignment]
                before = state
                changes.append(Change(Table.EVENTS, event.id, None, event))
        yield changes


def fill(path: Path, count: int) -> float:
    """Put finished tasks into the store of a daemon that does not run; seconds. The digest is not kept up."""
    begun = time.perf_counter()
    connection = Connection(str(path), cache_kib=65_536)
    index, at_us = connection.raw.execute("SELECT saved_index, saved_at FROM meta").fetchone()
    for changes in rows(count, index, at_us):
        with connection.transaction("BEGIN IMMEDIATE") as db:
            Writer(db, codecs()).write(changes)
    connection.close()
    return time.perf_counter() - begun


async def timed_ms(call: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await call()
    return (time.perf_counter() - begun) * 1_000


def calls(client: ClusterClient) -> dict[str, Callable[[], Awaitable[object]]]:
    task = cluster_pb2.TaskRequest(name="bench", spec=NOWHERE)
    return {
        "list, newest 50": lambda: client.list_tasks(),
        "list, completed": lambda: client.list_tasks(states=[TASK_STATE_COMPLETED]),
        "list, of a node": lambda: client.list_tasks(node="n1"),
        "one task with its events": lambda: client.get_task("0000000000000007"),
        "submit": lambda: client.submit(task),
    }


async def compare(few: Cluster, many: Cluster) -> None:
    """The same calls to both, in turns, so that what else the machine does meets both."""
    async with few.client() as small, many.client() as large:
        await few.leader(small)
        await many.leader(large, timeout_s=120)
        for name in calls(small):
            took: dict[str, list[float]] = {"few": [], "many": []}
            for _ in range(ROUNDS):
                took["few"].append(await timed_ms(calls(small)[name]))
                took["many"].append(await timed_ms(calls(large)[name]))
            medians = {which: sorted(found)[ROUNDS // 2] for which, found in took.items()}
            note = f"{medians['few']:.2f} -> {medians['many']:.2f} ms"
            goal = Goal(floor=1.2) if not name.startswith("one") else Goal()
            line(name, [medians["many"] / medians["few"]], "times an empty store's", goal, note)
        await past(large)
        line("list by text", [await timed_ms(lambda: large.list_tasks(text="true 77"))], "ms")


async def past(client: ClusterClient) -> None:
    """Views of a moment since when every task has changed: the most that they can cost."""
    (task,) = (await client.list_tasks(states=[TASK_STATE_COMPLETED], limit=1)).tasks
    moment = cluster_pb2.Moment(index=task.modified_index - ENTRIES // 2)
    queued = (TASK_STATE_QUEUED,)
    for name, call in (
        ("list at a past moment", lambda: client.list_tasks(at=moment)),
        ("the same, by a state with a total", lambda: client.list_tasks(at=moment, states=queued)),
        ("nodes at a past moment", lambda: client.list_nodes(at=moment)),
        ("difference of 1,000 rows", lambda: client.diff(moment)),
    ):
        line(name, [await timed_ms(call)], "ms")


async def restarted(cluster: Cluster) -> float:
    """Seconds from the start of the process until it serves as the leader."""
    cluster.kill()
    begun = time.perf_counter()
    cluster.start()
    async with cluster.client() as client:
        await cluster.leader(client, timeout_s=120)
    return time.perf_counter() - begun


async def begun(folder: Path, count: int) -> Cluster:
    """A cluster of one whose store has so many finished tasks."""
    cluster = Cluster(folder, 1)
    cluster.start()
    async with cluster.client() as client:
        await cluster.leader(client)
        for _ in range(ENTRIES + 2):
            await client.submit(cluster_pb2.TaskRequest(name="bench", spec=NOWHERE))
        await client.list_tasks(limit=1)
    cluster.close()
    seconds = fill(folder / "n1" / FILE, count)
    print(f"{count:,} finished tasks were put into a store in {seconds:.0f} s", flush=True)
    cluster.start()
    return cluster


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clusters: list[Cluster] = []
        try:
            clusters.append(await begun(Path(folder) / "few", FEW))
            clusters.append(await begun(Path(folder) / "many", count))
            head(f"{count:,} finished tasks beside {FEW}, one voter")
            await compare(*clusters)
            many = clusters[1]
            line("restart to serving", [await restarted(many) for _ in range(3)], "s", Goal(floor=5, goal=2))
            pids = _meter.processes(many)
            sizes = [_meter.memory_mb(pid) for name, pid in pids.items() if name.endswith("daemon")]
            line("resident after a restart", sizes, "MB", Goal(floor=512, goal=200))
            await compare(*clusters)
            sizes = [_meter.memory_mb(pid) for name, pid in pids.items() if name.endswith("daemon")]
            line("resident after that", sizes, "MB", Goal(floor=512, goal=200))
        finally:
            for cluster in clusters:
                cluster.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
