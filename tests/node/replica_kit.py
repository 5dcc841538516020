"""A replica by itself: a log of one member in memory, a store in memory, and the calls on top."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cortex.v1.log_pb2 import Command, NodeJoin, Reply
from cortex.v1.types_pb2 import TASK_TYPE_SHELL, Node, Slots
from node.consensus.memory.engine import MemoryEngine
from node.env import Env
from node.link import Caller
from node.replica import Replica
from node.rpc.history import HistoryCalls
from node.rpc.nodes import NodeCalls
from node.rpc.operations import OperationCalls
from node.rpc.settings import SettingCalls
from node.rpc.watch import Watcher
from node.rpc.workflows import WorkflowCalls
from node.store.store import Store

ANN = Caller("ann")


class Alone:
    """One daemon's replica with its calls; `n1` has joined."""

    def __init__(self, folder: Path, engine: type[MemoryEngine] = MemoryEngine) -> None:
        store = Store(folder / "state.sqlite")
        store.open()
        self.failed: list[Exception] = []
        self.replica = Replica(Env.real(folder), "n1", store, stop=self.failed.append)
        self.engine = engine(self.replica, "n1", "here:1")
        self.replica.attach(self.engine)
        leadership = SimpleNamespace(node_views=list, wait_reason=lambda _id: "", waiting=list)
        leadership.progress, leadership.progress_of = list, lambda _id: None
        leadership.times = SimpleNamespace(lease_ms=30_000)
        self.leadership = leadership
        parts: Any = SimpleNamespace(
            replica=self.replica, node_id="n1", env=Env.real(folder), leadership=leadership, link=None,
            address_of=lambda _id: None, cluster_id="c",
        )  # fmt: skip
        self.history = HistoryCalls(parts)
        self.nodes = NodeCalls(parts)
        self.settings = SettingCalls(parts)
        self.operations = OperationCalls(parts)
        self.workflows = WorkflowCalls(parts)
        self.watcher = Watcher(self.replica, self.nodes)

    async def do(self, *commands: Command, actor: str = "", request_id: str = "") -> Reply:
        """One entry; the actor's requests are numbered."""
        client = actor or "leader"
        return await self.replica.execute(commands, client=client, request_id=request_id, actor=actor)


@asynccontextmanager
async def alone(folder: Path, engine: type[MemoryEngine] = MemoryEngine) -> AsyncIterator[Alone]:
    """A replica that serves, ended with its threads."""
    made = Alone(folder, engine)
    await made.replica.start()
    node = Node(id="n1", hostname="one", incarnation="i", slots=[Slots(type=TASK_TYPE_SHELL, count=2)])
    await made.do(Command(node_join=NodeJoin(node=node)))
    try:
        yield made
    finally:
        await made.replica.stop()
        assert not made.failed
