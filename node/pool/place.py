"""One place of the pool: the worker that stands there, what it runs, and the next one when it dies."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from node.pool import wire
from node.pool.desk import Desk
from node.pool.loop import Loop, Timer
from node.pool.settings import Settings

_MAIN = Path(__file__).with_name("__main__.py")
_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 30.0
_GRACE_S = 1.0
_SEND_S = 2.0
_OOM_KILLS = "oom_kill "
# Of a worker whose handler wrote into what is not its own.
_NONSENSE = (OSError, wire.Broken, ArithmeticError, LookupError, RecursionError, TypeError, ValueError)
_ENDED = "Handler {} was ended with the pool of its node."


class Place:
    """`changed` is called when a worker is ready or could not start, `returned` with what none began with."""

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        env: Mapping[str, str],
        changed: Callable[[], None],
        returned: Callable[[Desk], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._env = env
        self._changed = changed
        self._returned = returned
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._sock: socket.socket | None = None
        self._inbox = wire.Inbox()
        self._timer: Timer | None = None
        self._killer: Timer | None = None
        self._failures = 0
        self._heard_s = 0.0
        self._began_s = 0.0
        self._oom_kills = 0
        self._leaving = False
        self._silent = False
        self._claimed = False
        self.closed = False
        self.ready = False
        self.handlers: list[str] | None = None
        """None until its first worker was ready."""
        self.trouble = ""
        """Why its worker did not come up, in a sentence; empty when it did or may still."""
        self.desk: Desk | None = None

    @property
    def idle(self) -> bool:
        return self.ready and self.desk is None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Bring a worker up."""
        if self._process is not None or self.closed:
            return
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._not_started(_why_no_worker(error))
            return
        ours.setblocking(False)
        config = {
            "host": os.getpid(),
            "modules": self._settings.modules,
            "path": self._settings.path,
            "memory_mb": self._settings.memory_mb,
            "nice": self._settings.nice,
            "tasks": self._settings.tasks_per_worker,
        }
        argv = [self._settings.interpreter, str(_MAIN), "worker", str(theirs.fileno()), json.dumps(config)]
        try:
            self._process = subprocess.Popen(
                argv, env=self._env, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )
            self._pidfd = os.pidfd_open(self._process.pid)
        except OSError as error:
            ours.close()
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None
            self._not_started(_why_no_worker(error))
            return
        finally:
            theirs.close()
        self._sock, self._inbox = ours, wire.Inbox()
        self.ready = self._leaving = self._silent = False
        self._began_s = self._heard_s = time.monotonic()
        self._loop.read(ours.fileno(), self._hear)
        self._loop.read(self._pidfd, self._died)

    def run(self, desk: Desk) -> None:
        """On an idle one."""
        assert self._sock is not None
        self.desk = desk
        desk.tries += 1
        self._claimed = False
        self._oom_kills = _oom_kills()
        data = wire.encoded(desk.run_message())
        self._sock.settimeout(_SEND_S)
        try:
            # It waits for nothing else, so it takes all of it at once, or is frozen or dying.
            sent = socket.send_fds(self._sock, [data], desk.fds)
            self._sock.sendall(data[sent:])
        except OSError:
            self.kill()
        finally:
            self._sock.setblocking(False)

    def cancel(self, patience_s: float) -> None:
        """Ask what runs to end; the worker is killed when it does not."""
        if self._process is not None and self._killer is None:
            if self._sock is not None and self.desk is not None:
                # A worker that is on its way to the handler does not heed the signal.
                with suppress(OSError):
                    self._sock.send(wire.encoded({"kind": wire.CANCEL, "task": self.desk.task}))
            self._process.send_signal(signal.SIGTERM)
            self._killer = self._loop.later(patience_s, self.kill)

    def kill(self) -> None:
        """With all that is in its session."""
        if self._process is not None and self._process.poll() is None:
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self, patience_s: float) -> None:
        """No worker any more; what runs is asked to end."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self.desk is not None:
            self.cancel(patience_s)
        elif self._sock is not None:
            self._sock.shutdown(socket.SHUT_RDWR)
            if self._killer is None:
                self._killer = self._loop.later(min(_GRACE_S, patience_s), self.kill)

    def check(self, now_s: float) -> None:
        """Kill a worker that is silent, or does not come up."""
        if self._process is None:
            return
        limit_s = self._settings.heartbeat_timeout_s if self.ready else self._settings.start_timeout_s
        if now_s - self._heard_s > limit_s:
            self._silent = True
            if not self.ready:
                self.trouble = f"A worker did not finish its imports in {limit_s:g} s. Raise start_timeout_s."
            self.kill()

    def _hear(self) -> None:
        assert self._sock is not None
        try:
            alive = self._inbox.receive(self._sock)
            for body in self._inbox.frames():
                self._heard_s = time.monotonic()
                self._take(wire.decoded(body))
        except BlockingIOError:
            return
        except _NONSENSE:
            alive = False
        if not alive:
            self._hang_up()
            # One that only closed its socket is of no use; one that dies is not hurt.
            if self._killer is None:
                self._killer = self._loop.later(_GRACE_S, self.kill)

    def _take(self, message: wire.Message) -> None:
        kind = message.get("kind")
        if kind == wire.READY:
            self.ready, self._failures, self.trouble = True, 0, ""
            self.handlers = [str(name) for name in message.get("handlers", [])]
            self._changed()
        elif kind == wire.FAILED and not self.ready:
            self.trouble = str(message.get("error", ""))
        elif self.desk is None or message.get("task") != self.desk.task:
            pass
        elif kind == wire.CLAIM:
            self._claimed = True
        elif kind == wire.PROGRESS:
            self.desk.progress(message)
        elif kind in (wire.COMPLETED, wire.FAILED, wire.STATE_CHANGE):
            self._task_ended(self.desk, message)

    def _task_ended(self, desk: Desk, message: wire.Message) -> None:
        kind, to, reason = message["kind"], message.get("to"), str(message.get("reason", ""))
        # Read before anything is changed: it may be nonsense.
        cause, error = str(message.get("cause", "exit")), str(message.get("error", ""))
        code, after_ms = (int(message.get("code", 1)) & 0xFF) or 1, int(message.get("after_ms", 0))
        self.desk, desk.usage = None, message.get("usage")
        # What comes next from it is that it is ready again, or that it leaves.
        self.ready, self._leaving = False, bool(message.get("last"))
        if self._killer is not None:
            self._killer.cancel()
            self._killer = None
        if self._leaving:
            self._killer = self._loop.later(_GRACE_S, self.kill)
        if kind == wire.COMPLETED:
            desk.succeed(message.get("result"))
        elif kind == wire.FAILED:
            desk.fail(cause, error, code=code)
        elif to == "retry":
            desk.fail("rate_limited", reason, retry_after_ms=after_ms)
        elif to == "reschedule":
            desk.fail("infrastructure", reason)
        elif to == "cancel":
            desk.fail("cancelled", reason)
        elif not desk.cancelled:
            desk.fail("infrastructure", _ENDED.format(desk.handler))
        else:
            desk.fail("exit", f"Handler {desk.handler} was cancelled.", code=128 + signal.SIGTERM)
        if self.closed:
            self.close(_GRACE_S)

    def _died(self) -> None:
        process = self._process
        assert process is not None
        with suppress(*_NONSENSE):
            # What it said last is still there.
            while self._sock is not None and self._inbox.receive(self._sock):
                for body in self._inbox.frames():
                    self._take(wire.decoded(body))
        status = process.wait()
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        self._hang_up()
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        if self._killer is not None:
            self._killer.cancel()
        self._process, self._killer = None, None
        was_ready, self.ready = self.ready, False
        desk, self.desk = self.desk, None
        if desk is not None and (self._claimed or self.closed or desk.cancelled):
            desk.fail(*self._cause(desk, status), code=_code(status))
        elif desk is not None:
            self._returned(desk)
        if was_ready or self._leaving or desk is not None:
            self.start()
        elif not self.closed:
            self._not_started(self.trouble or f"A worker ended while it started: {_status_text(status)}.")
        self._changed()

    def _cause(self, desk: Desk, status: int) -> tuple[str, str]:
        subject = f"Handler {desk.handler}"
        if self.closed and not desk.cancelled:
            return "infrastructure", _ENDED.format(desk.handler)
        if self._silent:
            seconds = self._settings.heartbeat_timeout_s
            return "timeout", f"{subject} let nothing be heard of its worker for {seconds:g} s, which was killed."
        if status == -signal.SIGKILL and _oom_kills() > self._oom_kills and not desk.cancelled:
            return "oom", f"{subject} used more memory than there was: its worker was killed."
        cause = "signal" if status < 0 else "exit"
        return cause, f"{subject} took its worker with it: {_status_text(status)}."

    def _not_started(self, trouble: str) -> None:
        self.trouble = trouble
        delay_s = min(_FIRST_DELAY_S * 2**self._failures, _LONGEST_DELAY_S)
        self._failures += 1
        self._timer = self._loop.later(delay_s, self.start)
        self._changed()

    def _hang_up(self) -> None:
        if self._sock is not None:
            self._loop.forget(self._sock.fileno())
            self._sock.close()
            self._sock = None


def _why_no_worker(error: OSError) -> str:
    short = error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
    remedy = "Raise `ulimit -n` and `-u` of the daemon, or lower `size`" if short else "Correct `interpreter`"
    return f"Its worker cannot be started: {error}. {remedy}."


def _status_text(status: int) -> str:
    """As subprocess has it: an exit status, or a signal's number below zero."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"


def _code(status: int) -> int:
    return (status & 0xFF) or 1 if status >= 0 else (128 - status) & 0xFF


def _oom_kills() -> int:
    """Processes that the kernel ended for lack of memory since it booted, where it counts them."""
    try:
        with open("/proc/vmstat") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(_OOM_KILLS)), 0)
    except OSError:
        return 0
