"""What is asked of etcd itself, whoever leads."""

from __future__ import annotations

import asyncio

from node.consensus.etcd.keys import Keys, decode_head
from node.consensus.etcd.leading import Leading
from node.consensus.etcd.store import Etcd, Get, Refused, Unreachable
from node.consensus.port import NotLeader


async def holds_key(etcd: Etcd, leading: Leading | None, retry_s: float) -> bool:
    """Whether the leader's key is this member's still; asked until etcd answers or the lease is over."""
    while leading is not None and leading.lease.valid:
        try:
            return (await etcd.transact([leading.own_key], [])).succeeded
        except (Unreachable, Refused):
            await asyncio.sleep(retry_s)
    return False


async def last_index(etcd: Etcd, keys: Keys) -> int:
    """Of the last entry. Raises NotLeader when etcd does not answer."""
    try:
        outcome = await etcd.transact([], [Get(keys.head)])
    except (Unreachable, Refused) as error:
        raise NotLeader(str(error)) from None
    return decode_head(outcome.found[keys.head].value)[0]
