"""Waits until services are ready, across lost links."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from cortex.v1 import cluster_pb2, types_pb2
from tui.link.client import ClusterClient
from tui.link.follow import ENDED, PATIENCE_S
from tui.store.progress import is_starting

_AGAIN_S = 1.0


def is_ready(task: types_pb2.Task) -> bool:
    return task.state == types_pb2.TASK_STATE_RUNNING and bool(task.ready_at_us)


async def until_ready(client: ClusterClient, ids: Sequence[str]) -> list[types_pb2.Task]:
    """The tasks in the order of `ids` or unique prefixes, each ready or ended by then. Raises ClusterError."""
    replies = [await _begun(client, task_id) for task_id in ids]
    wanted = [reply.task.id for reply in replies]
    found = {reply.task.id: reply.task for reply in replies if _settled(reply.task)}
    if found.keys() >= set(wanted):
        return [found[task_id] for task_id in wanted]
    after_index = min(reply.index for reply in replies)
    async with aclosing(client.watch(after_index, patience_s=PATIENCE_S)) as changes:
        async for reply in changes:
            tasks = [change.task for change in reply.changes if change.task.id in wanted]
            if reply.snapshot_end:
                # A snapshot has only what lives; what ended meanwhile must be asked for.
                tasks += [(await client.get_task(task_id)).task for task_id in set(wanted) - found.keys()]
            found |= {task.id: task for task in tasks if _settled(task)}
            if found.keys() >= set(wanted):
                break
    return [found[task_id] for task_id in wanted]


async def _begun(client: ClusterClient, task_id: str) -> cluster_pb2.GetTaskReply:
    """The task once no service of it is between two lives: that it is ready again may change nothing in its row."""
    while True:
        reply = await client.get_task(task_id)
        if not is_ready(reply.task) or not is_starting(reply.task, reply.progress):
            return reply
        await asyncio.sleep(_AGAIN_S)


def _settled(task: types_pb2.Task) -> bool:
    return is_ready(task) or task.state in ENDED
