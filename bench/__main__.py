"""`python -m bench [NAME…]`: run the measurements one after the other, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def main(names: list[str]) -> int:
    """Exit status 0 when all ran, 1 when one failed, 2 for an unknown name."""
    if {"-h", "--help"} & set(names):
        print(f"{__doc__}\n\nNames: {', '.join(NAMES)}.\n`python -m bench.NAME --help` shows the options of one.")
        return 0
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"There is no measurement {unknown[0]!r}; there are {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    failed = False
    for name in names or NAMES:
        print(f"\n== {name}", flush=True)
        failed |= subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
