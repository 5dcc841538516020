"""Messages between the pool's host and its workers: a length, JSON; an order carries descriptors beside it.

From a worker: ready, claim, progress, heartbeat, completed, failed, state-change. From the host: run; that a task
is to end is cancel and then a TERM, which alone a handler hears that has begun; that the worker is to end an end of
file. Kinds that are not known are ignored.

There is no message for output: a worker has the two pipes of the task it runs as its own stdout and stderr, so what
is printed, what a child process or a C library writes and what a crash leaves is all there, in order, and costs the
host nothing.
"""

from __future__ import annotations

import array
import ctypes
import json
import signal
import socket
import struct
from collections.abc import Iterator
from typing import Any

FOLDER, SOCKET, SETTINGS, LOCK, LOG, PID = "pool", "socket", "settings.json", "lock", "log", "pid"
READY, CLAIM, PROGRESS, HEARTBEAT = "ready", "claim", "progress", "heartbeat"
COMPLETED, FAILED, STATE_CHANGE = "completed", "failed", "state-change"
RUN, CANCEL = "run", "cancel"
HEARTBEAT_S = 1.0
# What one asks of the host beside to run a task.
HELLO, RETIRE = b"hello", b"retire"
FRAME_LIMIT_BYTES = 4 * 1024 * 1024
_LENGTH = struct.Struct(">I")
PIPES = 2
_PR_SET_CHILD_SUBREAPER = 36
_CHUNK = 65536

Message = dict[str, Any]


class Broken(Exception):
    """The other side does not speak this protocol."""


def adopt_orphans() -> None:
    """What lost its parent below this process becomes its child, not another's whom nobody asks."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reset_signals() -> None:
    """Nothing is ignored or held back because who started the daemon did so; but for what Python ignores itself."""
    for each in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(each) is signal.SIG_IGN:
            signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def packed(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body


def encoded(message: Message) -> bytes:
    return packed(json.dumps(message, separators=(",", ":")).encode())


class Inbox:
    """Frames out of a stream, and the descriptors that came with them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.fds: list[int] = []

    def receive(self, sock: socket.socket, flags: int = 0) -> bool:
        """Read once; False at the end of the stream. Raises OSError, also when nothing is there."""
        room = socket.CMSG_SPACE(PIPES * 4)
        data, ancillary, _flags, _address = sock.recvmsg(_CHUNK, room, socket.MSG_CMSG_CLOEXEC | flags)
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array.array("i")
                found.frombytes(content[: len(content) - len(content) % found.itemsize])
                self.fds += found
        self._buffer += data
        return bool(data)

    def take_fds(self) -> list[int]:
        taken, self.fds = self.fds, []
        return taken

    def frames(self) -> Iterator[bytes]:
        """Whole ones. Raises Broken."""
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > FRAME_LIMIT_BYTES:
                raise Broken(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield body

    def rest(self) -> bytes:
        """What is there, framed or not."""
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken


def decoded(body: bytes) -> Message:
    """Raises Broken."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Broken(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Broken("no object")
    return found
