"""The supervisor's loop: orders in, commands spawned, drained, reaped and ended, results out."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

from node.supervisor import wire
from node.supervisor.attempt import NEVER, Order, UnknownFields, boot_us
from node.supervisor.channel import Channel
from node.supervisor.commands import Commands
from node.supervisor.family import Family
from node.supervisor.guests import Guests
from node.supervisor.handover import NoHandOver, Trial, become
from node.supervisor.inventory import inventory
from node.supervisor.journal import Journal
from node.supervisor.log import note
from node.supervisor.place import Place
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
_TOO_NEW = (
    "The supervisor of this node is of an older release and does not know all that the task asks for. "
    "Restart the daemon there: it then brings its supervisor up to date."
)


class Supervisor:
    """Runs until it is told to quit and its last command has ended."""

    def __init__(
        self,
        place: Place,
        listener: socket.socket,
        journal: Journal,
        family: Family,
        spawner: Spawner,
        greeting: bytes,
        state: dict[str, object] | None = None,
    ) -> None:
        """`state` is that of an earlier program of this process. Raises LookupError, TypeError or ValueError."""
        self._place = place
        self._listener = listener
        self._journal = journal
        self._epoll = select.epoll()
        self._channel: Channel | None = None
        self._guests = Guests(listener, self._epoll, greeting)
        self._waiting = Waiting()
        self._commands = Commands(
            place,
            self._epoll,
            journal,
            family,
            spawner,
            self._waiting,
            self._send,
            state and state["commands"],  # type: ignore[arg-type]
        )
        self._lost = set(journal.marks) - set(journal.results)
        self._told_us = 0
        self._tell_us = NEVER
        self._delayed = False
        self._failures = 0
        self._quit_signals = 0
        self._quitting = 0
        self._trial: Trial | None = None
        self._wake_fd = wake_fd(self._on_quit_signal)
        if state is not None:
            self._restore(state)

    @property
    def descriptors(self) -> list[int]:
        """All that another program of this process needs."""
        own = [self._place.lock, self._listener.fileno(), self._journal.descriptor]
        return own + self._commands.descriptors

    def _state(self) -> dict[str, object]:
        return {
            "place": self._place.state(),
            "listener": self._listener.fileno(),
            "journal": self._journal.state(),
            "waiting": self._waiting.state(),
            "commands": self._commands.state(),
            "lost": list(self._lost),
            "delayed": self._delayed,
            "quit_signals": self._quit_signals,
            "quitting": self._quitting,
        }

    def _restore(self, state: dict[str, object]) -> None:
        running = [attempt.order for attempt in self._commands.attempts.values()]
        self._waiting.restore(state["waiting"], running)  # type: ignore[arg-type]
        self._lost = set(state["lost"])  # type: ignore[call-overload]
        self._delayed = state["delayed"]  # type: ignore[assignment]
        self._quit_signals += state["quit_signals"]  # type: ignore[operator]
        self._quitting = state["quitting"]  # type: ignore[assignment]

    def run(self) -> None:
        """Serve until told to quit."""
        self._guests.listen()
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._commands.resume()
        while not (self._quitting and not self._commands.attempts):
            events = self._epoll.poll(self._timeout_s())
            if not events and self._is_idle() and not self._is_reachable():
                return
            self._survive(events)
        self._flush()
        self._commands.close()

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
        return os.path.exists(f"{self._place.folder}/{wire.SOCKET}")

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
        if self._commands.behind:
            self._commands.catch_up()
        self._start_waiting()
        if self._trial is not None:
            self._watch_trial(self._trial, now_us)
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
        if self._commands.behind:
            return 0
        due_us = min(self._commands.wake_us, self._tell_us, self._waiting.next_us())
        if self._trial is not None:
            due_us = min(due_us, self._trial.deadline_us)
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
            except (TypeError, ValueError, LookupError) as error:
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
            for key, cause, kill_timeout_us, *_ in rest[0]:  # type: ignore[attr-defined]
                self._stop(key, cause, kill_timeout_us)
        elif kind == "configure":
            slots, self._commands.cap_bytes = rest[:2]  # type: ignore[assignment]
            self._waiting.configure(slots)  # type: ignore[arg-type]
        elif kind == "quit":
            self._quit_signals += 1
        elif kind == "hand_over":
            self._try_program(rest[0])  # type: ignore[arg-type]
        else:
            note(f"message {kind!r} is not known")

    def _send(self, *message: object) -> None:
        if self._channel is not None:
            self._channel.push(message)

    def _take_orders(self, orders: list[tuple[object, ...]]) -> None:
        for values in orders:
            key = str(values[0])
            known = key in self._waiting or key in self._commands.attempts or key in self._journal.marks
            if known or self._quitting:
                continue
            try:
                self._waiting.add(Order(values))
            except UnknownFields:
                self._commands.refuse(key, _TOO_NEW)

    def _renew(self, ends: list[tuple[str, int, int]]) -> None:
        for key, end_us, start_before_us, *_ in ends:
            attempt = self._commands.attempts.get(key)
            if attempt is not None:
                attempt.order.lease_end_us = end_us
                self._commands.wake_us = min(self._commands.wake_us, attempt.next_us())
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

    def _try_program(self, program: list[str]) -> None:
        """Become `program` once that has shown that it can take over."""
        try:
            if self._trial is not None or self._quitting:
                raise NoHandOver("another hand-over or its end is under way")
            self._trial = Trial(program, self._state())
            self._commands.reaper.expect(self._trial.pid)
        except NoHandOver as refusal:
            self._stay(refusal)

    def _watch_trial(self, trial: Trial, now_us: int) -> None:
        status = self._commands.reaper.ended_helper(trial.pid)
        if status is None:
            if now_us >= trial.deadline_us:
                os.kill(trial.pid, signal.SIGKILL)  # it is not reaped yet, so the number is still its own
                trial.deadline_us = NEVER
            return
        self._trial = None
        try:
            trial.conclude(status)
            self._flush()
            note(f"this program hands over to {trial.program[-1]}")
            become(trial.program, self._place.data, self._state(), self.descriptors)
        except NoHandOver as refusal:
            self._stay(refusal)

    def _stay(self, refusal: NoHandOver) -> None:
        note(f"this program goes on: {refusal}")
        self._send("stays", str(refusal))
