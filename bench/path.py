"""What the commands of a task cost in one process, by stage: parse, cold rows, apply, commit, feed, watch, save.

Run: python -m bench.path [--tasks 10000] [--rounds 5] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, Entry
from cortex.v1.types_pb2 import Node, Placement, Slots, TaskResult, TaskSpec
from node.core import machine, reads, validate
from node.core.model import Change, Key, has_ended
from node.core.state import ClusterState
from node.feed import Batch, Feed
from node.rpc import views
from node.store import FILE, Store

# Commands of one entry, as a busy leader puts them together.
_PART = 250
_BEGUN_US = 1_700_000_000_000_000

_NODE = Node(
    id="n1",
    hostname="n1",
    state=types_pb2.NODE_STATE_ACTIVE,
    online=True,
    slots=[
        Slots(type=types_pb2.TASK_TYPE_SHELL, count=8),
        Slots(type=types_pb2.TASK_TYPE_NOOP, count=64),
    ],
)


def _submit(task_id: str, kind: types_pb2.TaskType.ValueType) -> Command:
    argv = [b"/bin/true"] if kind == types_pb2.TASK_TYPE_SHELL else []
    spec = TaskSpec(type=kind, argv=argv, kill_timeout_ms=validate.KILL_TIMEOUT_MS)
    command = Command()
    submit = command.task_submit
    submit.id, submit.name, submit.priority = task_id, "bench", 5
    submit.spec.CopyFrom(spec)
    submit.spec.retry.max_retries = 3
    submit.spec.retry.backoff_ms = 1_000
    return command


def _result(shell: bool, now_us: int) -> TaskResult:
    result = TaskResult(exit_code=0, started_at_us=now_us, ended_at_us=now_us + 900)
    if shell:
        result.stdout.sha256 = result.stderr.sha256 = bytes(range(32))
        result.usage.wall_us, result.usage.cpu_user_us, result.usage.max_rss_bytes = 900, 400, 1_500_000
    return result


def _placement() -> Placement:
    made = Placement(node="n1", score=71.25, weights="default", reason="Best score with a free slot: 71.2 points.")
    made.terms.cpu, made.terms.memory, made.terms.tasks = 40.0, 31.5, -0.25
    made.terms.disk = made.terms.network = 10.0
    return made


def entries(ids: list[str], kind: types_pb2.TaskType.ValueType, first: int) -> Iterator[bytes]:
    """The log that these tasks make, from index `first` on."""
    index, now_us, placement = first, _BEGUN_US + first * 1_000, _placement()
    shell = kind == types_pb2.TASK_TYPE_SHELL
    for start in range(0, len(ids), _PART):
        part = ids[start : start + _PART]
        yield _entry([_submit(task_id, kind) for task_id in part], now_us, f"r{index}")
        assigns = [Command() for _ in part]
        for task_id, command in zip(part, assigns, strict=True):
            command.task_assign.id = task_id
            command.task_assign.placement.CopyFrom(placement)
        yield _entry(assigns, now_us)
        fence = index + 1
        reports: list[Command] = []
        for task_id in part:
            if shell:
                started = Command()
                started.task_started.id, started.task_started.fence = task_id, fence
                started.task_started.started_at_us = now_us
                reports.append(started)
            ended = Command()
            ended.task_complete.id, ended.task_complete.fence = task_id, fence
            ended.task_complete.result.CopyFrom(_result(shell, now_us))
            reports.append(ended)
        yield _entry(reports, now_us)
        index, now_us = index + 3, now_us + 1_000


def _entry(commands: list[Command], now_us: int, request_id: str = "") -> bytes:
    entry = Entry(level=1, at_us=now_us, commands=commands)
    if request_id:
        entry.client = entry.actor = "bench"
        entry.request_id = request_id
    return entry.SerializeToString()


class Stages:
    """A replica's way of an entry, without its loop; what it costs by stage, in seconds of CPU."""

    def __init__(self, folder: Path) -> None:
        self.spent: Counter[str] = Counter()
        self._store = Store(folder / FILE)
        self._store.open()
        self._state = ClusterState()
        self._state.load([_NODE], 0, 0, 0, 0)
        self._feed = Feed(after=0)
        self._unsaved: list[Change] = []
        self._seen = 0
        self._clock = time.process_time

    @property
    def index(self) -> int:
        return self._state.index

    def run(self, log: list[bytes], save_every: int) -> None:
        for number, data in enumerate(log, 1):
            self._apply(data)
            self._watch()
            if number % save_every == 0:
                self._save()
        self._save()

    def close(self) -> None:
        self._store.close()

    @property
    def digest(self) -> int:
        return self._state.digest

    def _apply(self, data: bytes) -> None:
        state, index, clock = self._state, self._state.index + 1, self._clock
        times = [clock()]
        entry = Entry.FromString(data)
        machine.check_level(entry)
        times.append(clock())
        cold = reads.gather([entry], state, self._load)
        times.append(clock())
        outcome = machine.apply(state, cold, entry, index, 1, answered=bool(entry.request_id))
        times.append(clock())
        weight = state.commit(outcome, index, 1, entry.at_us)
        times.append(clock())
        self._feed.publish(Batch(index, entry.at_us, outcome.changes, weight - len(outcome.changes)), weight)
        self._unsaved.extend(outcome.changes)
        times.append(clock())
        for name, begun, ended in zip(
            ("parse", "cold rows", "apply", "commit", "feed"), times, times[1:], strict=False
        ):
            self.spent[name] += ended - begun  # type: ignore[assignment]

    def _load(self, keys: object) -> dict[Key, object]:
        wanted = list(keys)  # type: ignore[call-overload]
        stored = self._store.get(wanted)
        return {key: stored.get(key) for key in wanted}

    def _watch(self) -> None:
        begun = self._clock()
        batches = self._feed.after(self._seen)
        for frame in views.frames(views.merge(batches, events=False), small=views.are_small(batches)):
            frame.SerializeToString()
        self._seen = self._feed.last_index
        self.spent["watch"] += self._clock() - begun  # type: ignore[assignment]

    def _save(self) -> None:
        begun, state, changes = self._clock(), self._state, self._unsaved
        self._unsaved = []
        self._store.save(changes, state.index, state.term, state.at_us, state.digest)
        ended = [Key(change.table, change.id) for change in changes if change.new and has_ended(change.new)]
        state.evict(ended)
        self.spent["save"] += self._clock() - begun  # type: ignore[assignment]


