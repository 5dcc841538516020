"""`run` in the foreground: its streams, its end, and whether anybody still takes them."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from node.drivers.container.engine import telling_line

_CHUNK_BYTES = 64 * 1024
_KEPT_BYTES = 8 * 1024


class Deserted(Exception):
    """Nobody reads this driver's output any more: its supervisor is gone."""


class Attached:
    """The engine's client, whose stdout is the task's; its stderr passes through here, since the engine's own
    complaints are in it.
    """

    def __init__(self, program: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [program, "run", *arguments],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        self._pipe = self._process.stderr.fileno()
        os.set_blocking(self._pipe, False)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        self._poll.register(self._pidfd, select.POLLIN)
        for fd in (1, 2):
            self._poll.register(fd, 0)
        self._open = True
        self._tail = b""
        self._deserted = False

    @property
    def said(self) -> str:
        """The line of stderr that tells most of a failure."""
        return telling_line(self._tail)

    @property
    def all_of_it(self) -> str:
        """What was written to stderr, where that is no more than a line or so."""
        return self._tail.decode("utf-8", "replace").strip() if len(self._tail) < _KEPT_BYTES else ""

    def wait(self, until_s: float, look: Callable[[], float] | None = None) -> int | None:
        """The exit code; None when it is not there by `until_s`, on the monotonic clock.

        `look` is called now and then, and says after how many seconds next. Raises Deserted, once.
        """
        next_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            if look is not None and now_s >= next_s:
                next_s = now_s + look()
            if now_s >= until_s:
                return None
            due_s = min(until_s, next_s) if look is not None else until_s
            events = dict(self._poll.poll(min(max(0.0, due_s - now_s), 3600.0) * 1000))
            if self._pipe in events:
                self._pass_on()
            if self._pidfd in events:
                return self._ended()
            if not self._deserted and any(events.get(fd, 0) & select.POLLERR for fd in (1, 2)):
                self._deserted = True
                for fd in (1, 2):
                    self._poll.unregister(fd)
                raise Deserted

    def terminate(self) -> None:
        """Ask the client, which passes it on to the container."""
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """Give it up. What it said last is passed on."""
        self._process.kill()
        self._ended()

    def _ended(self) -> int:
        while self._pass_on():
            pass
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def _pass_on(self) -> bool:
        """Whether there was something."""
        if not self._open:
            return False
        try:
            data = os.read(self._pipe, _CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._poll.unregister(self._pipe)
            self._open = False
            return False
        self._tail = (self._tail + data)[-_KEPT_BYTES:]
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(2, view) :]
            except BrokenPipeError:
                break
        return True
