"""Before the daemons of a cluster end: what runs is given back, so that it runs again after the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import grpc

from cortex.v1 import cluster_pb2
from tui.link.wire import Channels, Target

# Longer than a shutdown takes: until then no daemon that comes to lead in the middle of it places anything.
HOLD_S = 20.0
_ANSWER_S = 0.5


class GivenBack(NamedTuple):
    """Tasks that are queued again, and tasks whose commands had not ended in time."""

    tasks: int
    left: int


async def give_back(targets: Sequence[Target], secret: str, wait_s: float) -> GivenBack | None:
    """Tells every daemon that it will stop; None when none of them led, or none answered within `wait_s`."""
    channels = Channels(targets, secret)
    try:
        replies = await asyncio.gather(*(_tell(channels, target, wait_s) for target in targets))
    finally:
        await channels.close()
    for reply in replies:
        if reply is not None and reply.led:
            return GivenBack(reply.migrated, reply.left)
    return None


async def _tell(channels: Channels, target: Target, wait_s: float) -> cluster_pb2.QuiesceReply | None:
    request = cluster_pb2.QuiesceRequest(hold_ms=int(HOLD_S * 1000), wait_ms=int((wait_s - _ANSWER_S) * 1000))
    try:
        return await channels.stub(target).Quiesce(request, timeout=wait_s, metadata=channels.metadata())
    except grpc.aio.AioRpcError:
        # It is ended all the same.
        return None
