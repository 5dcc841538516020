"""`cortex` as a process, with folders of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import termios
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.tui.warm import warm

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60


@dataclass(frozen=True)
class Ran:
    """How one command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)["error"]


def _opened(descriptor: int) -> IO[bytes]:
    return open(descriptor, "rb", buffering=0)


async def _read(file: int) -> bytes:
    """Everything until its other end is closed."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), _opened(file)
    )
    try:
        return await reader.read()
    finally:
        transport.close()


def _write(descriptor: int, data: bytes) -> None:
    """Give it to a command that may have ended without reading it."""
    with open(descriptor, "wb", buffering=0) as file, suppress(BrokenPipeError):
        while data:
            data = data[file.write(data) :]


class CommandLine:
    """Runs `cortex` with HOME under `folder` and `variables` in its environment."""

    def __init__(self, folder: Path, variables: dict[str, str] | None = None) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CORTEX_", "XDG_"))}
        paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}", "HOME": str(folder)}
        self.folder = folder
        self.environment = {**kept, **paths, **(variables or {})}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tui.cli",
            *arguments,
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def end(self, process: asyncio.subprocess.Process, stdin: bytes = b"") -> Ran:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate(stdin if process.stdin else None)
        assert process.returncode is not None
        return Ran(process.returncode, out, err.decode())

    async def __call__(self, *arguments: str, stdin: bytes = b"") -> Ran:
        """In a process that has its modules from another, unless the interpreter is to begin differently."""
        process = warm()
        if not process.suits(self.environment):
            return await self.end(await self.start(*arguments), stdin)
        (stdin_read, stdin_write), (out_read, out_write), (err_read, err_write) = (os.pipe() for _ in range(3))
        streams = [stdin_read, out_write, err_write]
        reply = process.run(list(arguments), self.folder, self.environment, streams)
        for stream in streams:
            os.close(stream)
        reply.setblocking(False)
        with reply:
            async with asyncio.timeout(TIMEOUT_S):
                out, err, code, _ = await asyncio.gather(
                    _read(out_read),
                    _read(err_read),
                    asyncio.get_running_loop().sock_recv(reply, 16),
                    asyncio.to_thread(_write, stdin_write, stdin),
                )
        return Ran(process.code(code), out, err.decode())

    async def shell(self, line: str) -> Ran:
        """Runs a line of bash in which `cortex` is the command."""
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            f'cortex() {{ "{sys.executable}" -m tui.cli "$@"; }}; {line}',
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return await self.end(process)

    async def on_terminal(self, *arguments: str, columns: int) -> str:
        """What a terminal of that width is sent."""
        master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, columns))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tui.cli",
            *arguments,
            cwd=self.folder,
            env=self.environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        async with asyncio.timeout(TIMEOUT_S):
            await process.wait()
        sent = b""
        try:
            # The other side is closed: what is left is read until the terminal says so.
            while piece := os.read(master, 65536):
                sent += piece
        except OSError:
            pass
        finally:
            os.close(master)
        return sent.decode()
