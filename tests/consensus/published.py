"""The published raftos as a voter under test, and proofs that hold for ours and not for it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from raftos import conf, server, state
from raftos.serializers import JSONSerializer

from node.consensus.raftos.wire import Data
from tests.consensus.rigs import ME, Ours, Rig
from tests.sim.loop import run

Check = Callable[..., Awaitable[None]]


class TodaysMessagePack:
    """raftos' default format, read with an option that msgpack still has."""

    @staticmethod
    def pack(data: Any) -> bytes:
        packed: bytes = msgpack.packb(data, use_bin_type=True)
        return packed

    @staticmethod
    def unpack(data: bytes) -> Any:
        return msgpack.unpackb(data, raw=False)


class Published(Rig):
    """raftos 0.2.6 as it is, but for the two places that would stop it before the defect under test shows."""

    serializer: Any = JSONSerializer
    patched = True

    async def start(self) -> None:
        random.seed(1)
        loop = asyncio.get_running_loop()
        state.State.leader = state.State.leader_future = None
        state.State.wait_until_leader_id = state.State.wait_until_leader_future = None
        if self.patched:
            asyncio.futures.InvalidStateError = asyncio.InvalidStateError  # type: ignore[attr-defined]
        else:
            vars(asyncio.futures).pop("InvalidStateError", None)
        conf.configure({"log_path": str(self.folder / "raftos"), "serializer": self.serializer})
        host, _, port = ME.partition(":")
        self.server = _PublishedServer(self, loop, host, int(port))
        self.state = state.State(self.server)
        self.state.start()

    async def restart(self) -> None:
        self.state.stop()
        await self.start()

    def give(self, data: Data) -> None:
        host, _, port = data["sender"].partition(":")
        entries = [{"term": term, "command": {text: 1}} for term, text in data.get("entries", [])]
        changed = {"entries": entries} if "entries" in data else {}
        self.state.request_handler({**data, **changed, "sender": (host, int(port))})

    def propose(self, text: str) -> Awaitable[Any]:
        return asyncio.get_running_loop().create_task(self.state.state.execute_command({text: 1}))

    @property
    def role(self) -> str:
        return type(self.state.state).__name__.lower()

    @property
    def term(self) -> int:
        return int(self.state.storage.term)

    @property
    def commit(self) -> int:
        return int(self.state.log.commit_index)

    @property
    def log(self) -> list[tuple[int, str]]:
        return [(entry["term"], next(iter(entry["command"]))) for entry in self.state.log.cache]

    @property
    def election_s(self) -> tuple[float, float]:
        low, high = conf.config.election_interval
        return low, high


class _PublishedServer:
    """raftos' Node without its UDP socket."""

    def __init__(self, rig: Rig, loop: asyncio.AbstractEventLoop, host: str, port: int) -> None:
        self.rig, self.loop, self.host, self.port = rig, loop, host, port
        self.cluster = [tuple(peer.split(":")) for peer in rig.peers]
        self.cluster_count = len(self.cluster)

    async def send(self, data: Data, destination: Any) -> None:
        to = destination if isinstance(destination, str) else ":".join(map(str, destination))
        self.rig.sent.append({**data, "to": to})
        self.rig.on_sent(data)

    def broadcast(self, data: Data) -> None:
        self.sends = [self.loop.create_task(self.send(data, destination)) for destination in self.cluster]


def proves(
    rig: type[Rig],
    check: Check,
    folder: Path,
    broken: str | None,
    error: type[Exception] = AssertionError,
    **shape: Any,
) -> None:
    """`check` holds for ours and ends in `error` with `broken` in its words for the published class."""

    async def main() -> None:
        made = rig(folder, **shape)
        await made.start()
        await check(made)

    if issubclass(rig, Published):
        with pytest.raises(error, match=broken):
            run(main)
    else:
        run(main)


published_and_ours = pytest.mark.parametrize("rig", [Published, Ours], ids=["published", "ours"])


Node = server.Node
