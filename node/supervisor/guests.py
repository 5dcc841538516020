"""Whoever connects to the supervisor's socket: daemons that come back, and others that only look."""

from __future__ import annotations

import select
import socket

from node.supervisor.channel import Channel

_MOST = 8


class Guests:
    """Connections by descriptor; the oldest leaves when there are too many."""

    __slots__ = ("_channels", "_epoll", "_greeting", "_listener")

    def __init__(self, listener: socket.socket, epoll: select.epoll, greeting: bytes) -> None:
        self._listener = listener
        self._epoll = epoll
        self._greeting = greeting
        self._channels: dict[int, Channel] = {}

    def listen(self) -> None:
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)

    def listens_on(self, fd: int) -> bool:
        return fd == self._listener.fileno()

    def get(self, fd: int) -> Channel | None:
        return self._channels.get(fd)

    def accept(self) -> None:
        """Greet whoever knocked, unless they are gone again."""
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        while len(self._channels) >= _MOST:
            self.dismiss(next(iter(self._channels.values())))
        channel = Channel(sock, self._epoll, self._greeting)
        self._channels[channel.fd] = channel
        channel.flush()

    def dismiss(self, channel: Channel) -> None:
        """Close it and forget it."""
        self._channels = {fd: each for fd, each in self._channels.items() if each is not channel}
        channel.close()
