"""A daemon under cProfile, for measurements only: `python -m bench._profiled run …`.

What the thread of its event loop did goes to DATA/profiled when USR2 comes, and begins anew.
"""

from __future__ import annotations

import cProfile
import signal
import sys
from pathlib import Path

from node import cli

_profile = cProfile.Profile()


def _dump(path: Path) -> None:
    _profile.disable()
    new = path.with_suffix(".new")
    _profile.dump_stats(new)
    new.rename(path)
    _profile.clear()
    _profile.enable()


def main() -> None:
    """As cortexd."""
    data = Path(sys.argv[sys.argv.index("--data") + 1])
    signal.signal(signal.SIGUSR2, lambda *_: _dump(data / "profiled"))
    _profile.enable()
    cli.main()


if __name__ == "__main__":
    main()
