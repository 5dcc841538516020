"""The attempts that this machine answers for, from acceptance to the last verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from cortex.v1 import worker_pb2 as w
from cortex.v1.types_pb2 import OnLost, TaskType, TaskUse
from node.worker.ledger import Contents, is_final, key_of
from node.worker.port import NO_LEASE, AttemptKey, Lease, StopOrder

KILL_TIMEOUT_MS = 5_000
# Looked up once: an enum's names are found by a call.
_HOLD, _WAIT = OnLost.ON_LOST_HOLD, OnLost.ON_LOST_WAIT


class State(StrEnum):
    ACCEPTING = "accepting"  # not durable yet
    WAITING = "waiting"
    RUNNING = "running"
    REPORTED = "reported"  # its end, loss or return is in the outbox


@dataclass(slots=True)
class Attempt:
    """An assignment without a final verdict."""

    assignment: w.Assignment
    key: AttemptKey
    boot_id: str  # of its acceptance
    state: State
    lease_end_us: int = 0  # boot clock; NO_LEASE = never, 0 = none granted yet
    start_before_us: int = NO_LEASE  # boot clock; NO_LEASE = no limit beside the lease
    start_reported: bool = False
    outcome: w.AttemptState.ValueType = w.ATTEMPT_STATE_ENDED  # what its last report says
    at_supervisor: bool = False  # it may hold the attempt or its result
    recalled: bool = False
    stop: w.StopItem | None = None

    @property
    def kind(self) -> int:
        """The type of its task, as cortex.v1.TaskType."""
        return self.assignment.spec.type or TaskType.TASK_TYPE_SHELL

    @property
    def kill_timeout_us(self) -> int:
        """From TERM to KILL."""
        stop_ms = self.stop.kill_timeout_ms if self.stop is not None else 0
        return (stop_ms or self.assignment.spec.kill_timeout_ms or KILL_TIMEOUT_MS) * 1000

    def stop_order(self) -> StopOrder:
        """For the supervisor; only when `stop` is set."""
        assert self.stop is not None
        return StopOrder(self.key, self.stop.cause, self.kill_timeout_us)

    @property
    def _is_endless(self) -> bool:
        return self.assignment.lease_ms == 0 or self.assignment.spec.on_lost == _HOLD

    @property
    def granted(self) -> Lease:
        """What the supervisor is to go by; only once `lease_end_us` is not 0."""
        return Lease(self.lease_end_us, self.start_before_us)

    def lease(self, from_us: int | None) -> None:
        """Grant the assignment's own lease, counted from `from_us` on the boot clock; None: wait for a renewal."""
        if from_us is not None:
            self.renew(from_us, self.assignment.lease_ms)

    def renew(self, sent_us: int, lease_ms: int) -> bool:
        """Whether a renewal that was sent at `sent_us` changes what its supervisor may do."""
        if self.state == State.REPORTED:
            return False
        if self._is_endless:
            return self._renew_endless(sent_us)
        spec = self.assignment.spec
        if spec.on_lost == _WAIT:
            lease_ms = self.assignment.lease_ms
        # As the leader counts it: a lease that was lowered since leaves time to end the command in order.
        lease_ms = max(lease_ms, 3 * spec.kill_timeout_ms)
        self.lease_end_us = max(self.lease_end_us, sent_us + lease_ms * 1000)
        return True

    def _renew_endless(self, sent_us: int) -> bool:
        """It runs without a lease, but does not start long after the cluster was last heard of."""
        before = self.granted
        self.lease_end_us = NO_LEASE
        if self.assignment.start_before_ms:
            self.start_before_us = max(self.start_before_us, sent_us + self.assignment.start_before_ms * 1000)
        return before != self.granted and (self.state != State.RUNNING or before.end_us == 0)


class Attempts:
    """A table by key. `version` changes with the set of fences that a renewal names."""

    def __init__(self) -> None:
        self._by_key: dict[AttemptKey, Attempt] = {}
        self._live = 0
        self._running = 0
        self.version = 0
        self.use_of: Callable[[AttemptKey], TaskUse | None] = lambda _key: None
        """What was last measured of one that runs."""

    def __contains__(self, key: AttemptKey) -> bool:
        return key in self._by_key

    def __iter__(self) -> Iterator[Attempt]:
        return iter(list(self._by_key.values()))

    @property
    def live(self) -> int:
        """Those that have not ended."""
        return self._live

    @property
    def running(self) -> int:
        return self._running

    def get(self, key: AttemptKey) -> Attempt | None:
        return self._by_key.get(key)

    def load(self, contents: Contents) -> None:
        """Take up what the ledger holds; what has no report counts as waiting until the supervisor is asked."""
        for key, accepted in contents.accepted.items():
            attempt = Attempt(accepted.assignment, key, accepted.boot_id, State.WAITING)
            attempt.start_reported = accepted.start_known
            # Without a lease, hold too: its fence may have been burnt since, so a renewal comes before a start.
            self.add(attempt)
        for batch in contents.batches.values():
            for report in batch.reports:
                self._load_report(report)

    def add(self, attempt: Attempt) -> None:
        self._by_key[attempt.key] = attempt
        self._live += attempt.state != State.REPORTED
        self.version += 1

    def drop(self, key: AttemptKey) -> Attempt | None:
        """Forget one; None when it is unknown."""
        attempt = self._by_key.pop(key, None)
        if attempt is not None:
            self._live -= attempt.state != State.REPORTED
            self._running -= attempt.state == State.RUNNING
            self.version += 1
        return attempt

    def move(self, attempt: Attempt, state: State) -> None:
        self._running += (state == State.RUNNING) - (attempt.state == State.RUNNING)
        self._live += (state != State.REPORTED) - (attempt.state != State.REPORTED)
        if attempt.state == State.ACCEPTING:
            self.version += 1
        attempt.state = state

    def reported(self, attempt: Attempt, report: w.Report) -> None:
        """`report` is its last."""
        self.move(attempt, State.REPORTED)
        if report.HasField("lost"):
            attempt.outcome = w.ATTEMPT_STATE_LOST
        elif report.HasField("recalled"):
            attempt.outcome = w.ATTEMPT_STATE_ACCEPTED

    def inventory(self) -> list[w.InventoryItem]:
        """All that are durable."""
        states = {State.WAITING: w.ATTEMPT_STATE_ACCEPTED, State.RUNNING: w.ATTEMPT_STATE_RUNNING}
        return [
            w.InventoryItem(task=key.task, fence=key.fence, state=states.get(attempt.state, attempt.outcome))
            for key, attempt in self._by_key.items()
            if attempt.state != State.ACCEPTING
        ]

    def fences(self) -> frozenset[int]:
        """The fences whose leases a renewal names."""
        return frozenset(key.fence for key, attempt in self._by_key.items() if attempt.state != State.ACCEPTING)

    def wants_lease(self) -> bool:
        """Whether something waits only for its first renewal."""
        return any(
            attempt.lease_end_us == 0 and attempt.state in (State.ACCEPTING, State.WAITING)
            for attempt in self._by_key.values()
        )

    def _load_report(self, report: w.Report) -> None:
        key = key_of(report)
        attempt = self._by_key.get(key)
        if not is_final(report):
            if attempt is not None and report.HasField("started"):
                attempt.start_reported = True
            return
        if attempt is None:
            # What a direct executor ran has a durable end without a durable acceptance.
            attempt = Attempt(w.Assignment(task=key.task, fence=key.fence), key, "", State.REPORTED)
            self.add(attempt)
        self.reported(attempt, report)
