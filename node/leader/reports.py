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
from typing import NamedTuple

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
# More than a command may have beside what its report has.
_COMMAND_BYTES = 512


class _Told(NamedTuple):
    """A report, with what is asked of it again and again."""

    kind: str
    attempt: Attempt
    report: Report


@dataclass(slots=True)
class _Batch:
    session: Session
    number: int
    reports: Sequence[_Told]
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
        reports = [_told(report) for report in message.reports]
        self._waiting.append(_Batch(session, number, reports, message.ByteSize()))
        self._waiting_count += count
        if self._waiting_count >= self._settings.commands_per_entry or self._makes_idle(session.node_id, reports):
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

    def _makes_idle(self, node_id: str, reports: Sequence[_Told]) -> bool:
        """Whether a node has a free slot once all that waits of it is recorded: then the entry is urgent."""
        state = self._replica.state
        row = state.nodes.get(node_id)
        if row is None:
            return True
        for kind, attempt, _ in reports:
            if kind in FINAL and (task := standing(state, node_id, attempt)) is not None:
                self._ending[node_id, task.spec.type] += 1
        return any(
            used(state, node_id, type_) - self._ending[node_id, type_] < count
            for type_, count in slots_of(row).items()
            if (node_id, type_) in self._ending
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
                for part in self._parts(commands, sum(batch.size_bytes for batch in batches)):
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
        reports = [(batch.session.node_id, *each) for batch in batches for each in batch.reports]
        # A daemon that began again repeats where its services are: the last word of each counts.
        latest = {
            (node_id, attempt): at for at, (node_id, kind, attempt, _) in enumerate(reports) if kind == "ready"
        }
        for at, (node_id, kind, attempt, report) in enumerate(reports):
            task = standing(self._replica.state, node_id, attempt)
            if task is None or (kind == "ready" and latest[node_id, attempt] != at):
                continue
            said = self.reporting if kind in FINAL else told.setdefault(kind, set())
            known = kind == "started" and task.state == _RUNNING and not task.lost_at_us
            if attempt not in said and not known:
                said.add(attempt)
                commands += self._translator.commands(task, report)
        return commands

    def _parts(self, commands: list[Command], reported_bytes: int) -> list[list[Command]]:
        """Split where an entry would grow over its bound."""
        # Beside its report a command has an id twice, a sentence and numbers: most need not be measured.
        most_bytes = reported_bytes + len(commands) * _COMMAND_BYTES
        if (
            commands
            and len(commands) <= self._settings.commands_per_entry
            and most_bytes <= self._settings.bytes_per_entry
        ):
            return [commands]
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
        for said, attempt, _ in batch.reports:
            if attempt in recorded:
                continue
            stands = standing(state, batch.session.node_id, attempt) is not None
            if said not in FINAL:
                if not stands:
                    refused[attempt] = VerdictKind.VERDICT_KIND_KILL
            elif not stands:
                refused[attempt] = VerdictKind.VERDICT_KIND_RECORDED
            elif said == "recalled":
                refused[attempt] = VerdictKind.VERDICT_KIND_KEEP
        for (task_id, fence), kind in refused.items():
            ack.verdicts.append(Verdict(task=task_id, fence=fence, kind=kind))
        return LeaderMessage(reports_ack=ack)


def _told(report: Report) -> _Told:
    kind = report.WhichOneof("kind") or "started"
    inner = getattr(report, kind)
    return _Told(kind, (inner.task, inner.fence), report)


def standing(state: ClusterState, node_id: str, attempt: Attempt) -> Task | None:
    """The task that a report of `node_id` speaks of, if the attempt that it names is the one that holds."""
    task_id, fence = attempt
    task = state.tasks.get(task_id)
    if task is None or not holds(task, fence) or task.node != node_id:
        return None
    return task
