"""The alarm of a leader whose own clock is not followed: it jumped ahead of what most voters' clocks say.

Level-triggered: the leader's row tells whether the alarm is raised. One that a later leader finds, whose clock is
followed, or is that of another machine, stays with that machine until it leads again or an operator settles it.
"""

from __future__ import annotations

import asyncio

import structlog

from cortex.v1.log_pb2 import Command, NodeAlarm
from node.core.faults import Fault
from node.leader.port import Replica, Settings

_PASS_S = 5.0
_BEGIN = "Its clock"


class ClockAlarm:
    """A duty: run() runs while this daemon leads."""

    def __init__(self, replica: Replica, settings: Settings) -> None:
        self._replica = replica
        self._node = settings.node_id
        self._log = structlog.get_logger(node=settings.node_id)

    async def run(self) -> None:
        """Raises the alarm, and ends it. Runs until cancelled."""
        while True:
            await self._pass()
            await asyncio.sleep(_PASS_S)

    async def _pass(self) -> None:
        node = self._replica.state.nodes.get(self._node)
        ahead_us = self._replica.clock_ahead_us
        if node is None or (node.alarm and not node.alarm.startswith(_BEGIN)):
            return
        if bool(ahead_us) == bool(node.alarm):
            return
        reason = ""
        if ahead_us:
            seconds = round(ahead_us / 1e6)
            reason = (
                f"{_BEGIN} is {seconds} s ahead of the other voters', and is not followed: set it, best by NTP."
            )
        try:
            await self._replica.execute([Command(node_alarm=NodeAlarm(id=self._node, reason=reason))])
        except Fault as fault:
            self._log.warning("clock alarm not recorded", error=fault.message)
