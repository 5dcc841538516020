"""What a placement pass costs: 100,000 queued tasks × 1,000 nodes, for few and for many shapes.

Run: python -m bench.placement [tasks] [nodes]
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

from cortex.v1.types_pb2 import Gpu, Label, Node, NodeState, Resources, Slots, Task, TaskSpec
from node.core.model import ASSIGNED, QUEUED, Change, Outcome, Table
from node.core.scheduler import Limits, Queue, plan
from node.core.state import ClusterState

NOW_US = 1_700_000_000_000_000


def cluster(nodes: int, rng: random.Random) -> tuple[ClusterState, dict[str, Resources]]:
    state, samples = ClusterState(), dict[str, Resources]()
    rows = []
    for number in range(nodes):
        row = Node(id=f"n{number:04}", hostname=f"host{number}", state=NodeState.NODE_STATE_ACTIVE, online=True)
        row.slots.append(Slots(type=1, count=16))  # type: ignore[arg-type]
        row.labels.append(Label(key="zone", value=str(number % 10)))
        row.capacity.cpu_millis, row.capacity.memory_bytes = 16_000, 64 * 10**9
        rows.append(row)
        samples[row.id] = Resources(
            cpu_percent=rng.uniform(0, 100),
            memory_total_bytes=64 * 10**9,
            memory_available_bytes=rng.randrange(64 * 10**9),
            disk_total_bytes=10**12,
            disk_free_bytes=rng.randrange(10**12),
            gpus=[Gpu(utilisation_percent=rng.uniform(0, 100))] if number % 4 == 0 else [],
        )
    state.load(rows, 1, 1, 1, 0)
    return state, samples


def tasks(count: int, shapes: int, rng: random.Random) -> list[Task]:
    made = []
    for number in range(count):
        shape = number % shapes
        spec = TaskSpec(type=1, argv=[b"true"])  # type: ignore[arg-type]
        spec.constraints.min_memory_mb = 1 + shape
        if shape % 5 == 1:
            spec.constraints.node_labels.append(Label(key="zone", value=str(shape % 10)))
        if shape % 5 == 2:
            spec.constraints.requires_gpu = True
        if shape % 5 == 3:
            spec.requests.cpu_millis = 100
        task = Task(id=f"t{number:07}", state=QUEUED, priority=rng.randrange(11), spec=spec, run=1)
        task.created_at_us = NOW_US - rng.randrange(10**9)
        made.append(task)
    return made


def timed(name: str, work: Callable[[], object]) -> None:
    begin, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall_ms, cpu_ms = (time.perf_counter() - begin) * 1e3, (time.process_time() - cpu) * 1e3
    print(f"{name:<60} {wall_ms:>10,.1f} ms, {cpu_ms:>10,.1f} ms of CPU  {result}")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    nodes = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    for shapes in (50, 10_000):
        rng = random.Random(7)
        state, samples = cluster(nodes, rng)
        rows = tasks(count, shapes, rng)
        state.load(rows, 1, 1, 1, 0)
        queue = Queue()
        title = f"{count} tasks, {nodes} nodes, {shapes} shapes"
        timed(f"{title}: fill the queue", lambda: queue.load(state))  # noqa: B023

        def run(limits: Limits, most: int) -> int:
            return len(plan(queue, state, samples, limits, NOW_US, most))  # noqa: B023

        timed(f"{title}: whole pass, slots only", lambda: run(Limits(), count))
        timed(f"{title}: whole pass, prefetch 512", lambda: run(Limits(default_prefetch=512), count))
        timed(f"{title}: one entry of 1,000", lambda: run(Limits(default_prefetch=512), 1_000))
        everything = plan(queue, state, samples, Limits(), NOW_US, count)
        changes = []
        for planned in everything:
            old, new = state.tasks[planned.task_id], Task()
            new.CopyFrom(old)
            new.state, new.node = ASSIGNED, planned.placement.node
            changes.append(Change(Table.TASKS, new.id, old, new))
        state.commit(Outcome(tuple(changes), None), 2, 1, 2)  # type: ignore[arg-type]
        timed(f"{title}: observe {len(changes)} assignments", lambda: queue.observe(changes))  # noqa: B023
        timed(f"{title}: pass over a full cluster", lambda: run(Limits(), count))
        done = changes[0].new
        assert isinstance(done, Task)
        state.commit(Outcome((Change(Table.TASKS, done.id, done, None),), None), 3, 1, 3)  # type: ignore[arg-type]
        timed(f"{title}: after one end", lambda: run(Limits(), count))


if __name__ == "__main__":
    main()
