"""The attempts that this machine answers for, from acceptance to the last verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from cortex.v1 import worker_pb2 as w
from cortex.v1.types_pb2 import OnLost
from node.worker.ledger import Contents, key_of
from node.worker.port import NO_LEASE, AttemptKey, StopOrder

KILL_TIMEOUT_MS = 5_000


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
    start_reported: bool = False
    outcome: w.AttemptState.ValueType = w.ATTEMPT_STATE_ENDED  # what its last report says
    at_supervisor: bool = False  # it may hold the attempt or its result
    recalled: bool = False
    stop: w.StopItem | None = None

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
        return self.assignment.lease_ms == 0 or self.assignment.spec.on_lost == OnLost.ON_LOST_HOLD

    def lease(self, from_us: int | None) -> None:
        """Grant the assignment's own lease, counted from `from_us` on the boot clock; None: wait for a renewal."""
        if self._is_endless:
            self.lease_end_us = NO_LEASE
        elif from_us is not None:
            self.lease_end_us = from_us + self.assignment.lease_ms * 1000

    def renew(self, sent_us: int, lease_ms: int) -> bool:
        """Whether a renewal that was sent at `sent_us` moves its lease's end."""
        if self.state == State.REPORTED or self.lease_end_us == NO_LEASE:
            return False
        if self._is_endless:
            self.lease_end_us = NO_LEASE
            return True
        if self.assignment.spec.on_lost == OnLost.ON_LOST_WAIT:
            lease_ms = self.assignment.lease_ms
        self.lease_end_us = max(self.lease_end_us, sent_us + lease_ms * 1000)
        return True


class Attempts:
    """A table by key. `version` changes with the set of fences that a renewal names."""

    def __init__(self) -> None:
        self._by_key: dict[AttemptKey, Attempt] = {}
        self._live = 0
        self._running = 0
        self.version = 0

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
        if report.HasField("started"):
            if attempt is not None:
                attempt.start_reported = True
            return
        if attempt is None:
            # What a direct executor ran has a durable end without a durable acceptance.
            attempt = Attempt(w.Assignment(task=key.task, fence=key.fence), key, "", State.REPORTED)
            self.add(attempt)
        self.reported(attempt, report)
