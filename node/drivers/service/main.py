"""python -m node.drivers.service COMMAND...: keeps a service running, and tells when it is ready."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from node.drivers.kit import Desk
from node.drivers.service.box import Box, Start
from node.drivers.service.life import End, Life
from node.drivers.service.signals import Signals, die_by
from node.payloads.service import Service

_PRIVATE = ("CORTEX_ORDER", "CORTEX_EVENTS", "CORTEX_VERDICT")
# What another try would not change.
_NO_USE = ("cannot_start",)
_TIMES = {1: "once", 2: "twice"}
_WORDS = {"never": (), "on_failure": ("failed",), "always": ("failed", "done")}


class Keeper:
    """Starts the command, again where the policy says so, and ends as its last life did."""

    def __init__(self, desk: Desk, order: dict[str, Any], argv: Sequence[bytes], signals: Signals) -> None:
        self._desk = desk
        self._service = msgspec.convert(order["service"], Service)
        self._kill_timeout_s = float(order["kill_timeout_s"])
        self._argv = argv
        box = order.get("box")
        self._start = Start(argv, msgspec.convert(box, Box) if box else None)
        self._signals = signals
        self._restarts = 0
        self._all_restarts = 0

    def run(self) -> NoReturn:
        """Does not return."""
        while True:
            end = self._live()
            self._signals.settle()
            if self._signals.stopped:
                # A service that ends in order because it was told to has not done its work.
                self._die(signal.SIGTERM)
            if end.ready_s >= self._service.restart.reset_after_s:
                self._restarts = 0
            if not self._begins_again(end):
                self._end(end)
            self._pause(end)

    def _live(self) -> End:
        try:
            life = Life(self._service, self._start, self._kill_timeout_s, self._signals, self._ready)
        except OSError as error:
            name = os.fsdecode(self._argv[0])
            cause = "not_found" if isinstance(error, (FileNotFoundError, NotADirectoryError)) else "validation"
            hint = f"Its PATH is {os.environ.get('PATH', '')}." if "/" not in name else "Correct the command."
            self._desk.fail(cause, f"Command {name[:200]} cannot be run: {error.strerror}. {hint}", code=127)
        return life.run()

    def _ready(self, endpoints: dict[str, str]) -> None:
        self._desk.ready(endpoints)
        if self._all_restarts:
            self._tell(f"Ready again after restart {self._restarts}.", starting=False)

    def _begins_again(self, end: End) -> bool:
        restart = self._service.restart
        kind = "failed" if end.cause or end.code else "done"
        if end.cause in _NO_USE:
            return False
        return kind in _WORDS[restart.policy] and self._restarts < restart.max_restarts

    def _pause(self, end: End) -> None:
        restart = self._service.restart
        delay_s = min(restart.max_backoff_s, restart.backoff_s * 2 ** min(self._restarts, 30))
        self._restarts += 1
        self._all_restarts += 1
        message = f"{_said(end)} Restart {self._restarts} of {restart.max_restarts} in {delay_s:g} s."
        self._tell(message, starting=True)
        until = time.monotonic() + delay_s
        while (left := until - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self._signals.fd, select.POLLIN)
            poll.poll(left * 1000 + 1)
            self._signals.take()
            if self._signals.stopped:
                self._die(signal.SIGTERM)

    def _tell(self, message: str, *, starting: bool) -> None:
        self._desk.progress(self._restarts, self._service.restart.max_restarts, message, starting=starting)

    def _end(self, end: End) -> NoReturn:
        if end.code < 0 and not end.cause:
            self._die(-end.code)
        if not end.cause and not end.code:
            sys.exit(0)
        count = self._all_restarts
        again = f" It was restarted {_TIMES.get(count, f'{count} times')} before." if count else ""
        self._desk.verdict(end.cause or "exit", _said(end) + again)
        sys.exit(end.code if end.code > 0 else 1)

    def _die(self, number: int) -> NoReturn:
        die_by(number)
        sys.exit(128 + number)


def _said(end: End) -> str:
    if end.sentence:
        return end.sentence
    if end.code < 0:
        return f"The service was killed by signal {-end.code}."
    return f"The service ended with exit code {end.code}."


def main() -> NoReturn:
    signals = Signals()
    desk = Desk(os.environ)
    order = desk.order()
    for name in _PRIVATE:
        os.environ.pop(name, None)
    Keeper(desk, order, [os.fsencode(part) for part in sys.argv[1:]], signals).run()
