"""The end of an upgrade, asked for by an operator."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1.log_pb2 import Command, NodeJoin
from cortex.v1.types_pb2 import NODE_ROLE_VOTER, Node
from node.core import machine
from node.env import Env
from node.rpc.levels import LevelCalls
from tests.node.replica_kit import ANN, Alone, alone


def calls(made: Alone, folder: Path) -> LevelCalls:
    parts: Any = SimpleNamespace(
        replica=made.replica, node_id="n1", env=Env.real(folder), leadership=made.leadership, link=None,
        address_of=lambda _id: None,
    )  # fmt: skip
    return LevelCalls(parts)


async def join(made: Alone, *levels: int) -> None:
    """Voters, each with the highest level that it knows."""
    for number, level in enumerate(levels, 1):
        node = Node(id=f"n{number}", incarnation="i", address=f"n{number}:1", role=NODE_ROLE_VOTER, level=level)
        await made.do(Command(node_join=NodeJoin(node=node)))


async def test_it_rises_to_what_all_voters_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LEVEL", 4)
    async with alone(tmp_path) as made:
        await join(made, 4, 3)
        request = pb.FinalizeRequest(mutation=pb.Mutation(client="c", request_id="r"))
        reply = await calls(made, tmp_path).finalize(request, ANN)
        assert (reply.was, reply.level, reply.operation_id) == (1, 3, "r")
        assert made.replica.state.level == 3
        await made.replica.saved_through(reply.index)
        copy = made.replica.store.copy()
        assert copy.level == 3
        copy.close()


async def test_nothing_is_written_where_nothing_is_to_raise(tmp_path: Path) -> None:
    async with alone(tmp_path) as made:
        await join(made, 1, 1)
        before = made.replica.state.index
        reply = await calls(made, tmp_path).finalize(pb.FinalizeRequest(), ANN)
        assert (reply.was, reply.level, reply.index) == (1, 1, before)
        assert made.replica.state.index == before
