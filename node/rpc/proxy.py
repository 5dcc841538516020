"""What a daemon that does not vote answers with: whatever the voters say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from google.protobuf.message import Message

from cortex.v1 import cluster_pb2
from node.core.faults import Code, Fault, outcome_unknown
from node.link import Caller, Link, LinkClosed
from node.rpc.errors import link_lost
from node.rpc.inspect import BENCH_TIMEOUT_S

_TIMEOUT_S = 10.0
# Two daemons that do not vote may know of nobody but each other.
_MAX_HOPS = 2
# A large batch takes as many commits as it has parts.
_BATCH_TIMEOUT_S = 60.0
_TIMEOUTS_S = {"SubmitBatch": _BATCH_TIMEOUT_S, "BenchNode": BENCH_TIMEOUT_S}


class Proxy:
    """Passes calls on to the first voter that answers; a change under one request id is done once. Raises Fault."""

    def __init__(self, link: Link, candidates: Callable[[], Sequence[str]]) -> None:
        self._link = link
        self._candidates = candidates

    async def call(self, method: str, request: Message, caller: Caller) -> Message:
        if caller.hops >= _MAX_HOPS:
            raise self._unreachable()
        asked = False
        timeout_s = _TIMEOUTS_S.get(method, _TIMEOUT_S)
        for address in self._candidates():
            try:
                return await self._link.call(address, method, request, timeout_s, caller.forwarded())
            except LinkClosed:
                lost = link_lost(method, request)
                if isinstance(request, cluster_pb2.TransferLeaderRequest):
                    raise lost from None
                asked = asked or lost.code == Code.OUTCOME_UNKNOWN
        raise outcome_unknown() if asked else self._unreachable()

    async def stream(self, method: str, request: Message, caller: Caller) -> AsyncIterator[Message]:
        for address in self._candidates() if caller.hops < _MAX_HOPS else ():
            begun = False
            try:
                async for reply in self._link.stream(address, method, request, caller.forwarded()):
                    begun = True
                    yield reply
                return
            except LinkClosed:
                if begun:
                    break
        raise self._unreachable()

    def _unreachable(self) -> Fault:
        addresses = ", ".join(self._candidates()) or "none known"
        return Fault(Code.NO_LEADER, f"No voter answers ({addresses}).", "See whether the voters run.")
