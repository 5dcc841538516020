"""The log of one member in memory, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from node.consensus.memory.engine import MAX_PROPOSAL_BYTES, MemoryEngine, MemoryLog
from tests.consensus.conformance.kit import Check, Cluster, Member, Rig, checked
from tests.sim.loop import run

T = TypeVar("T")


class MemoryCluster(Cluster):
    def __init__(self) -> None:
        super().__init__(1)
        self._disk = MemoryLog()

    async def boot(self, member: Member) -> None:
        member.begin(MemoryEngine(member, member.id, member.address, self._disk))
        await member.engine.start()

    async def kill(self, member: Member) -> None:
        member.engine = None

    def isolate(self, member: Member) -> None: ...

    def heal(self) -> None: ...

    def start(self, member: Member, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return asyncio.get_running_loop().create_task(work)

    async def close(self) -> None:
        """The loop ends with the test, and everything on it."""


class MemoryRig(Rig):
    name = "memory"
    limit_bytes = MAX_PROPOSAL_BYTES

    def run(self, check: Check, size: int = 3) -> None:
        if size > 1:
            pytest.skip("the log in memory has one member")
        run(lambda: checked(MemoryCluster(), check))
