"""A daemon that measures how late its event loop is, for measurements only: `python -m bench._lagging run …`.

Milliseconds go to DATA/lag.json when USR2 comes, and begin anew.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from node import cli

_STEP_S = 0.005

late_ms: list[float] = []


async def _measure() -> None:
    loop = asyncio.get_running_loop()
    while True:
        begun = loop.time()
        await asyncio.sleep(_STEP_S)
        late_ms.append((loop.time() - begun - _STEP_S) * 1000)


def _dump(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(late_ms))
    new.rename(path)
    late_ms.clear()


def main() -> None:
    """As cortexd."""
    data = Path(sys.argv[sys.argv.index("--data") + 1])
    signal.signal(signal.SIGUSR2, lambda *_: _dump(data / "lag.json"))
    inner = cli._run

    async def run(*arguments: Any) -> Exception | None:
        measuring = asyncio.ensure_future(_measure())
        try:
            return await inner(*arguments)
        finally:
            measuring.cancel()

    cli._run = run
    cli.main()


if __name__ == "__main__":
    main()
