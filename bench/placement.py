"""What a placement pass costs: 100,000 queued tasks × 1,000 nodes, for few and for many shapes, beside its goals.

A pass is computing alone, so its CPU time is what it takes on a machine that nobody else uses.

Run: python -m bench.placement [tasks] [nodes]
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

from cortex.v1.log_pb2 import Reply
from cortex.v1.types_pb2 import Gpu, Label, Node, NodeState, Resources, Setting, Slots, Task, TaskSpec
from node.core.model import ASSIGNED, QUEUED, Change, Outcome
from node.core.model import Table as Rows
from node.core.scheduler import Limits, Planned, Queue, plan
from node.core.state import ClusterState
from node.core.waiting import Survey

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


class Table:
    """Prints a line per measurement: time on the wall, CPU time of this process, floor and goal."""

    def __init__(self) -> None:
        print(f"{'':<46} {'wall':>10} {'CPU':>10}   {'floor':>9} {'goal':>9}   result")

    def line(
        self, name: str, work: Callable[[], object], floor_ms: float = 0, goal_ms: float = 0, times: int = 1
    ) -> None:
        """The best of `times`, since a shared machine measures its other users too. A bound of 0 is none."""
        best = (float("inf"), float("inf"))
        for _ in range(times):
            begin, cpu = time.perf_counter(), time.process_time()
            result = work()
            taken = ((time.perf_counter() - begin) * 1e3, (time.process_time() - cpu) * 1e3)
            best = min(best, taken, key=lambda pair: pair[1])
        bounds = [f"{bound:,.0f} ms" if bound else "" for bound in (floor_ms, goal_ms)]
        print(f"{name:<46} {best[0]:>7,.1f} ms {best[1]:>7,.1f} ms   {bounds[0]:>9} {bounds[1]:>9}   {result}")


def assigned(state: ClusterState, everything: list[Planned]) -> list[Change]:
    """The changes of an entry that records these placements."""
    changes = []
    for planned in everything:
        old, new = state.tasks[planned.task_id], Task()
        new.CopyFrom(old)
        new.state, new.node = ASSIGNED, planned.placement.node
        changes.append(Change(Rows.TASKS, new.id, old, new))
    return changes


def measure(count: int, nodes: int, shapes: int) -> None:
    print(f"\n{count:,} queued tasks, {nodes:,} nodes of 16 slots, {shapes:,} shapes; best of 3 by CPU time")
    rng = random.Random(7)
    state, samples = cluster(nodes, rng)
    state.load(tasks(count, shapes, rng), 1, 1, 1, 0)
    queue, table = Queue(), Table()
    floor_ms, goal_ms = (1_000, 300) if shapes <= 50 else (5_000, 2_000)

    def run(limits: Limits, most: int) -> int:
        return len(plan(queue, state, samples, limits, NOW_US, most).placements)

    def profile(name: str) -> None:
        state.load([Setting(name="profile", value=name)], state.index, 1, 1, 0)

    ahead = Limits(default_prefetch=512)
    table.line("fill the queue (a new leader)", lambda: queue.load(state), times=3)
    table.line("whole pass, free slots only", lambda: run(Limits(), count), floor_ms, goal_ms, 3)
    table.line("whole pass, prefetch 512", lambda: run(ahead, count), floor_ms, goal_ms, 3)
    profile("orchestrator")
    table.line("whole pass, prefetch 512, orchestrator", lambda: run(ahead, count), floor_ms, 0, 3)
    profile("resources")
    table.line("one entry of 1,000 placements", lambda: run(ahead, 1_000), times=3)
    changes = assigned(state, plan(queue, state, samples, Limits(), NOW_US, count).placements)
    state.commit(Outcome(tuple(changes), Reply()), 2, 1, 2)
    table.line(f"observe {len(changes):,} assignments", lambda: queue.observe(changes))
    table.line("the pass after them, nothing is free", lambda: run(Limits(), count))
    done = changes[0].new
    assert isinstance(done, Task)
    ended = (Change(Rows.TASKS, done.id, done, None),)
    state.commit(Outcome(ended, Reply()), 3, 1, 3)
    queue.observe(ended)
    table.line("a pass after one change: one task has ended", lambda: run(Limits(), count), 0, 10, 3)
    if shapes <= 50:

        def reasons() -> int:
            survey = Survey(state, queue, samples, Limits())
            return len({survey.reason(group) for group in queue.groups()})

        table.line("why each shape waits", reasons, times=3)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    nodes = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    for shapes in (50, 10_000):
        measure(count, nodes, shapes)


if __name__ == "__main__":
    main()
