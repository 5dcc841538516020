"""Alarms about commands that cannot be killed: raised on a worker's word, over when their tasks have left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from cortex.v1.log_pb2 import Command, NodeAlarm
from cortex.v1.types_pb2 import Node, Task
from node.core.faults import Fault
from node.core.model import Change, Table
from node.leader.port import Replica, Settings


class Alarms:
    """A duty of the leader: ends what is over. Level-triggered, the node's row names the tasks."""

    def __init__(self, replica: Replica, settings: Settings) -> None:
        self._replica = replica
        self._retry_s = settings.retry_ms / 1000
        self._wake = asyncio.Event()
        self._log = structlog.get_logger(node=settings.node_id)
        self._nodes = _alarmed(replica)

    def observe(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.table is Table.NODES:
                self._nodes = _alarmed(self._replica)
                self._wake.set()
            elif self._nodes and isinstance(change.old, Task) and change.old.node in self._nodes:
                self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            over = [node.id for node in self._named() if self._is_over(node)]
            if over:
                await self._end(over)

    def _named(self) -> list[Node]:
        nodes = self._replica.state.nodes
        return [nodes[node_id] for node_id in sorted(self._nodes & nodes.keys())]

    def _is_over(self, node: Node) -> bool:
        there = self._replica.state.by_node.get(node.id, set())
        return bool(node.alarm_tasks) and there.isdisjoint(node.alarm_tasks)

    async def _end(self, node_ids: Sequence[str]) -> None:
        try:
            await self._replica.execute([Command(node_alarm=NodeAlarm(id=node_id)) for node_id in node_ids])
        except Fault as fault:
            self._log.warning("end of an alarm not recorded", error=fault.message)
            await asyncio.sleep(self._retry_s)
            self._wake.set()


def _alarmed(replica: Replica) -> set[str]:
    return {node.id for node in replica.state.nodes.values() if node.alarm_tasks}
