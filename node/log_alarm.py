"""The alarm of a voter whose disk gives trouble: it is full, hangs, lets no rows be saved or no snapshot
be taken, or broke one.

Level-triggered: the node's row tells whether the alarm is raised, and the voter itself raises and ends it, whoever
leads. One of an earlier life is ended by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from cortex.v1.log_pb2 import Command, NodeAlarm, Reply
from node.consensus.port import Trouble, TroubleKind
from node.core.checks import REASON_LIMIT_CHARS
from node.core.faults import Fault
from node.core.state import ClusterState

_PASS_S = 5.0
# Cause, of which what stands before the colon tells it from others, and remedy.
_WORDS = {
    TroubleKind.DISK_FULL: (
        "Its disk is full: nothing can be written to the log",
        "Make room on the disk of its data folder; it goes on by itself then.",
    ),
    TroubleKind.DISK_HANGS: (
        "Its disk hangs: a write of the log does not end",
        "Look at the disk of its data folder; restart the machine, or replace the disk.",
    ),
    TroubleKind.ROWS_UNSAVED: (
        "Its rows cannot be saved: it applies some more, and does not lead",
        "Make room on the disk of its data folder, or replace the disk.",
    ),
    TroubleKind.LOG_GROWS: (
        "Its log grows: no snapshot can be taken",
        "Make room on the disk of its data folder (or in etcd), or replace the disk.",
    ),
    TroubleKind.SNAPSHOT_ROTTED: (
        "Its disk broke a snapshot: another one takes its place",
        "Look at the disk, or replace it; if it is sound, remove the file.",
    ),
}


class Replica(Protocol):
    """What it needs of this daemon's."""

    state: ClusterState

    async def execute(self, commands: Sequence[Command], /) -> Reply:
        """Raises Fault."""


class LogAlarm:
    """run() runs while this daemon is a voter. `trouble` says what is the matter; None: all is well."""

    def __init__(self, node_id: str, replica: Replica, trouble: Callable[[], Trouble | None]) -> None:
        self._node, self._replica, self._trouble = node_id, replica, trouble
        self._log = structlog.get_logger(node=node_id)

    async def run(self) -> None:
        """Raises the alarm, and ends it. Runs until cancelled."""
        while True:
            await asyncio.sleep(_PASS_S)
            await self._pass()

    async def _pass(self) -> None:
        node, trouble = self._replica.state.nodes.get(self._node), self._trouble()
        reason = alarm_of(trouble) if trouble is not None else ""
        if node is None or _kind(node.alarm) == _kind(reason) or (node.alarm and not _kind(node.alarm)):
            return
        try:
            await self._replica.execute([Command(node_alarm=NodeAlarm(id=self._node, reason=reason))])
        except Fault as fault:
            self._log.warning("alarm of the log not recorded", error=fault.message)


def alarm_of(trouble: Trouble) -> str:
    """Cause and remedy, as long as an alarm may be."""
    cause, remedy = _WORDS[trouble.kind]
    why = " ".join(trouble.why.split())[: REASON_LIMIT_CHARS - len(f"{cause} (). {remedy}")]
    return f"{cause} ({why}). {remedy}" if why else f"{cause}. {remedy}"


def _kind(alarm: str) -> str:
    """What tells an alarm of the log from others of the kind; empty where it is about something else."""
    begins = [cause.partition(":")[0] for cause, _ in _WORDS.values()]
    return next((begin for begin in begins if alarm.startswith(begin)), "")
