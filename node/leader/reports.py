"""Reports of all sessions: many become one entry, and are acknowledged after it is applied.

A report whose fence no longer stands needs no entry: fences are never used twice, so what is repeated or late gets
its verdict from the applied state at once. That is also what makes repeated batches harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import structlog

from cortex.v1.log_pb2 import Command, TaskLost
from cortex.v1.types_pb2 import Task, TaskState
from cortex.v1.worker_pb2 import LeaderMessage, Report, ReportsAck, Verdict, VerdictKind
from cortex.v1.worker_pb2 import Reports as ReportsMessage
from node.core.faults import Code, Fault
from node.core.model import holds
from node.core.state import ClusterState
from node.leader.ends import FINAL, Translator
from node.leader.port import Replica, Settings
from node.leader.roster import slots_of, used
from node.leader.session import Attempt, Session

_RUNNING = TaskState.TASK_STATE_RUNNING
_ENDS = frozenset({"task_complete", "task_failed", "task_stopped", "task_recalled", "task_lost"})
_RETRIED = frozenset({Code.OVERLOADED, Code.OUTCOME_UNKNOWN, Code.DEADLINE})
# Refused, they leave nothing to be made up for.
_HARMLESS = frozenset({"task_recalled", "task_lost"})
_RETRY_S = 0.1
# As in the outbox of a worker: half as many entries as with 20 ms take a third off what a busy daemon spends.
_SHARE_S = 0.04


@dataclass(slots=True)
class _Batch:
    session: Session
    number: int
    reports: Sequence[Report]
    size_bytes: int


class Reports:
    """`reporting` holds the attempts whose end the entry in flight brings from their own worker."""

    def __init__(self, random: Random, replica: Replica, settings: Settings) -> None:
        self.reporting: set[Attempt] = set()
        self.before_record: Callable[[], None] = lambda: None
        self._replica = replica
        self._translator = Translator(random, replica)
        self._settings = settings
        self._log = structlog.get_logger(node=settings.node_id)
        self._waiting: deque[_Batch] = deque()
        self._taken: list[_Batch] = []
        self._waiting_count = 0
        self._ending: Counter[tuple[str, int]] = Counter()
        self._recorded_s = -_SHARE_S
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()

    def add(self, session: Session, message: ReportsMessage) -> None:
        """Queue a batch. A worker that floods the leader loses its session, and sends again when it is back."""
        number, count = message.number, len(message.reports)
        if any(batch.session is session and batch.number == number for batch in (*self._taken, *self._waiting)):
            return
        if self._waiting_count + count > self._settings.reports_waiting_limit:
            session.closed.set()
            return
        self._waiting.append(_Batch(session, number, message.reports, message.ByteSize()))
        self._waiting_count += count
        if self._waiting_count >= self._settings.commands_per_entry or self._makes_idle(session.node_id, message):
            self._urgent.set()
        self._wake.set()

    async def flush(self) -> None:
        """Propose what waits, one entry at a time; the next one collects meanwhile. Runs until cancelled."""
        for batch in self._taken:
            batch.session.closed.set()  # what failed here is sent again from the next session
        self._taken = []
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._share()
                self._taken = self._take()
                self.before_record()
                recorded = await self._record(self._taken)
                self._recorded_s = asyncio.get_running_loop().time()
                for batch in self._taken:
                    if recorded is None:
                        batch.session.closed.set()
                    else:
                        batch.session.push(self._ack(batch, recorded))
                self._taken = []

    def _makes_idle(self, node_id: str, message: ReportsMessage) -> bool:
        """Whether a node has a free slot once all that waits of it is recorded: then the entry is urgent."""
        state = self._replica.state
        row = state.nodes.get(node_id)
        if row is None:
            return True
        for report in message.reports:
            if report.WhichOneof("kind") in FINAL and (task := standing(state, node_id, report)) is not None:
                self._ending[node_id, task.spec.type] += 1
        return any(
            used(state, node_id, kind) - self._ending[node_id, kind] < count
            for kind, count in slots_of(row).items()
            if (node_id, kind) in self._ending
        )

    async def _share(self) -> None:
        """While every node has enough to do, let the reports of several share an entry."""
        loop = asyncio.get_running_loop()
        pause_s = self._recorded_s + _SHARE_S - loop.time()
        if pause_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._urgent.wait()
        self._urgent.clear()
        self._ending.clear()

    def _take(self) -> list[_Batch]:
        """Batches for about one entry; at least one."""
        batches: list[_Batch] = []
        count = size = 0
        while self._waiting:
            batch = self._waiting[0]
            count += len(batch.reports)
            size += batch.size_bytes
            over = count > self._settings.commands_per_entry or size > self._settings.bytes_per_entry
            if batches and over:
                break
            batches.append(self._waiting.popleft())
            self._waiting_count -= len(batch.reports)
        return batches

    async def _record(self, batches: list[_Batch]) -> set[Attempt] | None:
        """Attempts whose end was recorded, once all that stands is applied; None when this leader cannot do it."""
        recorded: set[Attempt] = set()
        while True:
            commands = self._commands(batches)
            try:
                for part in self._parts(commands):
                    recorded |= await self._execute(part)
                return recorded
            except Fault as fault:
                if fault.code not in _RETRIED:
                    self._log.warning("reports not recorded", error=fault.message)
                    return None
            finally:
                self.reporting.clear()
            await asyncio.sleep(_RETRY_S)

    async def _execute(self, commands: list[Command]) -> set[Attempt]:
        """Attempts whose end was recorded. One whose end is refused has no machine any more: it is lost."""
        reply = await self._replica.execute(commands)
        recorded: set[Attempt] = set()
        lost: list[Command] = []
        for command, answer in zip(commands, reply.commands, strict=True):
            kind = command.WhichOneof("kind") or ""
            if kind not in _ENDS:
                continue
            body = getattr(command, kind)
            attempt = (body.id, body.fence)
            if answer.accepted:
                recorded.add(attempt)
                continue
            reason = f"{answer.code}: {answer.message}"
            self._log.warning("report refused", command=kind, task=body.id, reason=reason)
            task = self._replica.state.tasks.get(body.id)
            if kind not in _HARMLESS and task is not None and holds(task, body.fence):
                cause = f"Its machine's report was refused ({answer.message})"
                lost.append(Command(task_lost=TaskLost(id=body.id, fence=body.fence, reason=cause)))
        if lost:
            await self._replica.execute(lost)
        return recorded

    def _commands(self, batches: list[_Batch]) -> list[Command]:
        """What still says something new, each once."""
        commands: list[Command] = []
        told: dict[str, set[Attempt]] = {}
        reports = [(batch.session.node_id, report) for batch in batches for report in batch.reports]
        latest = _latest_places(reports)
        for at, (node_id, report) in enumerate(reports):
            task = standing(self._replica.state, node_id, report)
            if task is None:
                continue
            kind = report.WhichOneof("kind")
            attempt = (task.id, task.fence)
            if kind == "ready" and latest[node_id, attempt] != at:
                continue
            said = self.reporting if kind in FINAL else told.setdefault(kind or "", set())
            known = kind == "started" and task.state == _RUNNING and not task.lost_at_us
            if attempt not in said and not known:
                said.add(attempt)
                commands += self._translator.commands(task, report)
        return commands

    def _parts(self, commands: list[Command]) -> list[list[Command]]:
        """Split where an entry would grow over its bound."""
        parts: list[list[Command]] = []
        size = 0
        for command in commands:
            size += command.ByteSize()
            full = not parts or len(parts[-1]) >= self._settings.commands_per_entry
            if full or size > self._settings.bytes_per_entry:
                parts.append([])
                size = command.ByteSize()
            parts[-1].append(command)
        return parts

    def _ack(self, batch: _Batch, recorded: set[Attempt]) -> LeaderMessage:
        """Verdicts for what was refused, read from applied state; none means recorded."""
        ack = ReportsAck(number=batch.number)
        state = self._replica.state
        refused: dict[Attempt, VerdictKind.ValueType] = {}
        for report in batch.reports:
            task_id, fence = attempt_of(report)
            if (task_id, fence) in recorded:
                continue
            stands = standing(state, batch.session.node_id, report) is not None
            if report.WhichOneof("kind") not in FINAL:
                if not stands:
                    refused[task_id, fence] = VerdictKind.VERDICT_KIND_KILL
            elif not stands:
                refused[task_id, fence] = VerdictKind.VERDICT_KIND_RECORDED
            elif report.HasField("recalled"):
                refused[task_id, fence] = VerdictKind.VERDICT_KIND_KEEP
        for (task_id, fence), kind in refused.items():
            ack.verdicts.append(Verdict(task=task_id, fence=fence, kind=kind))
        return LeaderMessage(reports_ack=ack)


def attempt_of(report: Report) -> Attempt:
    """Task id and fence of a report of any kind."""
    inner = getattr(report, report.WhichOneof("kind") or "started")
    return inner.task, inner.fence


def _latest_places(reports: Sequence[tuple[str, Report]]) -> dict[tuple[str, Attempt], int]:
    """Which report of an attempt says last where its service is: a daemon that began again repeats all of them."""
    return {
        (node_id, attempt_of(report)): at
        for at, (node_id, report) in enumerate(reports)
        if report.HasField("ready")
    }


def standing(state: ClusterState, node_id: str, report: Report) -> Task | None:
    """The task that a report of `node_id` speaks of, if the report's fence is the one that holds."""
    task_id, fence = attempt_of(report)
    task = state.tasks.get(task_id)
    if task is None or not holds(task, fence) or task.node != node_id:
        return None
    return task
