"""The harness finds what it is there for: each deliberate bug, by the recorded seed or one of the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim import bugs, log_bugs, member_bugs
from tests.sim.sought import ABOVE_THE_LOG, DAEMONS, ENGINE, SEEDS_AT_MOST, SOUGHT, recorded, seek, with_counts


def test_every_bug_is_sought() -> None:
    assert set(ENGINE) == {*bugs.BUGS, *log_bugs.BUGS, *member_bugs.BUGS}
    assert set(DAEMONS) == set(ABOVE_THE_LOG)
    assert set(recorded()) == set(SOUGHT)


def test_the_table_says_what_is_recorded() -> None:
    text = Path(__file__).with_name("README.md").read_text()
    assert with_counts(text, recorded()) == text
    for bug in DAEMONS:
        assert f"\n| `{bug}` |" in text


@pytest.mark.parametrize("bug", ENGINE)
def test_the_bug_is_found(bug: str) -> None:
    assert seek(bug, recorded()[bug]) is not None, f"{bug} was not found in {SEEDS_AT_MOST['engine']} seeds"
