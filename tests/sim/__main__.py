"""`python -m tests.sim --seeds A..B`: simulate, print what was reached, end with one line of sums."""

from __future__ import annotations

import argparse
import os
import re
import sys

from tests.sim.runner import BUGS, KINDS, run_one, run_seeds, shrink_seed
from tests.sim.sought import find_bugs


def parse_seeds(text: str) -> range:
    """`A..B`, both inclusive; empty when B < A."""
    found = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of seeds like 0..59")
    return range(int(found[1]), int(found[2]) + 1)


def parse_steps(text: str) -> frozenset[int]:
    """Numbers between commas; none in an empty text."""
    return frozenset(int(part) for part in text.split(",") if part)


def shrink(kinds: list[str], seeds: range, bug: str | None) -> int:
    """Print the command that replays the shortest failing schedule of one seed; 2 when there is none to shorten."""
    if len(kinds) != 1 or len(seeds) != 1:
        print("shrink one seed of one kind: --seeds 41..41 --kind engine", file=sys.stderr)
        return 2
    (kind,), (seed,) = kinds, seeds
    try:
        kept = shrink_seed(kind, seed, bug)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    with_bug = f" --bug {bug}" if bug else ""
    steps = ",".join(map(str, kept))
    replay = f"python -m tests.sim --seeds {seed}..{seed} --kind {kind}{with_bug} --keep '{steps}'"
    print(f"{len(kept)} faults are enough: {replay}")
    return 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=parse_seeds, default=range(60), metavar="A..B", help="inclusive")
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="only this; may be repeated")
    parser.add_argument("--bug", choices=list(BUGS), help="simulate with this deliberate bug")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--shrink", action="store_true", help="find the few faults by which one seed still fails")
    parser.add_argument("--keep", type=parse_steps, metavar="N,N…", help="of one seed: only these faults happen")
    parser.add_argument("--trace", action="store_true", help="print everything that happens; one process")
    parser.add_argument(
        "--find-bugs", action="store_true", help="seeds that find the deliberate bugs, for the table"
    )
    options = parser.parse_args(arguments)
    if options.find_bugs:
        return 0 if find_bugs(options.jobs, lambda line: print(line, flush=True)) else 1
    kinds = options.kind or list(KINDS)
    if options.shrink:
        return shrink(kinds, options.seeds, options.bug)
    if options.trace or options.keep is not None:
        results = [
            run_one(kind, seed, options.bug, options.trace, options.keep)
            for seed in options.seeds
            for kind in kinds
        ]
        violations = [text for result in results for text in result.violations]
        print(*violations, sep="\n")
        return 1 if violations or not results else 0
    summary = run_seeds(options.seeds, kinds, options.jobs, options.bug, lambda line: print(line, flush=True))
    for kind, reached in summary.reached.items():
        hours = f"hours {summary.virtual_s.get(kind, 0.0) / 3600:.2f}"
        print(f"{kind}:", ", ".join([hours, *(f"{name} {count}" for name, count in sorted(reached.items()))]))
    print(summary.line())
    return 1 if summary.violations or not summary.seeds else 0


if __name__ == "__main__":
    sys.exit(main())
