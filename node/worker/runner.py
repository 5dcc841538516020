"""From an assignment to its last report: what is durable first, what runs, what is reported."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog

from cortex.v1 import worker_pb2 as w
from cortex.v1.types_pb2 import Cause
from node.env import Env
from node.worker import results
from node.worker.acceptance import Acceptances
from node.worker.attempts import Attempt, Attempts, State
from node.worker.drivers import Drivers
from node.worker.executors.port import CannotPrepare, Executor, split
from node.worker.ledger import Ledger, is_final, key_of
from node.worker.leftovers import Leftovers
from node.worker.outbox import Outbox
from node.worker.output import OutputStore
from node.worker.port import (
    AttemptKey,
    AttemptResult,
    Connected,
    Delayed,
    Disconnected,
    Finished,
    HeldAttempt,
    HeldState,
    Quiet,
    SpawnOrder,
    Started,
    SupervisorEvent,
    SupervisorPort,
    Unkillable,
)
from node.worker.updates import Updates

_STOP_S = 3.0


class Runner:
    """Answers to the session above and to the supervisor below; holds no stream and no process itself."""

    def __init__(
        self,
        env: Env,
        supervisor: SupervisorPort,
        output: OutputStore,
        executors: Iterable[Executor],
        slots: Mapping[int, int],
        output_limit_bytes: int,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._env = env
        self._updates = Updates(env.data / "context")
        self.drivers = Drivers(env.data / "exchange", env.clock)
        self._supervisor = supervisor
        self._output = output
        self._direct, self._processes = split(executors)
        self._slots = slots
        self._output_limit_bytes = output_limit_bytes
        self._on_failure = on_failure
        self._log = structlog.get_logger()
        self._boot_id = ""
        self.attempts = Attempts()
        self.attached: Sequence[w.Attached] = ()
        """What is reached through this node, as last measured."""
        self.ledger = Ledger(env)
        self._acceptances = Acceptances(self.ledger, self._accepted, on_failure)
        self.outbox = Outbox(
            self.ledger, self._send, self._batch_durable, lambda: self.attempts.live == 0, on_failure
        )
        self._leftovers = Leftovers(
            env, self._processes, self.attempts, self.drivers.order, self.outbox, on_failure
        )
        self.on_batch: Callable[[w.Reports], None] | None = None

    async def start(self) -> None:
        """Read the ledger and find the supervisor with what it holds. Raises Fault or OSError."""
        await self.ledger.open()
        self.attempts.load(self.ledger.contents)
        await self._supervisor.start(self._on_events)

    async def stop(self) -> None:
        """Make durable what is known, unless the disk is full; commands run on under their supervisor."""
        await self._supervisor.close()
        await self._leftovers.stop()
        try:
            async with asyncio.timeout(_STOP_S):
                await self._acceptances.ended()
                await self.outbox.close()
                await self.ledger.flush()
        except TimeoutError:
            self._log.warning("stopped without its last records", remedy="They are made up for at the next start.")
        except OSError as error:
            self._on_failure(error)
        await self.ledger.close()

    def accept(self, assignments: Iterable[w.Assignment], leased_from_us: int | None) -> None:
        """Take assignments; they start after they are durable.

        `leased_from_us` is when the last renewal was sent that the leader acknowledged before it sent these, on the
        boot clock: leases count from there. None: they wait for a renewal that names them.
        """
        accepted: list[Attempt] = []
        for assignment in assignments:
            key = AttemptKey(assignment.task, assignment.fence)
            if key in self.attempts:
                continue
            attempt = Attempt(assignment, key, self._boot_id, State.ACCEPTING)
            self.attempts.add(attempt)
            if attempt.kind in self._direct:
                ended = self._direct[attempt.kind].run(assignment, self._env.clock.wall_us())
                self._report(attempt, w.Report(ended=ended))
            elif attempt.kind in self._processes:
                attempt.lease(leased_from_us)
                accepted.append(attempt)
            else:
                why = "This node has no executor for the type of the task. Run it elsewhere."
                self._never_started(attempt, Cause.CAUSE_CANNOT_START, why)
        self._acceptances.take(accepted)

    def recall(self, recall: w.Recall) -> None:
        """Give back what has not started. Without task names every attempt of the fences is meant."""
        wanted = set(zip(recall.tasks, recall.fences, strict=False)) if recall.tasks else None
        fences = set(recall.fences)
        asked: list[AttemptKey] = []
        for attempt in self.attempts:
            key = attempt.key
            meant = key in wanted if wanted is not None else key.fence in fences
            if meant and attempt.state in (State.ACCEPTING, State.WAITING):
                attempt.recalled = True
                if attempt.state == State.WAITING:
                    asked.append(key)
        self._supervisor.recall(asked)

    def stop_attempts(self, items: Iterable[w.StopItem]) -> None:
        """End what runs by TERM, then KILL; what has not started never starts."""
        for item in items:
            attempt = self.attempts.get(AttemptKey(item.task, item.fence))
            if attempt is not None and attempt.state != State.REPORTED:
                attempt.stop = item
                if attempt.state != State.ACCEPTING:
                    self._supervisor.stop([attempt.stop_order()])

    def renewed(self, fences: frozenset[int], sent_us: int, lease_ms: int) -> None:
        """The leader acknowledged a renewal of `fences` that was sent at `sent_us` on the boot clock."""
        self._supervisor.renew(
            {
                attempt.key: attempt.granted
                for attempt in self.attempts
                if attempt.key.fence in fences and attempt.renew(sent_us, lease_ms)
            }
        )

    def judge(self, verdicts: Iterable[w.Verdict]) -> None:
        """Act on verdicts about the inventory. What is kept goes on; the outbox is sent again in any case."""
        self._drop(
            [AttemptKey(verdict.task, verdict.fence) for verdict in verdicts if verdict.kind != w.VERDICT_KIND_KEEP]
        )

    def acknowledged(self, number: int, verdicts: Sequence[w.Verdict]) -> None:
        """The leader has applied batch `number`, but for what the verdicts name."""
        batch = self.ledger.acknowledge(number)
        if batch is None:
            return
        kept = {
            AttemptKey(verdict.task, verdict.fence) for verdict in verdicts if verdict.kind == w.VERDICT_KIND_KEEP
        }
        final = [key_of(report) for report in batch.reports if is_final(report)]
        self._drop([key for key in final if key not in kept])
        self.judge(verdicts)
        for report in batch.reports:
            key = key_of(report)
            attempt = self.attempts.get(key)
            if report.HasField("recalled") and key in kept and attempt is not None:
                self._take_back(attempt)

    def _accepted(self, attempts: Sequence[Attempt]) -> None:
        self._admit([attempt for attempt in attempts if attempt.key in self.attempts])

    def _admit(self, attempts: Sequence[Attempt]) -> None:
        """These are durable: hand them to the supervisor, unless they were taken back meanwhile."""
        orders: list[SpawnOrder] = []
        for attempt in attempts:
            self.attempts.move(attempt, State.WAITING)
            if attempt.recalled or attempt.stop is not None:
                self._returned(attempt)
            elif (order := self._order(attempt)) is not None:
                self._output.begin(attempt.key, attempt.assignment, self._env.clock.wall_us())
                attempt.at_supervisor = True
                orders.append(order)
        self._supervisor.spawn(orders)

    def _order(self, attempt: Attempt) -> SpawnOrder | None:
        """None when it cannot start; that is reported."""
        assignment = attempt.assignment
        spec = assignment.spec
        executor = self._processes[attempt.kind]
        try:
            command = executor.prepare(assignment)
            env = dict(command.env)
            if command.order is not None:
                env |= self.drivers.prepare(attempt.key, command.order)
            limits = command.limits
            if assignment.workflow_id:
                path, limits = self._updates.prepare(attempt.key, limits)
                env[b"CORTEX_CONTEXT_UPDATE"] = os.fsencode(path)
        except CannotPrepare as refusal:
            self._never_started(attempt, refusal.cause, str(refusal), refusal.retry_after_ms)
            return None
        except OSError as error:
            why = f"There is no place for its files: {error.strerror}. Make room in the data folder."
            self._never_started(attempt, Cause.CAUSE_CANNOT_START, why)
            return None
        return SpawnOrder(
            key=attempt.key,
            kind=executor.type,
            priority=assignment.priority,
            created_us=assignment.created_at_us,
            argv=command.argv,
            env=env,
            cwd=command.cwd,
            output=OutputStore.name(attempt.key),
            timeout_us=spec.timeout_ms * 1000,
            kill_timeout_us=attempt.kill_timeout_us,
            lease_end_us=attempt.lease_end_us,
            success_codes=tuple(spec.success_codes),
            start_before_us=attempt.start_before_us,
            stall_us=spec.stall_after_ms * 1000,
            idle_us=spec.idle_timeout_ms * 1000,
            limits=limits,
        )

    def _never_started(self, attempt: Attempt, cause: Cause.ValueType, error: str, after_ms: int = 0) -> None:
        now_us = self._env.clock.wall_us()
        ended = results.unstarted(attempt.assignment, cause, error, now_us, after_ms)
        self._report(attempt, w.Report(ended=ended))

    def _on_events(self, events: Sequence[SupervisorEvent]) -> None:
        for event in events:
            if isinstance(event, Connected):
                self._reconcile(event)
            elif isinstance(event, Delayed):
                self._log.warning("commands wait", reason=event.reason)
            elif not isinstance(event, Disconnected):
                attempt = self.attempts.get(event.key)
                if attempt is None or attempt.state == State.REPORTED:
                    continue
                if isinstance(event, Started):
                    self._started(attempt, event.started_us)
                elif isinstance(event, Finished):
                    self._finished(attempt, event.result)
                elif isinstance(event, (Quiet, Unkillable)):
                    self.outbox.add(results.notice(event))
                elif event.never_started:
                    self._returned(attempt)

    def _reconcile(self, connected: Connected) -> None:
        """Bring what the supervisor holds and what was accepted together."""
        self._boot_id = connected.boot_id
        held = {item.key: item for item in connected.attempts}
        self._supervisor.configure(self._slots, self._output_limit_bytes)
        kept = {key_of(report) for batch in self.outbox.durable() for report in batch.reports if is_final(report)}
        self._supervisor.forget(
            [
                key
                for key in held
                if (attempt := self.attempts.get(key)) is None or (attempt.state == State.REPORTED and key in kept)
            ]
        )
        missing: list[Attempt] = []
        for attempt in self.attempts:
            self.drivers.hold(attempt.key, attempt.assignment)
            item = held.get(attempt.key)
            attempt.at_supervisor = item is not None
            if attempt.state in (State.ACCEPTING, State.REPORTED):
                continue
            if item is None:
                missing.append(attempt)
            else:
                self._adopt(attempt, item)
        self._respawn(missing)
        self._supervisor.renew({attempt.key: attempt.granted for attempt in self.attempts if attempt.lease_end_us})
        self._leftovers.adopt()

    def _adopt(self, attempt: Attempt, item: HeldAttempt) -> None:
        if item.state == HeldState.ENDED and item.result is not None:
            self._finished(attempt, item.result)
            return
        if item.state == HeldState.LOST:
            self._lost(attempt, "The supervisor of its node ended while it ran.")
            return
        self._output.begin(attempt.key, attempt.assignment, item.started_us)
        if item.state == HeldState.RUNNING:
            self._started(attempt, item.started_us)
        elif attempt.recalled:
            self._supervisor.recall([attempt.key])
        if attempt.stop is not None:
            self._supervisor.stop([attempt.stop_order()])

    def _respawn(self, attempts: Sequence[Attempt]) -> None:
        """The supervisor does not know these: never started in this boot, or lost."""
        waiting: list[Attempt] = []
        for attempt in attempts:
            if attempt.boot_id != self._boot_id:
                self._lost(attempt, "Its node was restarted while it ran or waited.")
            elif attempt.state == State.RUNNING or attempt.start_reported:
                self._lost(attempt, "The supervisor of its node lost track of it.")
            else:
                waiting.append(attempt)
        self._admit(waiting)

    def _started(self, attempt: Attempt, started_us: int) -> None:
        self.attempts.move(attempt, State.RUNNING)
        self.drivers.follow(attempt.key, attempt.assignment)
        if not attempt.start_reported:
            attempt.start_reported = True
            started = w.Started(task=attempt.key.task, fence=attempt.key.fence, started_at_us=started_us)
            self.outbox.add(w.Report(started=started))

    def _finished(self, attempt: Attempt, result: AttemptResult) -> None:
        in_order = partial(self.drivers.ended_in_order, attempt.key)
        if self._leftovers.holds_up(attempt, in_order, partial(self._finished, attempt, result)):
            return
        ended = results.ended(attempt.assignment, result, self.attempts.use_of(attempt.key))
        self.drivers.judge(attempt.key, ended)
        if attempt.assignment.workflow_id and not ended.cause:
            ended.result.context_update = self._updates.read(attempt.key)
        self._output.finish(attempt.key, attempt.assignment, ended.result)
        self._report(attempt, w.Report(ended=ended))

    def _lost(self, attempt: Attempt, reason: str) -> None:
        then = partial(self._lost, attempt, reason)
        if self._leftovers.holds_up(attempt, lambda: attempt.boot_id != self._boot_id, then):
            return
        self._output.finish(attempt.key, attempt.assignment, None)
        lost = w.Lost(task=attempt.key.task, fence=attempt.key.fence, reason=reason)
        self._report(attempt, w.Report(lost=lost))

    def _returned(self, attempt: Attempt) -> None:
        """It never started and never will: a cancelled one has ended, any other goes back to the queue."""
        key = attempt.key
        if attempt.stop is not None and attempt.stop.cause == Cause.CAUSE_CANCEL:
            self._never_started(attempt, Cause.CAUSE_CANCEL, "The task was cancelled before it started.")
        else:
            self._report(attempt, w.Report(recalled=w.Recalled(task=key.task, fence=key.fence)))

    def _report(self, attempt: Attempt, report: w.Report) -> None:
        """The last report of an attempt."""
        self._output.end(attempt.key)
        for told in self.drivers.leave(attempt.key):
            self.outbox.add(told)
        self.attempts.reported(attempt, report)
        self.outbox.add(report)

    def _take_back(self, attempt: Attempt) -> None:
        """Its return was refused: the assignment stands."""
        attempt.recalled = False
        attempt.stop = None
        attempt.outcome = w.ATTEMPT_STATE_ENDED
        self._admit([attempt])

    def _drop(self, keys: Sequence[AttemptKey]) -> None:
        """These have their final verdict; one that runs is ended and its result thrown away."""
        dropped = [attempt for key in keys if (attempt := self.attempts.drop(key)) is not None]
        for attempt in dropped:
            self._output.end(attempt.key)
        # Not before: until then the end may be read once more, after a restart.
        self._updates.forget(attempt.key for attempt in dropped if attempt.assignment.workflow_id)
        self._leftovers.dropped(dropped)
        self.drivers.forget(attempt.key for attempt in dropped)
        self._release(dropped)
        self.ledger.forget([attempt.key for attempt in dropped])

    def _release(self, attempts: Iterable[Attempt]) -> None:
        """The supervisor may forget these."""
        held = [attempt for attempt in attempts if attempt.at_supervisor]
        for attempt in held:
            attempt.at_supervisor = False
        self._supervisor.forget([attempt.key for attempt in held])

    def _send(self, batch: w.Reports) -> None:
        if self.on_batch is not None:
            self.on_batch(batch)

    def _batch_durable(self, batch: w.Reports) -> None:
        ended = [self.attempts.get(key_of(report)) for report in batch.reports if is_final(report)]
        self._release(attempt for attempt in ended if attempt is not None)
