"""Heartbeats to the workers, and nodes that were not heard of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from cortex.v1.log_pb2 import Command, NodeJoin, NodeLeave
from cortex.v1.types_pb2 import NodeState
from cortex.v1.worker_pb2 import Heartbeat, LeaderMessage
from node.core.faults import Fault
from node.core.state import ClusterState
from node.env import Clock
from node.leader.port import Replica, Settings
from node.leader.roster import Known, Roster
from node.leader.times import Times


class Health:
    """A new leader waits one full lease before it calls anybody offline: workers may still look for it."""

    def __init__(
        self, clock: Clock, replica: Replica, settings: Settings, roster: Roster, changed: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._replica = replica
        self._settings = settings
        self._times = Times(replica, settings)
        self._roster = roster
        self._changed = changed
        self._log = structlog.get_logger(node=settings.node_id)
        self._begun_us = clock.boot_us()

    def begin(self) -> None:
        for node in self._replica.state.nodes.values():
            if node.online:
                self._roster.known(node.id, self._begun_us)

    async def watch(self) -> None:
        """Beat, and judge who is silent. Runs until cancelled."""
        beat_us = self._begun_us
        while True:
            now_us = self._clock.boot_us()
            if now_us >= beat_us:
                beat_us = now_us + self._times.heartbeat_ms * 1000
                beat = LeaderMessage(heartbeat=Heartbeat(boot_us=now_us))
                for session in self._roster.sessions():
                    session.push(beat)
            commands = self._judge(now_us)
            failed = bool(commands) and not await self._execute(commands)
            next_us = min(beat_us, self._next_us(now_us))
            if failed:
                next_us = max(next_us, now_us + self._settings.retry_ms * 1000)
            await asyncio.sleep(max(0.0, (next_us - self._clock.boot_us()) / 1e6))

    def _judge(self, now_us: int) -> list[Command]:
        commands: list[Command] = []
        state = self._replica.state
        for node_id, known in self._roster.nodes.items():
            row = state.nodes.get(node_id)
            silent_us = now_us - known.heard_us
            if silent_us >= self._times.suspect_ms * 1000 and not known.suspected:
                known.suspected = True
                self._log.warning("node suspect", worker=node_id, silent_s=round(silent_us / 1e6, 1))
                self._changed()
            if now_us >= self._offline_us(known):
                if known.session is not None:
                    known.session.closed.set()
                if row is not None and row.online:
                    reason = f"Nothing was heard of it for {silent_us / 1e6:.0f} s."
                    commands.append(Command(node_leave=NodeLeave(id=node_id, reason=reason)))
            elif known.session is None:
                continue
            elif row is not None and row.state == NodeState.NODE_STATE_REMOVED:
                known.session.closed.set()
            elif row is None or not row.online:
                commands.append(Command(node_join=NodeJoin(node=known.session.node)))
        self._drop_gone(state, now_us)
        return commands

    def _drop_gone(self, state: ClusterState, now_us: int) -> None:
        for node_id in [
            node_id
            for node_id, known in self._roster.nodes.items()
            if known.session is None and node_id not in state.nodes and now_us >= self._offline_us(known)
        ]:
            del self._roster.nodes[node_id]

    def _next_us(self, now_us: int) -> int:
        """When the next node becomes suspect or offline, if it stays silent."""
        ends = [
            self._offline_us(known)
            if known.suspected
            else min(known.heard_us + self._times.suspect_ms * 1000, self._offline_us(known))
            for known in self._roster.nodes.values()
        ]
        return min((end for end in ends if end > now_us), default=now_us + self._times.offline_ms * 1000)

    def _offline_us(self, known: Known) -> int:
        first_us = self._begun_us + self._times.longest_lease_ms * 1000
        return max(known.heard_us + self._times.offline_ms * 1000, first_us)

    async def _execute(self, commands: list[Command]) -> bool:
        try:
            reply = await self._replica.execute(commands)
        except Fault as fault:
            self._log.warning("membership not recorded", error=fault.message)
            return False
        return all(one.accepted for one in reply.commands)
