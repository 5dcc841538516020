"""What every driver needs: its order, a way to tell of progress, a verdict, and the stop of its task.

A driver is a command of the supervisor: what it writes to stdout and stderr is the task's output, its exit code the
task's. TERM asks it to end, KILL follows after the task's kill_timeout. The daemon may be restarted under it.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from node.events import Events


class Stopped(BaseException):
    """The supervisor asked the driver to end. Raised in the main thread, once."""


class Desk:
    """The three files of the driver's attempt."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.task = environ.get("CORTEX_TASK", "")
        self.fence = environ.get("CORTEX_FENCE", "0")
        self._order = Path(environ["CORTEX_ORDER"])
        self._events = Events(Path(environ["CORTEX_EVENTS"]))
        self._verdict = Path(environ["CORTEX_VERDICT"])

    def order(self) -> dict[str, Any]:
        found = json.loads(self._order.read_bytes())
        assert isinstance(found, dict)
        return found

    def progress(self, current: int, total: int = 0, message: str = "", *, starting: bool = False) -> None:
        """How far the task is; shown live, the last one counts. `starting`: a service that was ready is not."""
        told: dict[str, object] = {"current": current, "total": total, "message": message[:200]}
        self._events.tell("progress", told | {"starting": True} if starting else told)

    def ready(self, endpoints: Mapping[str, str]) -> None:
        """A service takes requests."""
        self._events.tell("ready", dict(endpoints))

    def verdict(
        self,
        cause: str = "",
        error: str = "",
        *,
        retry_after_ms: int = 0,
        document: object = None,
        left: bool = False,
    ) -> None:
        """How it ended, beside the exit code: see node.worker.exchange.CAUSES. The last one counts.

        `left`: something of it may still be there, for its executor to remove.
        """
        said: dict[str, object] = {"cause": cause, "error": error, "retry_after_ms": retry_after_ms, "left": left}
        if document is not None:
            said["document"] = document
        part = self._verdict.with_suffix(".part")
        part.write_text(json.dumps(said))
        part.rename(self._verdict)

    def fail(self, cause: str, error: str, *, retry_after_ms: int = 0, code: int = 1) -> NoReturn:
        """End with a cause and a sentence, which also goes to stderr."""
        self.verdict(cause, error, retry_after_ms=retry_after_ms)
        print(error, file=sys.stderr, flush=True)  # noqa: T201
        sys.exit(code)


def raise_on_term() -> None:
    """TERM and INT raise Stopped, the first time."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
