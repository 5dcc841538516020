"""A voter on a folder of its own, and one in a process of its own, as daemons are.

`python -m bench._voter NAME FOLDER`, told what to do by lines on its standard input, each of which it answers.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import structlog

from bench._hosts import NoDaemon, SqliteHost
from cortex.v1 import raft_pb2
from node.consensus.raftos.engine import RaftosEngine
from node.env import Env
from node.host import _COLLECT

Receive = Callable[[raft_pb2.RaftMessage], None]
_LINE_BYTES = 1 << 16


def collect_less() -> None:
    """As daemons do."""
    gc.freeze()
    gc.set_threshold(*_COLLECT)


class Receiver(asyncio.Protocol):
    """Takes messages from a socket, each behind its length."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        buffer, position = self._buffer, 0
        buffer += data
        while len(buffer) >= position + 4:
            end = position + 4 + int.from_bytes(buffer[position : position + 4], "big")
            if len(buffer) < end:
                break
            self._receive(raft_pb2.RaftMessage.FromString(bytes(buffer[position + 4 : end])))
            position = end
        del buffer[:position]


class Loopback:
    """One TCP connection per pair and direction, as between processes."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._links: dict[tuple[str, str], asyncio.WriteTransport] = {}

    async def listen(self, receive: Receive) -> str:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(partial(Receiver, receive), "127.0.0.1", 0)
        self._servers.append(server)
        host, port = server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def connect(self, source: str, target: str) -> None:
        host, _, port = target.rpartition(":")
        loop = asyncio.get_running_loop()
        self._links[source, target], _ = await loop.create_connection(asyncio.Protocol, host, int(port))

    def send(self, source: str, target: str, message: raft_pb2.RaftMessage) -> None:
        link = self._links[source, target]
        if not link.is_closing():
            raw = message.SerializeToString()
            link.write(len(raw).to_bytes(4, "big") + raw)

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        for server in self._servers:
            server.close()


class Voter:
    """Listens from listen() on, and takes part from start() on."""

    def __init__(self, name: str, folder: Path, *, apply: bool) -> None:
        folder.mkdir(parents=True)
        self.name = name
        self._env = Env.real(folder)
        self._loopback = Loopback()
        self._engine: RaftosEngine | None = None
        self._address = ""
        self.host = SqliteHost(self._env) if apply else NoDaemon()

    @property
    def engine(self) -> RaftosEngine:
        if self._engine is None:
            raise RuntimeError("start() comes before use")
        return self._engine

    async def listen(self) -> str:
        self._address = await self._loopback.listen(self._receive)
        return self._address

    async def start(self, addresses: Mapping[str, str]) -> None:
        for other in addresses.values():
            if other != self._address:
                await self._loopback.connect(self._address, other)
        send = partial(self._loopback.send, self._address)
        self._engine = RaftosEngine(self._env, self.host, self.name, dict(addresses), "bench", send)
        self.host.attach(self._engine)
        self.host.start()
        await self._engine.start()

    def _receive(self, message: raft_pb2.RaftMessage) -> None:
        if self._engine is not None:
            self._engine.receive(message)

    async def stop(self) -> None:
        if self._engine is not None:
            await self._engine.stop()
        await self.host.stop()
        self._loopback.close()


class Apart:
    """A Voter in a process of its own."""

    def __init__(self, name: str, folder: Path, *, apply: bool) -> None:
        self.name = name
        self._command = [
            sys.executable,
            "-m",
            "bench._voter",
            name,
            str(folder),
            *([] if apply else ["--no-apply"]),
        ]
        self._process: asyncio.subprocess.Process | None = None

    async def listen(self) -> str:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
        return await self._answer()

    async def start(self, addresses: Mapping[str, str]) -> None:
        await self.tell("start", json.dumps(addresses))

    async def tell(self, *words: str) -> None:
        """Return when it has done this."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words).encode() + b"\n")
        await self._answer()

    async def _answer(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        answer = (await self._process.stdout.readline()).decode().strip()
        if not answer:
            raise RuntimeError(f"{self.name} ended")
        return answer

    async def stop(self) -> None:
        """It ends with its input."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def _serve(name: str, folder: Path, *, apply: bool) -> None:
    voter = Voter(name, folder, apply=apply)
    lines = asyncio.StreamReader(limit=_LINE_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print(await voter.listen(), flush=True)
    while line := (await lines.readline()).decode():
        order, _, rest = line.strip().partition(" ")
        if order == "start":
            await voter.start(json.loads(rest))
        elif order == "transfer":
            await voter.engine.transfer(rest)
        elif order == "settle":
            await voter.host.saved_through(int(rest))
        print("done", flush=True)
    await voter.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--no-apply", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    collect_less()
    asyncio.run(_serve(options.name, options.folder, apply=not options.no_apply))
    return 0


if __name__ == "__main__":
    sys.exit(main())
