"""What only a node itself knows of its use, through any daemon."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message

from cortex.v1 import cluster_pb2 as pb
from node.core.faults import Code, Fault
from node.link import Caller, Link, LinkClosed
from node.replica import Replica
from node.rpc.lookup import Lookup
from node.worker.resources.history import SPAN_LIMIT_US
from node.worker.resources.port import Gauge

POINTS_LIMIT = 1_440
INSPECT_TIMEOUT_S = 5.0
BENCH_TIMEOUT_S = 90.0


class Inspector:
    """Answers InspectNode and BenchNode: of its own node by itself, of another by asking its daemon.

    `gauge` is None on a machine that measures nothing, such as a simulated one; `replica` gives None on a daemon
    that does not vote, and while a voter begins anew.
    """

    def __init__(
        self,
        node_id: str,
        gauge: Gauge | None,
        link: Link,
        replica: Callable[[], Replica | None],
        address_of: Callable[[str], str | None],
    ) -> None:
        self._node_id = node_id
        self._gauge = gauge
        self._link = link
        self._replica = replica
        self._address_of = address_of

    def answers(self, request: Message) -> bool:
        """Whether this daemon can tell who is meant."""
        if not isinstance(request, pb.InspectNodeRequest | pb.BenchNodeRequest):
            return False
        return request.local or self._replica() is not None

    async def call(self, method: str, request: Message, caller: Caller) -> Message:
        """Raises Fault."""
        assert isinstance(request, pb.InspectNodeRequest | pb.BenchNodeRequest)
        if isinstance(request, pb.InspectNodeRequest):
            _check(request)
        replica = self._replica()
        if not request.local and replica is not None:
            node_id = Lookup(replica).node_id(request.node)
            if node_id != self._node_id:
                return await self._remote(node_id, method, request, caller)
        if self._gauge is None:
            message = f"The node {self._node_id} measures nothing of itself."
            raise Fault(Code.UNSUPPORTED, message, "Ask another one.")
        if isinstance(request, pb.BenchNodeRequest):
            return pb.BenchNodeReply(node=self._node_id, benchmark=await self._gauge.bench())
        return self._inspected(self._gauge, request)

    def _inspected(self, gauge: Gauge, request: pb.InspectNodeRequest) -> pb.InspectNodeReply:
        reply = pb.InspectNodeReply(node=self._node_id, resources=gauge.latest(), tasks=gauge.uses())
        if request.span_us:
            series, reply.step_us, reply.until_us = gauge.history(request.span_us, request.points)
            reply.history.extend(series)
        return reply

    async def _remote(
        self, node_id: str, method: str, request: pb.InspectNodeRequest | pb.BenchNodeRequest, caller: Caller
    ) -> Message:
        address = self._address_of(node_id)
        asked: Message
        if isinstance(request, pb.BenchNodeRequest):
            timeout_s, asked = BENCH_TIMEOUT_S, pb.BenchNodeRequest(node=node_id, local=True)
        else:
            timeout_s = INSPECT_TIMEOUT_S
            asked = pb.InspectNodeRequest(node=node_id, local=True, span_us=request.span_us, points=request.points)
        try:
            if address is None:
                raise LinkClosed(node_id)
            return await self._link.call(address, method, asked, timeout_s, caller.forwarded())
        except LinkClosed:
            message = f"The node {node_id} does not answer, and only it knows that."
            raise Fault(Code.WRONG_STATE, message, "Try again when it is back; see `cortex nodes`.") from None


def _check(request: pb.InspectNodeRequest) -> None:
    if not 0 <= request.span_us <= SPAN_LIMIT_US or not 0 <= request.points <= POINTS_LIMIT:
        message = f"span_us is {request.span_us} and points {request.points}."
        remedy = f"span_us goes from 0 to {SPAN_LIMIT_US}, points from 0 to {POINTS_LIMIT}."
        raise Fault(Code.INVALID, message, remedy)
