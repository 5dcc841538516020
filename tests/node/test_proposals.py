"""What a daemon does with a proposal that meets no leader."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from cortex.v1.log_pb2 import Entry, Reply
from node import proposals
from node.consensus.port import NotLeader
from node.env import Env
from node.proposals import Proposals
from tests.sim.loop import run


class Leaderless:
    """An engine that refuses until it has a leader."""

    def __init__(self) -> None:
        self.led = False
        self.accepted_at: float | None = None

    async def propose(self, _proposal: bytes) -> int:
        if not self.led:
            raise NotLeader("no leader is known")
        self.accepted_at = asyncio.get_running_loop().time()
        return 1


def test_it_is_repeated_as_soon_as_a_leader_is_found() -> None:
    """And not at the next of some regular attempts, which would be a part of every failover."""

    async def main() -> None:
        engine: Any = Leaderless()
        waiting = Proposals(Env.real(Path("/nonexistent")), lambda: engine, lambda: False)
        entry = Entry(client="c", request_id="r")
        call = asyncio.ensure_future(waiting.execute(entry, 10.0))
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(10.3 * proposals._RETRY_S)
        found_at, engine.led = clock(), True
        waiting.leader_found()
        await asyncio.sleep(0)
        assert engine.accepted_at == found_at
        waiting.answered(entry.proposal_id, Reply(index=1))
        assert (await call).index == 1

    run(main)
