"""Leases by the leader's boot clock: what a renewal extends, and what has run out.

A renewal costs one record per session: it names fences, and each task's end is worked out only when the end that
was last known for it has come.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from cortex.v1.types_pb2 import Task
from cortex.v1.worker_pb2 import LeaderMessage, Renewal, RenewalAck
from node.core.faults import Fault
from node.core.model import ON_NODE
from node.env import Clock
from node.leader.pause import pause
from node.leader.port import Replica, Settings
from node.leader.session import Attempt, Session, lease_ms_of
from node.leader.times import Times

# Ends of attempts that are over which may wait for their time.
_SLACK = 100_000


# Renewals that may still matter, oldest first: when each came, and the lease that it was acknowledged with. Those
# before the last are longer ones, from before the lease was lowered.
Grants = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Renewed:
    """What a node's last confirmed renewal covers, and how those that it no longer names were last renewed."""

    grants: Grants = ()
    fences: frozenset[int] = frozenset()
    first_named: dict[int, int] = field(default_factory=dict)  # only while longer leases are in force
    released: dict[int, Grants] = field(default_factory=dict)
    orphans: dict[Attempt, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Waiting:
    number: int
    received_us: int
    fences: frozenset[int]


class Leases:
    """Begins with one fresh term for every lease; `lose` is called with those that ran out."""

    def __init__(
        self,
        clock: Clock,
        replica: Replica,
        settings: Settings,
        lose: Callable[[list[Task]], Awaitable[bool]],
    ) -> None:
        self._clock = clock
        self._replica = replica
        self._settings = settings
        self._times = Times(replica, settings)
        self._lose = lose
        self._nodes: dict[str, _Renewed] = {}
        self._ends: list[tuple[int, str, int]] = []
        self._ends_limit = _SLACK
        self._ends_changed = asyncio.Event()
        self._waiting: dict[Session, _Waiting] = {}
        self._renewal_came = asyncio.Event()

    def begin(self) -> None:
        # Another leader may have given out longer ones.
        longest_ms = self._times.longest_lease_ms
        for task in self._replica.state.tasks.values():
            if task.state in ON_NODE:
                self._grant(task, longest_ms)

    def grant(self, task: Task) -> None:
        """A lease from now on, for a new assignment."""
        self._grant(task, self._times.lease_ms)

    def _grant(self, task: Task, lease_ms: int) -> None:
        if len(self._ends) > self._ends_limit:
            self._compact()
        self._push(self._clock.boot_us() + self._term_us(task, lease_ms), task.id, task.fence)

    def joined(self, session: Session, hello_us: int, orphans: Iterable[Attempt]) -> None:
        """A session's Hello is its first renewal; `orphans` are attempts that the machine does not have."""
        node = self._nodes.setdefault(session.node_id, _Renewed())
        now_us = self._clock.boot_us()
        node.orphans = {attempt: node.orphans.get(attempt, now_us) for attempt in orphans}
        self._wait(session, 0, hello_us)

    def renew(self, session: Session, renewal: Renewal) -> None:
        """Take up a renewal; it is acknowledged after the next confirmation that begins after now."""
        if renewal.fences or (session.set_version is not None and renewal.set_version != session.set_version):
            session.fences = frozenset(renewal.fences)
        session.set_version = renewal.set_version
        self._wait(session, renewal.number, self._clock.boot_us())

    def forget(self, session: Session) -> None:
        self._waiting.pop(session, None)

    async def confirm_renewals(self) -> None:
        """Acknowledge renewals, all that wait by one confirmation. Runs until cancelled."""
        while True:
            await self._renewal_came.wait()
            self._renewal_came.clear()
            batch, self._waiting = self._waiting, {}
            try:
                await self._replica.confirm()
            except Fault:
                continue  # not acknowledged: the worker asks again, and this may not be the leader any more
            for session, waiting in batch.items():
                if not session.closed.is_set():
                    self._confirmed(session, waiting)

    async def end_leases(self) -> None:
        """Report what ran out as lost. Runs until cancelled."""
        while True:
            now_us = self._clock.boot_us()
            expired = self._expired(now_us)
            if expired and not await self._lose(expired):
                for task in expired:
                    self._push(now_us + self._settings.retry_ms * 1000, task.id, task.fence)
            self._ends_changed.clear()
            left_us = max(0, self._ends[0][0] - self._clock.boot_us()) if self._ends else None
            await pause(self._ends_changed, left_us)

    def _wait(self, session: Session, number: int, received_us: int) -> None:
        self._waiting[session] = _Waiting(number, received_us, session.fences)
        self._renewal_came.set()

    def _confirmed(self, session: Session, waiting: _Waiting) -> None:
        node = self._nodes.setdefault(session.node_id, _Renewed())
        lease_ms = self._times.lease_ms
        if waiting.fences is not node.fences and waiting.fences != node.fences:
            state = self._replica.state
            live = {state.tasks[task_id].fence for task_id in state.by_node.get(session.node_id, ())}
            self._note_new(node, waiting, lease_ms)
            node.released.update(dict.fromkeys(node.fences, node.grants))
            node.released = {
                fence: grants
                for fence, grants in node.released.items()
                if fence in live and fence not in waiting.fences
            }
        node.fences = waiting.fences
        node.grants = _with(node.grants, waiting.received_us, lease_ms)
        ack = RenewalAck(
            number=waiting.number,
            lease_ms=lease_ms,
            renew_ms=self._times.renew_ms,
            heartbeat_ms=self._times.heartbeat_ms,
        )
        session.push(LeaderMessage(renewal_ack=ack))

    def _note_new(self, node: _Renewed, waiting: _Waiting, lease_ms: int) -> None:
        """What is named for the first time was not covered by longer leases from before."""
        longer = any(given_ms > lease_ms for _, given_ms in node.grants)
        new = waiting.fences - node.fences - node.released.keys() if longer else frozenset()
        named = node.first_named | dict.fromkeys(new, waiting.received_us)
        node.first_named = {fence: at_us for fence, at_us in named.items() if fence in waiting.fences}

    def _expired(self, now_us: int) -> list[Task]:
        """Tasks whose lease and margin ran out; leases that were renewed meanwhile get their new end."""
        expired: list[Task] = []
        while self._ends and self._ends[0][0] <= now_us:
            _, task_id, fence = heapq.heappop(self._ends)
            task = self._replica.state.tasks.get(task_id)
            if task is None or task.state not in ON_NODE or task.fence != fence or task.lost_at_us:
                continue
            end_us = self._renewed_end_us(task)
            if end_us > now_us:
                heapq.heappush(self._ends, (end_us, task_id, fence))
            else:
                expired.append(task)
        return expired

    def _compact(self) -> None:
        """Drop the ends of attempts that are over, which long leases would keep for long."""
        tasks = self._replica.state.tasks
        self._ends = [
            item
            for item in self._ends
            if (task := tasks.get(item[1])) is not None and task.fence == item[2] and task.state in ON_NODE
        ]
        heapq.heapify(self._ends)
        self._ends_limit = 2 * len(self._ends) + _SLACK

    def _renewed_end_us(self, task: Task) -> int:
        node = self._nodes.get(task.node)
        if node is None:
            return 0
        orphaned_us = node.orphans.get((task.id, task.fence))
        if orphaned_us is not None:
            return orphaned_us + self._term_us(task, self._times.longest_lease_ms)
        grants = node.grants if task.fence in node.fences else node.released.get(task.fence, ())
        named_us = node.first_named.get(task.fence, 0)
        ends = (at_us + self._term_us(task, lease_ms) for at_us, lease_ms in grants if at_us >= named_us)
        return max(ends, default=0)

    def _push(self, end_us: int, task_id: str, fence: int) -> None:
        if not self._ends or end_us < self._ends[0][0]:
            self._ends_changed.set()
        heapq.heappush(self._ends, (end_us, task_id, fence))

    def _term_us(self, task: Task, lease_ms: int) -> int:
        return (lease_ms_of(task, lease_ms) + self._times.lease_margin_ms) * 1000


def _with(grants: Grants, at_us: int, lease_ms: int) -> Grants:
    """`grants` and one more; what it outlives is dropped."""
    at_us = max([at_us, *(before_us for before_us, _ in grants)])
    kept = [one for one in grants if one[0] + one[1] * 1000 > at_us + lease_ms * 1000]
    return (*kept, (at_us, lease_ms))
