"""From applied changes to messages: what a node is given, and what it is told to end."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1.types_pb2 import Cause, Task
from node.core.model import ENDED, ON_NODE, Change, Table
from node.env import Clock
from node.leader.leases import Leases
from node.leader.reports import Reports
from node.leader.roster import Roster
from node.leader.session import stop_if_asked
from node.leader.times import Times


class Dispatch:
    """Acts on every applied change; a node without a session gets the same from its next Hello."""

    def __init__(self, clock: Clock, times: Times, roster: Roster, leases: Leases, reports: Reports) -> None:
        self._clock = clock
        self._times = times
        self._roster = roster
        self._leases = leases
        self._reports = reports

    def observe(self, changes: Sequence[Change]) -> None:
        ended: dict[str, int] = {}  # by node
        for table, _, before, after in changes:
            if table is not Table.TASKS:
                continue
            old = before if isinstance(before, Task) else None
            new = after if isinstance(after, Task) else None
            held = old is not None and old.state in ON_NODE
            holds = new is not None and new.state in ON_NODE
            same = held and holds and old is not None and new is not None and old.fence == new.fence
            if held and not same and old is not None:
                self._left(old, new, ended)
            if holds and not same and new is not None:
                self._given(new)
            if same and old is not None and new is not None:
                self._stayed(old, new)
        for node_id, count in ended.items():
            self._roster.nodes[node_id].pace.ended(count, self._clock.boot_us())

    def _given(self, task: Task) -> None:
        self._leases.grant(task)
        session = self._roster.session(task.node)
        if session is not None:
            session.assign(task, self._times.lease_ms)
            stop_if_asked(session, task)

    def _stayed(self, old: Task, new: Task) -> None:
        if old.lost_at_us and not new.lost_at_us:
            self._leases.grant(new)
        session = self._roster.session(new.node)
        asked = (new.cancel_requested, new.migrate_requested) != (old.cancel_requested, old.migrate_requested)
        if session is not None and asked:
            stop_if_asked(session, new)

    def _left(self, old: Task, new: Task | None, ended: dict[str, int]) -> None:
        known = self._roster.nodes.get(old.node)
        if known is None:
            return
        if new is None or new.state in ENDED or new.attempt != old.attempt:
            ended[old.node] = ended.get(old.node, 0) + 1
        if known.session is None:
            return
        attempt = (old.id, old.fence)
        known.session.recalled.discard(attempt)
        if attempt not in self._reports.reporting:
            # Ended without its machine's word: whatever still runs there runs under a burnt fence.
            known.session.stop(old, Cause.CAUSE_CANCEL)
