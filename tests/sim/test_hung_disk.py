"""A daemon whose disk hangs: it may not begin anew beside a write that may still come; the cluster goes on."""

from __future__ import annotations

import asyncio

import pytest

from tests.sim.members_kit import Story, played


@pytest.mark.sim
@pytest.mark.parametrize("leads", [True, False])
def test_nothing_in_this_process_goes_on_from_its_journal(leads: bool) -> None:
    async def story(it: Story) -> None:
        await it.begin()
        leader = it.world.leader()
        host = next(one for one in it.world.voters if (one is leader) is leads)
        voter = host.daemon.voter if host.daemon is not None else None
        assert voter is not None
        host.machine.sync_s = (1e6, 1e6)
        await asyncio.sleep(2)
        await it.until(lambda: it.world.leader() not in (None, host))
        written = len(it.acknowledged)
        await it.until(lambda: len(it.acknowledged) > written + 5)
        # As when a snapshot came for it.
        voter.replica.on_installed()
        await it.until(lambda: it.world.counts["fatal"] > 0)
        assert host.daemon is not None
        assert host.daemon.voter is None
        (said,) = it.world.violations.found
        assert f"{host.id} stopped" in said
        it.world.violations.found.clear()
        host.kill()
        host.machine.sync_s = (0.0002, 0.0006)
        host.boot()
        await it.end(members=3)

    played(story, voters=3, standbys=0)
