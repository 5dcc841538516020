"""What a cluster costs that has nothing to do: CPU and memory of each daemon and supervisor.

Run: python -m bench.rest [--seconds 20] [--voters 3]
"""

from __future__ import annotations

import argparse
import asyncio

from bench import _meter
from bench._table import Goal, head, line, running


async def measure(voters: int, seconds: float) -> None:
    async with running(voters) as found:
        await asyncio.sleep(2)
        before = _meter.costs(found.pids)
        await asyncio.sleep(seconds)
        spent = {name: cost - before[name] for name, cost in _meter.costs(found.pids).items()}
        for kind, goal in (("daemon", Goal(2, 0.5)), ("supervisor", Goal())):
            percents = [cost.cpu_s / seconds * 100 for name, cost in spent.items() if name.endswith(kind)]
            switches = sum(cost.switches for name, cost in spent.items() if name.endswith(kind)) / seconds
            line(f"{kind} at rest", percents, "% of a core", goal, f"{switches:.0f} switches/s in all")
        line("daemon at rest, RSS", found.memory_mb(), "MB", Goal(100, 70))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--voters", type=int, default=3)
    options = parser.parse_args(arguments)
    head(f"At rest, {options.voters} voters that are workers, too; the range is over the processes")
    asyncio.run(measure(options.voters, options.seconds))


if __name__ == "__main__":
    main()
