"""A task as the pool's host holds it: its order, the files of its attempt, and the driver that waits for it."""

from __future__ import annotations

import json
import os
import select
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from node.events import Events
from node.pool import wire

_KILL_TIMEOUT_MS = 5_000
_MARGIN_S = 1.0


class Desk:
    """What a driver opened with: where it stands, its environment, its two pipes."""

    def __init__(self, sock: socket.socket, cwd: str, env: dict[str, str], fds: list[int]) -> None:
        """Raises OSError, KeyError, ValueError or TypeError when they are not those of a driver."""
        self.sock = sock
        self.cwd = cwd
        self.env = env
        self.fds = fds
        self.task = env["CORTEX_TASK"]
        self._events = Events(Path(env["CORTEX_EVENTS"]))
        self._verdict = Path(env["CORTEX_VERDICT"])
        order = json.loads(Path(env["CORTEX_ORDER"]).read_bytes())
        self.handler = str(order["handler"])
        self.data: dict[str, Any] = dict(order["data"])
        kill_timeout_s = int(order.get("kill_timeout_ms", _KILL_TIMEOUT_MS)) / 1000
        self.patience_s = max(kill_timeout_s - _MARGIN_S, kill_timeout_s / 2)
        """How long the handler may take to end before its worker is killed: sooner than the supervisor kills."""
        self.usage: object = None
        """What the worker says that it used; None where it did not."""
        self.cancelled = False
        self.over = False
        self.tries = 0
        """Workers that it was given to."""

    def run_message(self) -> wire.Message:
        hidden = ("CORTEX_ORDER", "CORTEX_EVENTS", "CORTEX_VERDICT")
        return {
            "kind": wire.RUN,
            "task": self.task,
            "run": int(self.env.get("CORTEX_RUN", "1")),
            "attempt": int(self.env.get("CORTEX_ATTEMPT", "0")),
            "handler": self.handler,
            "data": self.data,
            "env": {name: value for name, value in self.env.items() if name not in hidden},
            "cwd": self.cwd,
        }

    def progress(self, message: wire.Message) -> None:
        told = {name: message.get(name) for name in ("current", "total", "message")}
        # Its attempt may be over and its folder gone.
        with suppress(OSError):
            self._events.tell("progress", told)

    def say(self, text: str) -> None:
        """A line of the task's stderr, unless nobody can take it now."""
        if len(self.fds) == 2 and select.select([], [self.fds[1]], [], 0)[1]:
            with suppress(OSError):
                os.write(self.fds[1], f"{text}\n".encode("utf-8", "backslashreplace"))

    def succeed(self, document: object) -> None:
        self._end(0, {"document": document} if document is not None else {})

    def fail(self, cause: str, error: str, *, code: int = 1, retry_after_ms: int = 0) -> None:
        """See node.worker.exchange.CAUSES; `error` is a sentence."""
        self._end(code, {"cause": cause, "error": error, "retry_after_ms": retry_after_ms})

    def _end(self, code: int, verdict: dict[str, Any]) -> None:
        """The driver ends with `code`. Only the first end counts."""
        if self.over:
            return
        self.over = True
        if self.usage is not None:
            verdict["usage"] = self.usage
        # Who wrote into its worker's socket may have said what cannot be written: the exit code has to do.
        with suppress(OSError, RecursionError):
            part = self._verdict.with_suffix(".part")
            part.write_text(json.dumps(verdict))
            part.rename(self._verdict)
        self.let_go()
        with suppress(OSError):
            self.sock.send(bytes([code]))

    def let_go(self) -> None:
        """Of its pipes."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []
