"""The harness finds what it is there for: each deliberate bug within a bounded number of seeds."""

from __future__ import annotations

import re
from itertools import count, islice

import pytest

from tests.sim import bugs, log_bugs, member_bugs
from tests.sim.engine_scenario import mode_of
from tests.sim.runner import run_one

SEEDS_AT_MOST = 30
"""Of the kind of run that the bug is sought in."""
SOUGHT_IN = {
    "forget_vote": "ambushed votes",
    "vote_before_sync": "ambushed votes",
    "count_doubled_votes": "ambushed votes",
    "count_stale_votes": "ambushed votes",
    "vote_for_short_logs": "short reigns",
    "acknowledge_before_sync": "blackouts",
    "acknowledge_before_commit": "short reigns",
    "commit_older_term_by_count": "short reigns",
    "append_without_check": "short reigns",
    "keep_conflicting_suffix": "short reigns",
    "majority_of_half": "ambushed votes",
    "append_forwards_again": "faults",
    "confirm_without_asking": "deaf leaders",
    "snapshot_before_sync": "blackouts",
    "drop_segments_too_early": "faults",
    "keep_log_behind_installed": "faults",
    "match_before_installed": "faults",
    "trim_ahead_of_snapshot": "short reigns",
    "count_learners": "deaf leaders",
    "count_the_removed": "ambushed votes",
    "change_without_waiting": "ambushed votes",
    "forget_cut_memberships": "short reigns",
    "keep_the_first_membership": "deaf leaders",
    "read_before_own_entry": "faults",
    "read_what_is_known_here": "ambushed votes",
    "share_questions_under_way": "faults",
}
_ELECTED_WRONGLY = "two leaders in term|lacks committed entry|voted for|by the votes of"
BROKEN = {
    "forget_vote": _ELECTED_WRONGLY,
    "vote_before_sync": _ELECTED_WRONGLY,
    "count_doubled_votes": _ELECTED_WRONGLY,
    "count_stale_votes": _ELECTED_WRONGLY,
    "majority_of_half": _ELECTED_WRONGLY,
    "append_forwards_again": "was committed at",
    "confirm_without_asking": "confirmed a read|was told to read",
    "read_before_own_entry": "was told to read",
    "read_what_is_known_here": "was told to read",
    "share_questions_under_way": "was told to read",
}
"""How the bug must show, where it could be mistaken for another."""


def test_every_bug_is_sought() -> None:
    assert set(SOUGHT_IN) == {*bugs.BUGS, *log_bugs.BUGS, *member_bugs.BUGS}


@pytest.mark.parametrize("bug", SOUGHT_IN)
def test_the_bug_is_found(bug: str) -> None:
    seeds = islice((seed for seed in count() if mode_of(seed) == SOUGHT_IN[bug]), SEEDS_AT_MOST)
    for seed in seeds:
        found = run_one("engine", seed, bug).violations
        if found:
            assert re.search(BROKEN.get(bug, ""), found[0])
            return
    pytest.fail(f"{bug} was not found in {SEEDS_AT_MOST} seeds of '{SOUGHT_IN[bug]}'")
