"""Deliberate bugs: where each is sought, how it shows, and the seeds that find them, kept true by `--find-bugs`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from tests.sim import core_bugs, daemon_bugs, snapshot_bugs
from tests.sim.daemon_scenario import run_seed
from tests.sim.engine_scenario import mode_of
from tests.sim.runner import BUGS, run_one

FIRST_SEED = 100
"""Of whole daemons; where bugs above the log are sought from on."""
SEEDS_AT_MOST = {"engine": 30, "daemons": 60}
_DURATION_S = 25.0
_SEEDS = Path(__file__).with_name("found_bugs.json")
_README = Path(__file__).with_name("README.md")


class Sought(NamedTuple):
    where: str
    """What a run of the engine must mostly be about; empty for whole daemons."""
    broken: str
    """How it shows, where it could be mistaken for something else."""

    @property
    def kind(self) -> str:
        return "engine" if self.where else "daemons"


_ELECTED_WRONGLY = "two leaders in term|lacks committed entry|voted for|by the votes of"
ENGINE = {
    "forget_vote": Sought("ambushed votes", _ELECTED_WRONGLY),
    "vote_before_sync": Sought("ambushed votes", _ELECTED_WRONGLY),
    "count_doubled_votes": Sought("ambushed votes", _ELECTED_WRONGLY),
    "count_stale_votes": Sought("ambushed votes", _ELECTED_WRONGLY),
    "vote_for_short_logs": Sought("short reigns", ""),
    "acknowledge_before_sync": Sought("blackouts", ""),
    "acknowledge_before_commit": Sought("short reigns", ""),
    "commit_older_term_by_count": Sought("short reigns", ""),
    "append_without_check": Sought("short reigns", ""),
    "keep_conflicting_suffix": Sought("short reigns", ""),
    "majority_of_half": Sought("ambushed votes", _ELECTED_WRONGLY),
    "append_forwards_again": Sought("faults", "was committed at"),
    "confirm_without_asking": Sought("deaf leaders", "confirmed a read|was told to read"),
    "snapshot_before_sync": Sought("blackouts", ""),
    "drop_segments_too_early": Sought("faults", ""),
    "keep_log_behind_installed": Sought("faults", ""),
    "match_before_installed": Sought("faults", ""),
    "trim_ahead_of_snapshot": Sought("short reigns", ""),
    "count_learners": Sought("deaf leaders", ""),
    "count_the_removed": Sought("ambushed votes", ""),
    "change_without_waiting": Sought("ambushed votes", ""),
    "forget_cut_memberships": Sought("short reigns", ""),
    "keep_the_first_membership": Sought("deaf leaders", ""),
    "read_before_own_entry": Sought("faults", "was told to read"),
    "read_what_is_known_here": Sought("ambushed votes", "was told to read"),
    "share_questions_under_way": Sought("faults", "was told to read"),
}
DAEMONS = {
    name: Sought("", broken)
    for name, broken in {
        "no_fence_check": r"under fence .* was accepted",
        "replay_what_is_saved": r"differ at index",
        "answer_requests_anew": r"was answered in two ways",
        "requeue_before_the_lease_ends": r"at once",
        "renew_without_a_quorum": r"voters had spoken to it since",
        "accept_without_a_ledger": r"was started 2 times",
        "forget_where_it_ran_before": r"no line says so",
        "resume_watches_at_the_end": r"a watch(er)? ",
        "release_at_the_first_end": r"left pending",
        "skip_without_cascade": r"not idle",
        "take_stale_verdicts": r"got a verdict of index .* changed since",
        "live_again_in_the_same_run": r"lives again in its run",
        "fail_slowly": r"is to fail fast, goes on",
        "repeat_steps": r"a step of .* was accepted",
        "undo_what_has_begun": r"was undone after it had begun",
        "canary_goes_on": r"after one had failed the same way",
        "forget_ends_of_operations": "forgot ends|never ended",
        "forget_to_cordon": r"while drain .* lives",
        "count_what_was_moved": r"from attempt 0 to 1",
        "believe_every_blame": r"was excused more often",
        "tell_of_every_restart": r"begin again as .* which ended",
        "cancel_beats_completion": r"completed, and is in state",
        "share_locks": r"is held by",
        "forget_members_of_live_workflows": r"differ at index|not idle",
        "load_no_members": r"does not lead to the state",
        "show_the_past_as_it_is": r"is shown as",
        "begin_with_the_former_rows": r"were applied here",
        "claim_more_than_was_copied": r"were applied here",
        "copy_half_of_it": r"not what their digest says",
        "leave_watchers_behind": r"a watcher ended with another row",
    }.items()
}
SOUGHT = {**ENGINE, **DAEMONS}
ABOVE_THE_LOG = {**daemon_bugs.BUGS, **core_bugs.BUGS, **snapshot_bugs.BUGS}


def recorded() -> dict[str, int]:
    """The seed by which each bug was found last."""
    found: dict[str, int] = json.loads(_SEEDS.read_text())
    return found


def finds(bug: str, seed: int) -> bool:
    """Whether a run of that seed shows the bug, and not only something else."""
    sought = SOUGHT[bug]
    return any(re.search(sought.broken, text) for text in _violations(bug, seed))


def seek(bug: str, first: int | None) -> int | None:
    """A seed that finds it: the `first` one, else one of those that come in turn; None when none of these does."""
    if first is not None and finds(bug, first):
        return first
    turn = (seed for seed in islice(_turn(bug), SEEDS_AT_MOST[SOUGHT[bug].kind]) if seed != first)
    return next((seed for seed in turn if finds(bug, seed)), None)


def find_bugs(jobs: int, tell: Callable[[str], None]) -> bool:
    """Record a seed for every bug whose recorded one does not find it any more. Whether all are found."""
    seeds, all_found = recorded(), True
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        seeking = {bug: pool.submit(seek, bug, seeds.get(bug)) for bug in SOUGHT}
        for bug, sought in seeking.items():
            seed = sought.result()
            if seed is None:
                all_found = False
                tell(f"{bug}: not found in {SEEDS_AT_MOST[SOUGHT[bug].kind]} seeds")
            elif seed != seeds.get(bug):
                tell(f"{bug}: {seed}")
            if seed is not None:
                seeds[bug] = seed
                _SEEDS.write_text(json.dumps(seeds, indent=2, sort_keys=True) + "\n")
                _README.write_text(with_counts(_README.read_text(), seeds))
    return all_found


def with_counts(text: str, seeds: dict[str, int]) -> str:
    """The README whose table says how many seeds from FIRST_SEED on it takes to come to the recorded one."""
    for bug in DAEMONS:
        if bug in seeds:
            tries = seeds[bug] - FIRST_SEED + 1
            text = re.sub(rf"(\n\| `{bug}` \|.*\|) \d+ \|", rf"\1 {tries} |", text)
    return text


def _turn(bug: str) -> Iterator[int]:
    where = SOUGHT[bug].where
    return (seed for seed in count() if mode_of(seed) == where) if where else count(FIRST_SEED)


def _violations(bug: str, seed: int) -> list[str]:
    if SOUGHT[bug].where:
        return run_one("engine", seed, bug).violations
    try:
        with BUGS[bug]():
            return run_seed(seed, duration_s=_DURATION_S).violations
    except Exception as error:
        return [repr(error)]
