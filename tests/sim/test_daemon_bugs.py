"""The whole-daemon simulation finds each deliberate bug above the log, and nothing without one."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from tests.sim import core_bugs, daemon_bugs, snapshot_bugs
from tests.sim.daemon_scenario import run_seed

BUGS = {**daemon_bugs.BUGS, **core_bugs.BUGS, **snapshot_bugs.BUGS}
FIRST_SEED = 100
"""Where each bug is sought from on, seed after seed, once the one that found it last does not any more."""
SEEDS_AT_MOST = 20
_DURATION_S = 25.0


class Found(NamedTuple):
    seed: int
    broken: str
    """How it shows."""


FOUND = {
    "no_fence_check": Found(102, r"under fence .* was accepted"),
    "replay_what_is_saved": Found(100, r"differ at index"),
    "answer_requests_anew": Found(100, r"was answered in two ways"),
    "requeue_before_the_lease_ends": Found(102, r"at once"),
    "renew_without_a_quorum": Found(100, r"voters had spoken to it since"),
    "accept_without_a_ledger": Found(110, r"was started 2 times"),
    "forget_where_it_ran_before": Found(100, r"no line says so"),
    "resume_watches_at_the_end": Found(106, r"a watch(er)? "),
    "release_at_the_first_end": Found(100, r"left pending"),
    "skip_without_cascade": Found(100, r"not idle"),
    "take_stale_verdicts": Found(112, r"got a verdict of index .* changed since"),
    "live_again_in_the_same_run": Found(100, r"lives again in its run"),
    "fail_slowly": Found(109, r"is to fail fast, goes on"),
    "repeat_steps": Found(101, r"a step of .* was accepted"),
    "undo_what_has_begun": Found(155, r"was undone after it had begun"),
    "canary_goes_on": Found(101, r"after one had failed the same way"),
    "forget_ends_of_operations": Found(100, "forgot ends|never ended"),
    "forget_to_cordon": Found(100, r"while drain .* lives"),
    "count_what_was_moved": Found(100, r"from attempt 0 to 1"),
    "believe_every_blame": Found(100, r"was excused more often"),
    "tell_of_every_restart": Found(100, r"begin again as .* which ended"),
    "cancel_beats_completion": Found(111, r"completed, and is in state"),
    "share_locks": Found(104, r"is held by"),
    "forget_members_of_live_workflows": Found(100, r"differ at index|not idle"),
    "load_no_members": Found(100, r"does not lead to the state"),
    "show_the_past_as_it_is": Found(100, r"is shown as"),
    "begin_with_the_former_rows": Found(100, r"were applied here"),
    "claim_more_than_was_copied": Found(103, r"were applied here"),
    "copy_half_of_it": Found(100, r"not what their digest says"),
    "leave_watchers_behind": Found(106, r"a watcher ended with another row"),
}


def test_every_bug_is_sought() -> None:
    assert set(FOUND) == set(BUGS)


@pytest.mark.sim
@pytest.mark.parametrize("bug", FOUND)
def test_the_bug_is_found(bug: str) -> None:
    first, broken = FOUND[bug]
    for seed in (first, *range(FIRST_SEED, FIRST_SEED + SEEDS_AT_MOST)):
        if any(re.search(broken, text) for text in violations(bug, seed)):
            return
    pytest.fail(f"{bug} was not found in {SEEDS_AT_MOST} seeds")


def violations(bug: str, seed: int) -> list[str]:
    try:
        with BUGS[bug]():
            return run_seed(seed, duration_s=_DURATION_S).violations
    except Exception as error:
        return [repr(error)]
