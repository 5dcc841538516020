"""One life of a service's command: from its start until nothing of its process group is left."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from node.drivers.service.box import Start
from node.drivers.service.checks import Check, CheckFailed, endpoints
from node.drivers.service.pump import Stream, drain
from node.drivers.service.signals import Signals
from node.payloads import patterns
from node.payloads.service import Service

_NEVER = float("inf")
_GROUP_S = 0.05
_TRY_S = 5.0
_VALUE_CHARS = 500
# One that is younger may have been started while the supervisor looked for whom to stop: rather twice than never.
_YOUNG_S = 0.02
# In a sandbox the command begins after what makes it, to which a TERM means nothing. One that speaks has begun.
_YOUNG_IN_BOX_S = 1.0
_OUTPUTS = (1, 2)


@dataclass(frozen=True, slots=True)
class End:
    """How a life ended."""

    status: int  # as of waitpid
    cause: str = ""  # what ended it; empty = the command itself did
    sentence: str = ""
    ready_s: float = 0.0  # how long it was ready; 0 = it never was

    @property
    def code(self) -> int:
        """Exit code, negative for a signal's number."""
        return os.waitstatus_to_exitcode(self.status)


class Life:
    """Runs the command once. `on_ready` gets the endpoints. Raises OSError when it cannot start."""

    def __init__(
        self,
        service: Service,
        start: Start,
        kill_timeout_s: float,
        signals: Signals,
        on_ready: Callable[[dict[str, str]], None],
    ) -> None:
        self._service = service
        self._kill_timeout_s = kill_timeout_s
        self._signals = signals
        self._on_ready = on_ready
        self._begun = time.monotonic()
        self._start = start
        self._pid, sources = start.spawn()
        self._pattern: Any = None
        if service.ready.pattern:
            self._pattern = patterns.compiled("ready.pattern", service.ready.pattern)
        see = self._see if self._pattern is not None else None
        self._streams = [Stream(source, sink, see) for source, sink in zip(sources, _OUTPUTS, strict=True)]
        self._status: int | None = None
        self._stopped = False
        self._cause = self._sentence = ""
        self._kill_at = self._again_at = _NEVER
        self._found: dict[str, str] = {}
        self._check: Check | None = None
        self._check_at = 0.0
        self._refusal = ""
        self._failures = 0
        self._ready_at = _NEVER
        if not service.ready.asks() and self._pattern is None:
            self._ready()

    def run(self) -> End:
        """Until the command and its group are gone."""
        while not self._over():
            self._wait()
            self._heed(self._signals.take())
            self._move()
            now = time.monotonic()
            if not self._stopped:
                self._judge(now)
            elif now >= self._kill_at:
                self._signal(signal.SIGKILL)
            elif now >= self._again_at:
                self._again_at = _NEVER
                self._signal(signal.SIGTERM)
        drain(self._streams)
        self._look_whether_it_began()
        ready_s = max(0.0, time.monotonic() - self._ready_at) if self._ready_at < _NEVER else 0.0
        assert self._status is not None
        return End(self._status, self._cause, self._sentence, ready_s)

    def _over(self) -> bool:
        if self._status is None:
            return False
        try:
            os.killpg(self._pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        if not self._stopped:
            self._stop(tell=True)
        return False

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._signals.fd, select.POLLIN)
        for wanted in filter(None, (stream.wants() for stream in self._streams)):
            poll.register(*wanted)
        due = self._due() - time.monotonic()
        poll.poll(None if due == _NEVER else max(0.0, due) * 1000 + 1)

    def _due(self) -> float:
        """When something is due next."""
        if self._status is not None:
            return time.monotonic() + _GROUP_S
        if self._stopped:
            return min(self._kill_at, self._again_at)
        if self._check is not None:
            # Its answer wakes; this sees that there is none.
            return time.monotonic() + 1.0
        due = _NEVER
        if self._ready_at == _NEVER:
            due = self._begun + self._service.ready.timeout_s
        return min(due, self._check_at) if self._place() is not None else due

    def _heed(self, told: bytes) -> None:
        if b"f" in told or b"t" in told:
            young = time.monotonic() - self._begun < _YOUNG_S
            self._stop(tell=b"f" in told or young)
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._status = status
                self._ended_by_itself()

    def _ended_by_itself(self) -> None:
        if self._stopped or self._ready_at < _NEVER:
            return
        self._cause = "exit"
        self._sentence = "The service ended before it was ready."

    def _look_whether_it_began(self) -> None:
        out, err = (stream.head for stream in self._streams)
        assert self._status is not None
        refusal = self._start.refusal(os.waitstatus_to_exitcode(self._status), out, err)
        if refusal and not self._signals.stopped:
            self._cause, self._sentence = "cannot_start", refusal

    def _move(self) -> None:
        for stream in self._streams:
            # As much as one call may take, so that neither stream waits for the other.
            for _ in range(4):
                if not stream.move():
                    break

    def _see(self, line: bytes) -> None:
        found = self._pattern.search(line) if self._pattern is not None else None
        if found is None:
            return
        groups = ((name.decode(), value) for name, value in found.groupdict().items() if value is not None)
        self._found = {name: value.decode("utf-8", "replace")[:_VALUE_CHARS] for name, value in groups}
        self._pattern = None
        for stream in self._streams:
            stream.see = None

    def _place(self) -> Any:
        """What is to be asked now; None = nothing."""
        service = self._service
        if self._ready_at == _NEVER:
            return service.ready if self._pattern is None and service.ready.asks() else None
        if service.health is None:
            return None
        return service.health if service.health.asks() else service.ready

    def _judge(self, now: float) -> None:
        """Whether it has become ready, or is not any more."""
        if self._ready_at == _NEVER:
            ready = self._service.ready
            if self._pattern is None and (not ready.asks() or self._answered(now, ready.interval_s) == ""):
                self._ready()
            elif now >= self._begun + ready.timeout_s and self._check is None:
                # What was asked last has its answer by now, or its time.
                why = self._refusal or "no line matched ready.pattern"
                sentence = f"The service was not ready within {ready.timeout_s:g} s: {why}."
                self._fail("timeout", sentence)
        elif (health := self._service.health) is not None:
            answer = self._answered(now, health.interval_s)
            if answer is not None:
                self._failures = self._failures + 1 if answer else 0
            if self._failures >= health.failures:
                sentence = f"The service failed {health.failures} health checks in a row, the last by: {answer}."
                self._fail("exit", sentence)

    def _answered(self, now: float, interval_s: float) -> str | None:
        """Ask when it is time to; what was wrong by the last answer, None while there is none."""
        check = self._check
        if check is None:
            if now >= self._check_at:
                timeout_s = self._try_s(now)
                self._check = Check(self._place(), self._found, timeout_s, self._signals.write_fd)
            return None
        if check.answer is None and not check.overdue:
            return None
        self._check = None
        self._check_at = now + interval_s
        answer = "no answer in time" if check.answer is None else check.answer
        self._refusal = answer
        return answer

    def _try_s(self, now: float) -> float:
        if self._ready_at < _NEVER and self._service.health is not None:
            return self._service.health.timeout_s
        return max(0.1, min(_TRY_S, self._begun + self._service.ready.timeout_s - now))

    def _ready(self) -> None:
        self._ready_at = time.monotonic()
        self._check = None
        if self._service.health is not None:
            self._check_at = self._ready_at + self._service.health.interval_s
        places = dict(self._found)
        with suppress(CheckFailed):
            places = endpoints(self._service.ready, self._found)
        self._on_ready(places)

    def _fail(self, cause: str, sentence: str) -> None:
        self._cause, self._sentence = cause, sentence
        self._stop(tell=True)

    def _stop(self, *, tell: bool) -> None:
        """End it; `tell` = nobody else sends TERM to its group."""
        if self._stopped:
            return
        self._stopped = True
        now = time.monotonic()
        self._kill_at = now + self._kill_timeout_s
        speaks = any(stream.head for stream in self._streams)
        if self._start.boxed and not speaks and now < self._begun + _YOUNG_IN_BOX_S:
            self._again_at = self._begun + _YOUNG_IN_BOX_S
        if tell:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)
        if number == signal.SIGKILL:
            self._kill_at = time.monotonic() + _GROUP_S
