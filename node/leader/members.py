"""Who keeps the log: a learner votes as soon as it has caught up, and every node's row says what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from cortex.v1 import log_pb2, types_pb2
from cortex.v1.log_pb2 import Command, ConfigChange
from node.consensus.membership import Change, ChangeKind, ChangeRefused
from node.core import model
from node.core.faults import Fault
from node.env import Clock
from node.leader.pause import pause
from node.leader.port import Replica, Settings

_LOOK_US: Final = 100_000
_REST_US: Final = 60_000_000
"""Where nothing is to be done: whatever changes that says so."""
_RECORDS: Final = {
    types_pb2.NODE_ROLE_LEARNER: log_pb2.MEMBER_CHANGE_LEARNER,
    types_pb2.NODE_ROLE_VOTER: log_pb2.MEMBER_CHANGE_VOTER,
    types_pb2.NODE_ROLE_WORKER: log_pb2.MEMBER_CHANGE_REMOVED,
}


class Members:
    """A duty of the leader."""

    def __init__(self, clock: Clock, replica: Replica, settings: Settings) -> None:
        self._clock = clock
        self._replica = replica
        self._retry_us = settings.retry_ms * 1000
        self._wake = asyncio.Event()
        self._odd: dict[str, types_pb2.NodeRole.ValueType] = {}
        self._log = structlog.get_logger(node=settings.node_id)

    def observe(self, changes: Sequence[model.Change]) -> None:
        if any(change.table is model.Table.NODES for change in changes):
            self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        recorded_us = self._clock.boot_us()
        while True:
            self._wake.clear()
            learners = [peer.id for peer in self._replica.peers if not peer.voter]
            for learner in learners:
                await self._promote(learner)
            now_us = self._clock.boot_us()
            if now_us >= recorded_us + self._retry_us:
                recorded_us = now_us
                await self._record()
            pause_us = _LOOK_US if learners else self._retry_us if self._odd else _REST_US
            await pause(self._wake, pause_us)

    async def _promote(self, learner: str) -> None:
        try:
            await self._replica.change_members(Change(ChangeKind.PROMOTE, learner))
        except ChangeRefused:
            return  # it has not caught up, or does not answer
        except Fault as fault:
            self._log.warning("learner not promoted", learner=learner, error=fault.message)
        else:
            self._log.info("learner promoted", learner=learner)

    async def _record(self) -> None:
        """Correct rows that say something else than the membership in force, and have for a while.

        A change brings its own record; what it cannot reach is a node that joined later, or a restored state.
        """
        roles = {
            peer.id: types_pb2.NODE_ROLE_VOTER if peer.voter else types_pb2.NODE_ROLE_LEARNER
            for peer in self._replica.peers
        }
        before, self._odd = self._odd, {}
        for node_id, node in sorted(self._replica.state.nodes.items()):
            role = roles.get(node_id, types_pb2.NODE_ROLE_WORKER)
            if node.role != role and node.state != types_pb2.NODE_STATE_REMOVED:
                self._odd[node_id] = role
        commands = [
            Command(config_change=ConfigChange(id=node_id, change=_RECORDS[role]))
            for node_id, role in self._odd.items()
            if before.get(node_id) == role
        ]
        if not commands:
            return
        try:
            await self._replica.execute(commands)
        except Fault as fault:
            self._log.warning("roles not recorded", error=fault.message)
