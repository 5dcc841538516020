"""The Cluster service without a transport: all areas of calls behind one door."""

from __future__ import annotations

from google.protobuf.message import Message

from node.core.faults import Code, Fault
from node.link import Caller
from node.rpc.calls import Calls, Handler, Parts
from node.rpc.drains import DrainCalls
from node.rpc.history import HistoryCalls
from node.rpc.levels import LevelCalls
from node.rpc.members import MemberCalls
from node.rpc.nodes import NodeCalls
from node.rpc.operations import OperationCalls
from node.rpc.settings import SettingCalls
from node.rpc.tasks import TaskCalls
from node.rpc.why import WhyCalls
from node.rpc.workflows import WorkflowCalls


class ClusterService:
    """Unary calls of cortex.v1.Cluster on a voter. gRPC and the simulator both call it."""

    def __init__(self, parts: Parts) -> None:
        self._replica = parts.replica
        self.tasks = TaskCalls(parts)
        self.nodes = NodeCalls(parts)
        self.operations = OperationCalls(parts)
        areas: tuple[Calls, ...] = (
            self.tasks,
            self.nodes,
            self.operations,
            HistoryCalls(parts),
            SettingCalls(parts),
            DrainCalls(parts),
            MemberCalls(parts),
            LevelCalls(parts),
            WorkflowCalls(parts),
            WhyCalls(parts),
        )
        self._handlers: dict[str, Handler] = {
            name: handler for area in areas for name, handler in area.handlers().items()
        }

    async def call(self, method: str, request: Message, caller: Caller) -> Message:
        """Raises Fault."""
        handler = self._handlers.get(method)
        if handler is None:
            raise Fault(Code.UNSUPPORTED, f"This release has no {method}.", "Upgrade the daemon.")
        try:
            return await handler(request, caller)
        except Fault as fault:
            # Who changes something that was made a moment ago may meet a daemon that has not heard of it.
            lags = hasattr(request, "mutation") and not self._replica.serving and not caller.hops
            if fault.code != Code.NOT_FOUND or not lags:
                raise
        return await self.nodes.of_leader(method, request, caller)
