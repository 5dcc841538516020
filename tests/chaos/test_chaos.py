"""Real daemons on real networks under one fault after the other: what was acknowledged is there, and once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.ground import why_not
from tests.chaos.run import run

pytestmark = pytest.mark.e2e
FAULTS = 10


async def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    if said := why_not():
        pytest.skip(said)
    outcome = await run(tmp_path, seed=1, faults=FAULTS, every_s=4.0)
    assert outcome.acknowledged > 20
    print(outcome.line())
