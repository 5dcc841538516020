"""What the demo's source costs by itself: reads it as the console does, and shows nothing.

`python -m bench._demo SIZE SETTLE_S SECONDS` prints the share of a core in percent.
"""

from __future__ import annotations

import asyncio
import sys
import time

from tui.demo.size import parse_size
from tui.demo.source import DemoSource


async def share(size: str, settle_s: float, seconds: float) -> float:
    async def read() -> None:
        async for _ in DemoSource(parse_size(size)).watch():
            pass

    reading = asyncio.create_task(read())
    await asyncio.sleep(settle_s)  # what it costs after that is measured
    used_s = time.process_time()
    await asyncio.sleep(seconds)
    used_s = time.process_time() - used_s
    reading.cancel()
    return used_s / seconds * 100


if __name__ == "__main__":
    print(asyncio.run(share(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))))
