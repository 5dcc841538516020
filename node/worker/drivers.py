"""What drivers tell while they run, and how they say that their tasks ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cortex.v1 import worker_pb2 as w
from cortex.v1.types_pb2 import Cause, Endpoint, TaskProgress, TaskType, Usage
from node.env import Clock
from node.worker.exchange import Exchange, Verdict, word
from node.worker.port import AttemptKey

_COMMANDS = frozenset({TaskType.TASK_TYPE_UNSPECIFIED, TaskType.TASK_TYPE_SHELL, TaskType.TASK_TYPE_NOOP})
_PLAIN_ENDS = frozenset({Cause.CAUSE_UNSPECIFIED, Cause.CAUSE_EXIT})
_MESSAGE_CHARS = 200
_WORD_CHARS = 1000
_INT64 = (1 << 63) - 1


class Drivers:
    """Reads the exchange of every attempt that a driver runs. `on_report` gets what the log is to know."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._clock = clock
        self._exchange = Exchange(folder)
        self._driven: set[AttemptKey] = set()
        self._running: set[AttemptKey] = set()
        self.running = asyncio.Event()
        """Set while there is anything to look at."""
        self._progress: dict[AttemptKey, TaskProgress] = {}
        self._news: set[AttemptKey] = set()

    def prepare(self, key: AttemptKey, order: bytes) -> dict[bytes, bytes]:
        """What its driver needs in its environment. Raises OSError."""
        self._driven.add(key)
        return self._exchange.prepare(key, order)

    def hold(self, key: AttemptKey, assignment: w.Assignment) -> None:
        """It is this worker's, perhaps since before it was restarted; nothing for what is a command by itself."""
        if assignment.spec.type not in _COMMANDS:
            self._driven.add(key)

    def follow(self, key: AttemptKey, assignment: w.Assignment) -> None:
        """It runs."""
        self.hold(key, assignment)
        if key in self._driven:
            self._running.add(key)
            self.running.set()

    def leave(self, key: AttemptKey) -> list[w.Report]:
        """It has ended: what it told since the last look(), such as a service that was ready for a moment."""
        reports = self._told(key) if key in self._running else []
        self._running.discard(key)
        if not self._running:
            self.running.clear()
        self._progress.pop(key, None)
        self._news.discard(key)
        return reports

    def look(self) -> list[w.Report]:
        """Read what was told since the last call: what the log is to know. Progress is kept for take_progress()."""
        return [report for key in sorted(self._running) for report in self._told(key)]

    def take_progress(self, *, everything: bool = False) -> list[TaskProgress]:
        """How far what runs is, by task: what changed since the last call, or all that is known."""
        news, self._news = self._news, set()
        return [self._progress[key] for key in sorted(self._progress if everything else news)]

    def judge(self, key: AttemptKey, ended: w.Ended) -> None:
        """Write what its driver said of its end into `ended`; after a stop or a signal nothing it says counts."""
        verdict = self._exchange.verdict(key) if key in self._driven else None
        if verdict is None:
            return
        if verdict.usage:
            _add_usage(ended.result.usage, verdict)
        if ended.cause not in _PLAIN_ENDS:
            return
        if verdict.document:
            ended.result.document = verdict.document
        if verdict.cause:
            ended.cause = verdict.cause  # type: ignore[assignment]
            ended.retry_after_ms = verdict.retry_after_ms
        if verdict.error and ended.cause:
            ended.error = verdict.error

    def ended_in_order(self, key: AttemptKey) -> bool:
        """Whether its driver came to its end, and left nothing."""
        verdict = self._exchange.verdict(key)
        return verdict is not None and not verdict.left

    def order(self, key: AttemptKey) -> bytes:
        """What its driver was told, as the executor wrote it; empty when that is not there (any more)."""
        return self._exchange.order(key)

    def forget(self, keys: Iterable[AttemptKey]) -> None:
        """Their ends are in the log."""
        known = [key for key in keys if key in self._driven]
        self._driven.difference_update(known)
        self._exchange.forget(known)

    def _told(self, key: AttemptKey) -> list[w.Report]:
        reports: list[w.Report] = []
        for event in self._exchange.events(key):
            if isinstance(told := event.get("ready"), dict):
                reports.append(self._ready(key, told))
            elif isinstance(told := event.get("progress"), dict):
                self._progress[key] = self._step(key, told)
                self._news.add(key)
        return reports

    def _ready(self, key: AttemptKey, told: dict[str, Any]) -> w.Report:
        endpoints = [
            Endpoint(name=word(name, _WORD_CHARS), value=word(value, _WORD_CHARS)) for name, value in told.items()
        ]
        ready = w.Ready(task=key.task, fence=key.fence, endpoints=endpoints, ready_at_us=self._clock.wall_us())
        return w.Report(ready=ready)

    def _step(self, key: AttemptKey, told: dict[str, Any]) -> TaskProgress:
        return TaskProgress(
            task=key.task,
            fence=key.fence,
            current=_count(told.get("current")),
            total=_count(told.get("total")),
            message=word(told.get("message", ""), _MESSAGE_CHARS),
            at_us=self._clock.wall_us(),
            starting=told.get("starting") is True,
        )


def _add_usage(usage: Usage, verdict: Verdict) -> None:
    """What did the work was no process of the driver's."""
    said = verdict.usage
    usage.cpu_user_us += said.get("cpu_user_us", 0)
    usage.cpu_system_us += said.get("cpu_system_us", 0)
    usage.max_rss_bytes = max(usage.max_rss_bytes, said.get("max_rss_bytes", 0))
    if usage.peak_memory_bytes:
        usage.peak_memory_bytes = max(usage.peak_memory_bytes, usage.max_rss_bytes)


def _count(value: object) -> int:
    return min(max(int(value), 0), _INT64) if isinstance(value, int) else 0
