"""Followers of one task's output in a process of their own: `python -m bench._followers ADDRESS SECRET_FILE ID N`.

Says how many bytes they got in all, when the task has ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tui.link.client import ClusterClient


async def _follow(client: ClusterClient, task_id: str) -> int:
    return sum([len(reply.data) async for reply in client.output(task_id, follow=True)])


async def _all(address: str, secret: str, task_id: str, count: int) -> int:
    async with ClusterClient([address], secret) as client:
        return sum(await asyncio.gather(*(_follow(client, task_id) for _ in range(count))))


def main(arguments: list[str]) -> None:
    address, secret, task_id, count = arguments
    print(asyncio.run(_all(address, Path(secret).read_text(), task_id, int(count))))


if __name__ == "__main__":
    main(sys.argv[1:])
