"""Removed nodes are trimmed by the leader when ended tasks of that age would be."""

from __future__ import annotations

import asyncio

from cortex.v1.log_pb2 import Command, HistoryTrim, NodeJoin, NodeLeave, SettingsChange
from tests.node.leader_kit import Cluster, machine_node, virtual

HOUR_S = 3600
DAY_S = 24 * HOUR_S


def trims(cluster: Cluster) -> list[HistoryTrim]:
    commands = [command for entry in cluster.replica.entries for command in entry.commands]
    return [command.history_trim for command in commands if command.history_trim.nodes]


def test_a_removed_node_is_kept_as_long_as_ended_tasks() -> None:
    async def main() -> None:
        cluster = Cluster(heartbeat_ms=HOUR_S * 1000, offline_ms=HOUR_S * 1000).begin()
        kept = SettingsChange(name="ended_tasks_kept_s", value=str(4 * DAY_S))
        joins = [Command(node_join=NodeJoin(node=machine_node(name))) for name in ("n1", "n2", "n3")]
        leaves = [Command(node_leave=NodeLeave(id="n1", removed=True)), Command(node_leave=NodeLeave(id="n2"))]
        await cluster.replica.execute([Command(settings_change=kept), *joins, *leaves])
        await asyncio.sleep(4 * DAY_S - HOUR_S)
        assert not trims(cluster)
        assert sorted(cluster.replica.state.nodes) == ["n1", "n2", "n3"]
        await asyncio.sleep(DAY_S)
        assert [list(trim.nodes) for trim in trims(cluster)] == [["n1"]]
        assert sorted(cluster.replica.state.nodes) == ["n2", "n3"]
        await cluster.stop()

    virtual(main)
