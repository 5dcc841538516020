"""What the store costs: rows saved a second, alone and beside a busy loop, cold reads, pages and totals.

Run: python -m bench.store [tasks]
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cortex.v1.types_pb2 import Event, Task, TaskSpec
from node.core.model import COMPLETED, QUEUED, RUNNING, Change, Key, Table
from node.store import Store, TaskQuery

BATCH = 1_000


def task_row(number: int, state: int, index: int) -> Task:
    spec = TaskSpec(type=1, argv=[b"/bin/sh", b"-c", b"true %d" % number], kill_timeout_ms=5_000)  # type: ignore[arg-type]
    spec.retry.max_retries = 3
    spec.retry.backoff_ms = 1_000
    spec.constraints.min_memory_mb = 100
    row = Task(id=f"{number:016d}", name="true", state=state, priority=5, spec=spec, created_index=number + 1)  # type: ignore[arg-type]
    row.modified_index = index
    if state != QUEUED:
        row.node, row.fence = f"n{number % 7}", index
        row.placement.node, row.placement.score = row.node, 71.25
    if state == COMPLETED:
        row.result.exit_code = 0
        row.result.stdout.head = b"hello\n"
        row.result.stdout.sha256 = bytes(32)
    return row


def life(count: int) -> Iterator[list[Change]]:
    """Batches of changes: tasks are submitted, start and end, each step with its event."""
    index = 0
    steps = ((None, QUEUED), (QUEUED, RUNNING), (RUNNING, COMPLETED))
    for first in range(0, count, BATCH):
        for before, after in steps:
            index += 1
            changes: list[Change] = []
            for number in range(first, min(first + BATCH, count)):
                old = None if before is None else task_row(number, before, index)
                new = task_row(number, after, index)
                event = Event(
                    id=f"{index}-{number - first}", index=index, task=new.id, at_us=index * 1_000, state=new.state
                )
                changes += [Change(Table.TASKS, new.id, old, new), Change(Table.EVENTS, event.id, None, event)]
            yield changes


def timed(name: str, count: int, unit: str, work: Callable[[], object]) -> None:
    begin = time.perf_counter()
    work()
    seconds = time.perf_counter() - begin
    print(f"{name:<44} {count / seconds:>12,.0f} {unit}/s {seconds * 1e3:>10,.2f} ms")


def save_all(store: Store, batches: list[list[Change]]) -> None:
    index = store.saved().index
    for changes in batches:
        index += 1
        store.save(changes, index, 1, index, 0)


def beside_busy_loop(work: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():
            sum(range(200))
        thread.join()

    return run


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        print(f"{count} tasks, three states each, one event a state, {BATCH} tasks a save")
        batches = list(life(count))
        rows = sum(map(len, batches))
        store = Store(Path(folder) / "alone.sqlite")
        store.open()
        timed("save, tasks and events", rows, "rows", lambda: save_all(store, batches))
        few = batches[: max(3, len(batches) // 5)]
        busy = Store(Path(folder) / "busy.sqlite")
        busy.open()
        timed(
            "the same beside a busy thread",
            sum(map(len, few)),
            "rows",
            beside_busy_loop(lambda: save_all(busy, few)),
        )
        busy.close()
        keys = [Key(Table.TASKS, f"{number:016d}") for number in range(min(count, 5_000))]
        timed(f"get, {len(keys)} tasks", len(keys), "rows", lambda: store.get(keys))
        absent = [Key(Table.TASKS, f"x{number:015d}") for number in range(5_000)]
        timed("get, 5000 ids that are not there", 5_000, "rows", lambda: store.get(absent))
        for name, query in (
            ("page of 50, all", TaskQuery()),
            ("page of 50, four states", TaskQuery(states=(2, 3, 4, 5))),
            ("page of 50, one node", TaskQuery(node="n3")),
            ("page of 50, text", TaskQuery(text="true 12")),
        ):
            timed(name, 50, "rows", lambda query=query: store.list_tasks(query))  # type: ignore[misc]
        timed("recount of the digest", store.counts().by_state[COMPLETED], "tasks", store.recount_digest)
        store.close()


if __name__ == "__main__":
    main()