def measure(kind: types_pb2.TaskType.ValueType, tasks: int, rounds: int) -> tuple[dict[str, float], int]:
    """Microseconds a task by stage, the least of the rounds, and the digest at the end."""
    least: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        stages = Stages(Path(folder))
        for number in range(rounds):
            ids = [f"{number:04}{task:012}" for task in range(tasks)]
            log = list(entries(ids, kind, stages.index + 1))
            gc.collect()
            gc.freeze()
            stages.spent.clear()
            stages.run(log, save_every=12)
            for name, seconds in stages.spent.items():
                least[name] = min(least.get(name, 1e9), seconds / tasks * 1e6)
        digest = stages.digest
        stages.close()
    return least, digest


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="where it goes, by cProfile")
    options = parser.parse_args(arguments)
    for kind, name in ((types_pb2.TASK_TYPE_SHELL, "/bin/true"), (types_pb2.TASK_TYPE_NOOP, "no-op")):
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        found, digest = measure(kind, options.tasks, options.rounds)
        profile.disable()
        parts = "  ".join(f"{stage} {us:.1f}" for stage, us in found.items())
        print(f"{name:9} µs of CPU a task: {sum(found.values()):.1f} = {parts} | digest {digest:032x}", flush=True)
        if options.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(32)


if __name__ == "__main__":
    main()
