"""The daemon's connection to this supervisor: at most one, the newest."""

from __future__ import annotations

import select
import socket

from node.supervisor import wire
from node.supervisor.log import note

_READ_BYTES = 256 * 1024
_MAX_BACKLOG_BYTES = 64 * 1024 * 1024


class Channel:
    """Greets, checks the version, and carries batches of messages. Never blocks."""

    __slots__ = ("_epoll", "_frames", "_greeted", "_is_full", "_messages", "_out", "_sock", "attached", "version")

    def __init__(self, sock: socket.socket, epoll: select.epoll, greeting: bytes) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._epoll = epoll
        self._frames = wire.Frames()
        self._greeted = False
        self._is_full = False
        self.attached = False
        self.version = wire.OLDEST
        self._messages: list[tuple[object, ...]] = []
        self._out = bytearray(greeting)
        epoll.register(sock.fileno(), select.EPOLLIN)

    @property
    def fd(self) -> int:
        return self._sock.fileno()

    @property
    def is_open(self) -> bool:
        return self.fd >= 0

    @property
    def has_news(self) -> bool:
        """Whether messages wait that nobody has tried to send yet."""
        return bool(self._messages)

    def push(self, message: tuple[object, ...]) -> None:
        if self.attached:
            self._messages.append(message if self.version > wire.OLDEST else wire.for_oldest(message))

    def receive(self) -> list[tuple[object, ...]]:
        """Messages that have come; closes itself when the daemon is gone or breaks the protocol."""
        messages: list[tuple[object, ...]] = []
        try:
            while data := self._sock.recv(_READ_BYTES):
                for body in self._frames.feed(data):
                    if self._greeted:
                        messages += wire.unpack(body)
                    else:
                        self._greet(body)
                if len(data) < _READ_BYTES:
                    return messages
            self.close()
        except BlockingIOError:
            pass
        except (OSError, wire.ProtocolError) as error:
            note(f"connection of the daemon closed: {error}")
            self.close()
        return messages

    def flush(self) -> None:
        """Send what waits, as far as the daemon takes it."""
        if not self.is_open:
            return
        if self._messages:
            self._out += wire.pack(self._messages)
            self._messages = []
        if not self._out:
            return
        try:
            sent = self._sock.send(self._out)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._out[:sent]
        if len(self._out) > _MAX_BACKLOG_BYTES:
            # Nothing is lost: the daemon gets a whole inventory when it comes back.
            self.close()
            return
        if bool(self._out) != self._is_full:
            self._is_full = not self._is_full
            self._epoll.modify(self.fd, select.EPOLLIN | select.EPOLLOUT if self._is_full else select.EPOLLIN)

    def close(self) -> None:
        self.attached = False
        self._sock.close()

    def _greet(self, body: bytes) -> None:
        oldest, newest = wire.versions(wire.parse_hello(body))
        self.version = wire.common(oldest, newest)
        if not self.version:
            raise wire.ProtocolError(
                f"the daemon speaks protocol {newest}, this supervisor {wire.OLDEST} to {wire.NEWEST}"
            )
        self._greeted = True
        self.attached = True
