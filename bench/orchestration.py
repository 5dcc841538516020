"""An orchestrator's load: 100 requests a minute of three priorities, chains of one to three tasks.

A request is a workflow. Measured per task: from the moment that it may run (the call of SubmitWorkflow, or the
end of the task before it on the watch) until the watch shows it assigned. Then what the daemons hold in memory.

Run: python -m bench.orchestration [--minutes 5] [--voters 3] [--seed 7]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from dataclasses import dataclass, field

from bench._table import Goal, Running, head, line, percentile, running
from bench.tasks import ENDED
from cortex.v1 import cluster_pb2, types_pb2

_PER_MINUTE = 100
_AT_ONCE = 20
_PRIORITIES = ((10, 0.4), (5, 0.4), (0, 0.2))
_NAMES = {10: "P0", 5: "P1", 0: "P2"}
_WAITING = (types_pb2.TASK_STATE_PENDING, types_pb2.TASK_STATE_QUEUED)
_WORK = b"sleep 0.%03d"


@dataclass(slots=True)
class Seen:
    """When a watch showed what of each task, time.perf_counter()."""

    assigned: dict[str, float] = field(default_factory=dict)
    ended_s: dict[str, float] = field(default_factory=dict)
    ended: dict[str, asyncio.Event] = field(default_factory=dict)
    live: asyncio.Event = field(default_factory=asyncio.Event)

    def end_of(self, task_id: str) -> asyncio.Event:
        return self.ended.setdefault(task_id, asyncio.Event())

    async def follow(self, found: Running) -> None:
        async for reply in found.client.watch(0):
            now_s = time.perf_counter()
            if reply.snapshot_end:
                self.live.set()
            for change in reply.changes:
                task = change.task
                if not change.HasField("task") or task.state in _WAITING:
                    continue
                self.assigned.setdefault(task.id, now_s)
                if task.state in ENDED:
                    self.ended_s.setdefault(task.id, now_s)
                    self.end_of(task.id).set()


class Load:
    """Chains, one request each, begun at even steps of time."""

    def __init__(self, found: Running, seen: Seen, rng: random.Random) -> None:
        self._found = found
        self._seen = seen
        self._rng = rng
        self._room = asyncio.Semaphore(_AT_ONCE)
        self.assignment_ms: dict[int, list[float]] = {priority: [] for priority, _ in _PRIORITIES}
        self.whole_ms: list[float] = []

    async def run(self, minutes: float) -> None:
        chains: list[asyncio.Task[None]] = []
        begun = time.perf_counter()
        for number in range(round(minutes * _PER_MINUTE)):
            await asyncio.sleep(max(0.0, begun + number * 60 / _PER_MINUTE - time.perf_counter()))
            chains.append(asyncio.create_task(self._chain()))
        await asyncio.gather(*chains)

    async def _chain(self) -> None:
        priority = self._rng.choices([each for each, _ in _PRIORITIES], [share for _, share in _PRIORITIES])[0]
        async with self._room:
            asked = cluster_pb2.SubmitWorkflowRequest(name="bench")
            for number in range(self._rng.randint(1, 3)):
                command = _WORK % self._rng.randint(50, 900)
                spec = types_pb2.TaskSpec(type=types_pb2.TASK_TYPE_SHELL, shell_command=command)
                task = cluster_pb2.TaskRequest(priority=priority, spec=spec)
                before = [f"t{number - 1}"] if number else []
                asked.tasks.add(key=f"t{number}", task=task, depends_on=before)
            due_s = begun_s = time.perf_counter()
            workflow = await self._found.client.submit_workflow(asked)
            for number in range(len(asked.tasks)):
                task_id = f"{workflow.id}.{number}"
                due_s = await self._task(task_id, priority, due_s)
            self.whole_ms.append((due_s - begun_s) * 1e3)

    async def _task(self, task_id: str, priority: int, due_s: float) -> float:
        """Note how long it waited; when its end was seen."""
        await self._seen.end_of(task_id).wait()
        self.assignment_ms[priority].append((self._seen.assigned[task_id] - due_s) * 1e3)
        return self._seen.ended_s[task_id]


async def measure(voters: int, minutes: float, seed: int, slots: int) -> None:
    async with running(voters, {"CORTEX_SLOTS": str(slots)}) as found:
        seen = Seen()
        following = asyncio.create_task(seen.follow(found))
        await seen.live.wait()
        load = Load(found, seen, random.Random(seed))
        found.mark()
        await load.run(minutes)
        following.cancel()
        everything = [each for values in load.assignment_ms.values() for each in values]
        line("assignment seen, p50", [percentile(everything, 50)], "ms")
        goal = Goal(50, 10)
        line("assignment seen, p95", [percentile(everything, 95)], "ms", goal, found.cpu_us(len(everything)))
        for priority, values in load.assignment_ms.items():
            if values:
                line(f"  of {_NAMES[priority]} ({len(values)} tasks), p95", [percentile(values, 95)], "ms", goal)
        line("whole request, p50", [percentile(load.whole_ms, 50)], "ms")
        line("RSS of the daemons at the end", found.memory_mb(), "MB", Goal(100, 70))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--voters", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--slots", type=int, default=8, help="shell tasks that each node runs at once")
    options = parser.parse_args(arguments)
    head(
        f"Orchestration: {_PER_MINUTE} requests/min for {options.minutes:g} min, 40/40/20 % P0/P1/P2, "
        f"chains of 1–3 tasks of 0.05–0.9 s, {options.voters} voters with {options.slots} slots each"
    )
    asyncio.run(measure(options.voters, options.minutes, options.seed, options.slots))


if __name__ == "__main__":
    main()
