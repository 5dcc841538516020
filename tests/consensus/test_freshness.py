"""What is shown says how old it may be: not how long nothing happened, but how long nothing was heard."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cortex.v1 import cluster_pb2 as pb
from node.consensus.freshness import Freshness
from tests.consensus.rigs import B, Ours
from tests.node.replica_kit import ANN, alone
from tests.sim.loop import run


def test_it_is_as_of_the_last_word_of_a_leader_of_which_all_is_applied() -> None:
    fresh = Freshness()
    assert fresh.as_of_us(5) is None
    fresh.heard(7, 5, 100)
    fresh.heard(8, 6, 200)
    assert fresh.as_of_us(6) is None
    assert fresh.as_of_us(7) == 100
    fresh.heard(8, 7, 300)
    assert fresh.as_of_us(7) == 100
    assert fresh.as_of_us(8) == 300
    fresh.heard(8, 8, 400)
    assert fresh.as_of_us(8) == 400


def test_a_follower_is_as_fresh_as_the_last_heartbeat_that_tells_it_nothing_new() -> None:
    async def scenario() -> None:
        rig = Ours()
        await rig.start()
        rig.append(B, 3, entries=[(2, ""), (3, "x")])
        rig.host.applied_to = (1, 0, b"")

        def age_us() -> int | None:
            as_of_us = rig.engine.freshness.as_of_us(rig.host.applied()[0])
            return None if as_of_us is None else rig.engine._env.clock.boot_us() - as_of_us

        rig.append(B, 3, (2, 3), commit=1)
        await rig.settle()
        assert age_us() is None, "of its own term this leader has committed nothing yet"
        rig.append(B, 3, (2, 3), commit=2)
        await asyncio.sleep(0.3)
        assert age_us() is None, "it was heard of, and is not applied"
        rig.host.applied_to = (2, 0, b"")
        assert age_us() == 300_000
        rig.append(B, 3, (2, 3), commit=2)
        await rig.settle()
        assert age_us() == 20_000
        await asyncio.sleep(1)
        assert age_us() == 1_020_000

    run(scenario)


async def test_replies_say_so(tmp_path: Path) -> None:
    async with alone(tmp_path) as it:
        assert (await it.nodes.status(pb.StatusRequest(), ANN)).age_us == 0
        it.replica.serving = False
        clock, applied = it.replica._env.clock, it.replica.state.index
        it.engine.freshness.heard(applied, applied, clock.boot_us() - 3_600_000_000)
        assert (await it.nodes.status(pb.StatusRequest(), ANN)).age_us >= 3_600_000_000
        it.engine.freshness.heard(applied, applied, clock.boot_us())
        assert (await it.nodes.status(pb.StatusRequest(), ANN)).age_us < 3_600_000_000
