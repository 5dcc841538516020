"""Runs seeds of every scenario kind, some of them twice, and sums up."""

from __future__ import annotations

import multiprocessing
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from tests.sim import (
    bugs,
    core_bugs,
    daemon_bugs,
    daemon_scenario,
    engine_scenario,
    log_bugs,
    member_bugs,
    snapshot_bugs,
)
from tests.sim.result import Result
from tests.sim.schedule import shrink

KINDS: dict[str, Callable[[int, bool, frozenset[int] | None], Result]] = {
    "engine": engine_scenario.run_seed,
    "daemons": daemon_scenario.run_seed,
}
MUST_REACH: dict[str, tuple[str, ...]] = {
    "engine": engine_scenario.MUST_REACH,
    "daemons": daemon_scenario.MUST_REACH,
}
"""Counters that may not be at zero after enough seeds: what was never reached was never tested."""
BUGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    **bugs.BUGS,
    **log_bugs.BUGS,
    **member_bugs.BUGS,
    **daemon_bugs.BUGS,
    **core_bugs.BUGS,
    **snapshot_bugs.BUGS,
}
ENOUGH_SEEDS = 50
_TWICE_EVERY = 10
_EVERY = {"engine": 1, "daemons": 4}
"""Where all kinds are asked for: whole daemons cost five times as much per virtual hour, and find more in one."""
_TOLD = 20


@dataclass(slots=True)
class Summary:
    seeds: int = 0
    virtual_s: dict[str, float] = field(default_factory=dict)
    """Of each kind."""
    operations: int = 0
    violations: list[str] = field(default_factory=list)
    reached: dict[str, Counter[str]] = field(default_factory=dict)

    def line(self) -> str:
        return (
            f"seeds {self.seeds} hours {sum(self.virtual_s.values()) / 3600:.2f} operations {self.operations} "
            f"violations {len(self.violations)}"
        )


def run_one(
    kind: str, seed: int, bug: str | None = None, keep_trace: bool = False, kept: frozenset[int] | None = None
) -> Result:
    """One run; an exception out of it is a violation. With `bug`, over an engine that has that one.

    Of the steps of its nemesis only the `kept` are taken, if said.
    """
    patched: AbstractContextManager[object] = BUGS[bug]() if bug else nullcontext()
    with patched:
        try:
            return KINDS[kind](seed, keep_trace, kept)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error} (line {place.lineno} of {place.filename.rpartition('/')[2]})"
            return Result(seed, kind, violations=[text])


def run_seeds(
    seeds: Sequence[int],
    kinds: Sequence[str],
    jobs: int = 1,
    bug: str | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Summary:
    """All `seeds` of the one kind, or of all `kinds` in their shares.

    Every tenth is run again in another process: the traces must be equal.
    """
    summary = Summary(seeds=len(seeds), reached={kind: Counter() for kind in kinds})
    share = {kind: seeds[:: _EVERY[kind] if len(kinds) > 1 else 1] for kind in kinds}
    work = [(kind, seed) for seed in seeds for kind in kinds if seed in share[kind]]
    again = [(kind, seed) for kind in kinds for seed in share[kind][::_TWICE_EVERY]]
    with _pool(jobs) as first, _pool(jobs) as second:
        runs = [first.submit(run_one, kind, seed, bug) for kind, seed in work]
        reruns = {key: second.submit(run_one, *key, bug) for key in again}
        for key, run in zip(work, runs, strict=True):
            result = run.result()
            _add(summary, result, tell)
            if key in reruns and reruns[key].result().trace != result.trace:
                _violate(summary, f"seed {key[1]} {key[0]}: two runs differ", tell)
    for kind in kinds if bug is None else ():
        for counter in MUST_REACH[kind] if len(share[kind]) >= ENOUGH_SEEDS else ():
            if not summary.reached[kind][counter]:
                _violate(summary, f"{kind}: no seed reached '{counter}'", tell)
    return summary


def shrink_seed(kind: str, seed: int, bug: str | None = None) -> list[int]:
    """The few steps of the nemesis under which the seed still breaks the same invariant. Raises ValueError."""
    whole = run_one(kind, seed, bug)
    if not whole.violations:
        raise ValueError(f"seed {seed} {kind} breaks nothing")
    broken = _invariant(whole.violations[0])

    def fails(kept: frozenset[int]) -> bool:
        violations = run_one(kind, seed, bug, kept=kept).violations
        return bool(violations) and _invariant(violations[0]) == broken

    return shrink(range(whole.steps), fails)


def _invariant(violation: str) -> str:
    """A violation without what differs from run to run: times, ids, numbers."""
    return re.sub(r"\S*\d\S*", "", violation)


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    # Spawned, so that each process orders its hashes differently: whatever depends on that shows.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def _add(summary: Summary, result: Result, tell: Callable[[str], None]) -> None:
    summary.virtual_s[result.kind] = summary.virtual_s.get(result.kind, 0.0) + result.virtual_s
    summary.operations += result.operations
    summary.reached[result.kind].update(result.reached)
    for text in result.violations:
        _violate(summary, f"seed {result.seed} {result.kind}: {text}", tell)


def _violate(summary: Summary, text: str, tell: Callable[[str], None]) -> None:
    summary.violations.append(text)
    if len(summary.violations) <= _TOLD:
        tell(text)
