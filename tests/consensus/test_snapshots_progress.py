"""How far a peer is with the snapshot that it is sent, as the leader tells operators."""

from __future__ import annotations

import asyncio

from tests.consensus.proposal_kit import Cluster, cluster_test, engine_of
from tests.consensus.test_snapshots_cluster import SHORT, level, write


def test_a_leader_knows_how_much_of_a_snapshot_a_peer_has() -> None:
    async def check(cluster: Cluster) -> None:
        away = cluster.others[0]
        away.go_down(power_loss=True)
        await write(cluster, 200)
        await away.boot()
        seen: list[tuple[int, int]] = []
        for _ in range(40_000):
            leader = cluster.leader()
            if leader is not None:
                peers = {peer.id: peer for peer in engine_of(leader).peers}
                sent, length = peers[away.id].snapshot_sent_bytes, peers[away.id].snapshot_bytes
                if length:
                    seen.append((sent, length))
            if cluster.counts["snapshots installed"]:
                break
            await asyncio.sleep(0.001)
        assert seen
        assert all(0 <= sent <= length for sent, length in seen)
        await level(cluster, away)
        leader = cluster.leader()
        assert leader is not None
        assert all(peer.snapshot_bytes == 0 for peer in engine_of(leader).peers)

    cluster_test(check, settings=SHORT)
