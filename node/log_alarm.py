"""The alarm of a voter whose log grows, because no snapshot can be taken, behind which it would be cut.

Level-triggered: the node's row tells whether the alarm is raised, and the voter itself raises and ends it, whoever
leads. One of an earlier life is ended by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from cortex.v1.log_pb2 import Command, NodeAlarm, Reply
from node.core.checks import REASON_LIMIT_CHARS
from node.core.faults import Fault
from node.core.state import ClusterState

_PASS_S = 5.0
_BEGIN = "Its log grows"
_REMEDY = "Make room on the disk of its data folder (or in etcd), or replace the disk."


class Replica(Protocol):
    """What it needs of this daemon's."""

    state: ClusterState

    async def execute(self, commands: Sequence[Command], /) -> Reply:
        """Raises Fault."""


class LogAlarm:
    """run() runs while this daemon is a voter. `trouble` says why no snapshot can be taken; empty: all is well."""

    def __init__(self, node_id: str, replica: Replica, trouble: Callable[[], str]) -> None:
        self._node, self._replica, self._trouble = node_id, replica, trouble
        self._log = structlog.get_logger(node=node_id)

    async def run(self) -> None:
        """Raises the alarm, and ends it. Runs until cancelled."""
        while True:
            await asyncio.sleep(_PASS_S)
            await self._pass()

    async def _pass(self) -> None:
        node, trouble = self._replica.state.nodes.get(self._node), self._trouble()
        if node is None or (node.alarm and not node.alarm.startswith(_BEGIN)) or bool(trouble) == bool(node.alarm):
            return
        reason = alarm_of(trouble) if trouble else ""
        try:
            await self._replica.execute([Command(node_alarm=NodeAlarm(id=self._node, reason=reason))])
        except Fault as fault:
            self._log.warning("alarm of the log not recorded", error=fault.message)


def alarm_of(trouble: str) -> str:
    """Cause and remedy, as long as an alarm may be."""
    room = REASON_LIMIT_CHARS - len(f"{_BEGIN}: no snapshot can be taken (). {_REMEDY}")
    return f"{_BEGIN}: no snapshot can be taken ({' '.join(trouble.split())[:room]}). {_REMEDY}"
