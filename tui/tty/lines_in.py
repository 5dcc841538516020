"""Lines that are typed, without a thread that could not be ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator

MAX_LINE_BYTES = 64 * 1024


async def typed_lines(fileno: int) -> AsyncGenerator[str, None]:
    """Yields each line, until the end of the input. What is longer than 64 KiB is cut."""
    loop = asyncio.get_running_loop()
    parts: asyncio.Queue[bytes] = asyncio.Queue()
    loop.add_reader(fileno, lambda: parts.put_nowait(_read(fileno)))
    rest = b""
    try:
        while part := await parts.get():
            *lines, rest = (rest + part).split(b"\n")
            rest = rest[:MAX_LINE_BYTES]
            for line in lines:
                yield line[:MAX_LINE_BYTES].decode("utf-8", "replace")
    finally:
        loop.remove_reader(fileno)


def _read(fileno: int) -> bytes:
    try:
        return os.read(fileno, 4096)
    except OSError:
        return b""
