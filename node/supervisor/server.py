"""The supervisor's loop: orders in, commands spawned, drained, reaped and ended, results out."""

from __future__ import annotations

import os
import select
import socket
import sys

from node.supervisor import wire
from node.supervisor.attempt import NEVER, Order, boot_us
from node.supervisor.channel import Channel
from node.supervisor.commands import Commands
from node.supervisor.family import Family
from node.supervisor.guests import Guests
from node.supervisor.inventory import inventory
from node.supervisor.journal import Journal
from node.supervisor.log import note
from node.supervisor.spawn import Busy, Spawner
from node.supervisor.waiting import Waiting
from node.supervisor.wake import wake_fd

# While more commands wait for a slot, the daemon is told of many at once: each telling costs it a turn of its loop.
_TELL_US = 5_000
# The poll's own clock stands still while the machine is suspended, the leases' clock does not.
_LONGEST_POLL_S = 1.0
_IDLE_POLL_S = 60.0
_MAX_FAILURES = 10
_QUIT_KILL_TIMEOUT_US = 5_000_000


class Supervisor:
    """Runs until it is told to quit and its last command has ended."""

    def __init__(
        self,
        data: str,
        listener: socket.socket,
        journal: Journal,
        family: Family,
        spawner: Spawner,
        greeting: bytes,
    ) -> None:
        self._data = data
        self._journal = journal
        self._epoll = select.epoll()
        self._channel: Channel | None = None
        self._guests = Guests(listener, self._epoll, greeting)
        self._waiting = Waiting()
        self._commands = Commands(data, self._epoll, journal, family, spawner, self._waiting, self._send)
        self._lost = set(journal.marks) - set(journal.results)
        self._told_us = 0
        self._tell_us = NEVER
        self._delayed = False
        self._failures = 0
        self._quit_signals = 0
        self._quitting = 0
        self._wake_fd = wake_fd(self._on_quit_signal)

    def run(self) -> None:
        """Serve until told to quit."""
        self._guests.listen()
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        while not (self._quitting and not self._commands.attempts):
            events = self._epoll.poll(self._timeout_s())
            if not events and self._is_idle() and not self._is_reachable():
                return
            self._survive(events)
        self._flush()

    def _survive(self, events: list[tuple[int, int]]) -> None:
        """One step. An error in it must not leave the commands alone; one that comes back again and again must."""
        try:
            self._step(events)
            self._failures = 0
        except Exception:
            self._failures += 1
            if self._failures >= _MAX_FAILURES:
                raise
            sys.excepthook(*sys.exc_info())

    def _is_idle(self) -> bool:
        connected = self._channel is not None and self._channel.is_open
        return not connected and not self._commands.attempts and not self._waiting

    def _is_reachable(self) -> bool:
        """Whether a daemon can still find its socket: the data folder may have been removed."""
        return os.path.exists(f"{self._data}/supervisor/{wire.SOCKET}")

    def _step(self, events: list[tuple[int, int]]) -> None:
        reap = False
        for fd, _ in events:
            if self._commands.read(fd):
                continue
            if fd == self._wake_fd:
                os.read(fd, 4096)
                reap = True
            elif self._guests.listens_on(fd):
                self._guests.accept()
            elif (guest := self._guests.get(fd)) is not None:
                self._receive(guest)
        if reap:
            self._commands.reap()
        if self._quit_signals > self._quitting:
            self._quit()
        now_us = boot_us()
        if now_us >= self._commands.wake_us:
            self._commands.meet_deadlines(now_us)
        self._start_waiting()
        self._flush()

    def _flush(self) -> None:
        try:
            self._journal.flush()
        except OSError as error:
            # It stays in memory, and the daemon gets it all the same.
            note(f"attempts cannot be written: {error}")
        self._tell()

    def _tell(self) -> None:
        self._tell_us = NEVER
        if self._channel is None:
            return
        if self._channel.has_news:
            now_us = boot_us()
            if len(self._waiting) and self._commands.attempts and now_us < self._told_us + _TELL_US:
                self._tell_us = self._told_us + _TELL_US
                return
            self._told_us = now_us
        self._channel.flush()

    def _timeout_s(self) -> float:
        due_us = min(self._commands.wake_us, self._tell_us, self._waiting.next_us())
        if due_us >= NEVER:
            return _IDLE_POLL_S if self._is_idle() else -1
        return min(max(0.0, (due_us - boot_us()) / 1e6), _LONGEST_POLL_S)

    def _on_quit_signal(self, *_: object) -> None:
        self._quit_signals += 1

    def _receive(self, channel: Channel) -> None:
        attached = channel.attached
        messages = channel.receive()
        if not channel.is_open:
            self._guests.dismiss(channel)
        elif channel.attached and not attached:
            if self._channel is not None:
                self._guests.dismiss(self._channel)
            self._channel = channel
            known = inventory(self._waiting, self._commands.attempts, self._journal.results, self._lost)
            channel.push(("inventory", known))
            for attempt in self._commands.attempts.values():
                attempt.said.clear()
            self._commands.wake_us = 0
        for message in messages:
            try:
                self._handle(message)
            except (TypeError, ValueError, KeyError) as error:
                note(f"message {message[0]!r} not understood: {error!r}")

    def _handle(self, message: tuple[object, ...]) -> None:
        kind, rest = message[0], message[1:]
        if kind == "spawn":
            self._take_orders(rest[0])  # type: ignore[arg-type]
        elif kind == "renew":
            self._renew(rest[0])  # type: ignore[arg-type]
        elif kind == "forget":
            self._forget(rest[0])  # type: ignore[arg-type]
        elif kind == "recall":
            for key in rest[0]:  # type: ignore[attr-defined]
                self._send("recalled", key, self._waiting.drop(key))
        elif kind == "stop":
            for key, cause, kill_timeout_us in rest[0]:  # type: ignore[attr-defined]
                self._stop(key, cause, kill_timeout_us)
        elif kind == "configure":
            slots, self._commands.cap_bytes = rest  # type: ignore[assignment]
            self._waiting.configure(slots)  # type: ignore[arg-type]
        elif kind == "quit":
            self._quit_signals += 1

    def _send(self, *message: object) -> None:
        if self._channel is not None:
            self._channel.push(message)

    def _take_orders(self, orders: list[tuple[object, ...]]) -> None:
        for values in orders:
            order = Order(values)
            key = order.key
            known = key in self._waiting or key in self._commands.attempts or key in self._journal.marks
            if not known and not self._quitting:
                self._waiting.add(order)

    def _renew(self, ends: list[tuple[str, int, int]]) -> None:
        for key, end_us, start_before_us in ends:
            attempt = self._commands.attempts.get(key)
            if attempt is not None:
                attempt.order.lease_end_us = end_us
            else:
                self._waiting.renew(key, end_us, start_before_us)

    def _forget(self, keys: list[str]) -> None:
        for key in keys:
            attempt = self._commands.attempts.get(key)
            if attempt is not None:
                attempt.forgotten = True
                self._stop(key, wire.CAUSE_CANCEL, attempt.order.kill_timeout_us)
            else:
                self._waiting.drop(key)
            self._lost.discard(key)
        self._journal.forget([key for key in keys if key not in self._commands.attempts])

    def _start_waiting(self) -> None:
        """Start what the slots allow; marks are written before."""
        while not self._quitting and (batch := self._waiting.next_batch(boot_us())):
            for order in batch:
                self._journal.mark(order.key, boot_us())
            try:
                self._journal.flush()
            except OSError as error:
                self._put_back(batch, f"start marks cannot be written: {error.strerror}")
                return
            for position, order in enumerate(batch):
                try:
                    self._commands.start(order)
                except Busy as busy:
                    self._put_back(batch[position:], str(busy))
                    return
            self._delayed = False

    def _put_back(self, orders: list[Order], why: str) -> None:
        """The machine is short of something: these wait, they have not failed."""
        for order in orders:
            self._journal.unmark(order.key)
        self._waiting.put_back(orders, boot_us())
        if not self._delayed:
            self._delayed = True
            self._send("delayed", why)

    def _stop(self, key: str, cause: int, kill_timeout_us: int) -> None:
        attempt = self._commands.attempts.get(key)
        if attempt is not None:
            self._commands.stop(attempt, cause, kill_timeout_us)
        elif self._waiting.drop(key):
            self._send("recalled", key, True)

    def _quit(self) -> None:
        """End all commands, which can run elsewhere; the second time at once."""
        self._quitting = self._quit_signals
        for key in self._waiting:
            self._waiting.drop(key)
        kill_timeout_us = _QUIT_KILL_TIMEOUT_US if self._quitting == 1 else 0
        for key, attempt in list(self._commands.attempts.items()):
            self._stop(key, wire.CAUSE_MIGRATE, min(kill_timeout_us, attempt.order.kill_timeout_us))
