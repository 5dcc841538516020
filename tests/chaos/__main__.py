"""`python -m tests.chaos`: faults on real daemons for as long as asked; ends with the first broken promise."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.ground import why_not
from tests.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the next one has the next")
    parser.add_argument("--faults", type=int, default=40, help="of one run")
    options = parser.parse_args()
    if said := why_not():
        print(said, file=sys.stderr)
        return 2
    end, seed = time.monotonic() + 60 * options.minutes, options.seed
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory(prefix="cortex-chaos-") as root:
            print(f"seed {seed}:", asyncio.run(run(Path(root), seed, options.faults)).line(), flush=True)
        seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
