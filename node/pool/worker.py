"""A worker of the pool: a process that runs one handler after the other and knows nothing but their data."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import inspect
import json
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from node.pool import wire
from node.pool.api import Cancelled, Context, Reschedule, RetryAt, ValidationError
from node.pool.leftovers import left
from node.pool.meter import Meter
from node.pool.registry import CannotLoad, Handler, load

DOCUMENT_LIMIT_BYTES = 16 * 1024
_PROGRESS_S = 0.2
_MESSAGE_CHARS = 200
_ERROR_CHARS = 500
_DEPTH_LIMIT = 100
_LONGEST_S = 86_400.0
_PR_SET_PDEATHSIG = 1


class Wire:
    """The worker's end of the socket: messages are whole, whichever thread sends them, whatever interrupts it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._inbox = wire.Inbox()
        self._lock = threading.Lock()
        self.task = ""
        self._progress: wire.Message | None = None
        self._progress_s = 0.0
        self._sending = False
        self._interrupted = False
        self._cut = False

    def cut(self) -> None:
        """In a process that a handler forked: what it says is not the worker's word."""
        self._cut = True
        self._sock.close()

    def next(self) -> tuple[wire.Message, list[int]] | None:
        """The next message with its descriptors; None when the host is gone."""
        while True:
            for body in self._inbox.frames():
                return wire.decoded(body), self._inbox.take_fds()
            try:
                if not self._inbox.receive(self._sock):
                    return None
            except ConnectionError:
                return None

    def is_cancelled(self) -> bool:
        """Whether the task was to end before it began."""
        with suppress(BlockingIOError):
            self._inbox.receive(self._sock, socket.MSG_DONTWAIT)
        said = [wire.decoded(body) for body in self._inbox.frames()]
        return any(one.get("kind") == wire.CANCEL and one.get("task") == self.task for one in said)

    def send(self, message: wire.Message) -> None:
        """Raises Cancelled when that was asked for meanwhile."""
        if self._cut:
            return
        main = threading.current_thread() is threading.main_thread()
        if main:
            self._sending = True
        try:
            with self._lock:
                self._sock.sendall(wire.encoded(message))
        finally:
            if main:
                self._sending = False
        if main and self._interrupted:
            self._interrupted = False
            raise Cancelled

    def interrupt(self) -> None:
        """In a signal handler: raise Cancelled, now or when the message that is being sent is whole."""
        if self._sending:
            self._interrupted = True
        else:
            raise Cancelled

    def calm(self) -> None:
        """The task is over: nothing interrupts any more."""
        self._interrupted = False

    def progress(self, current: int, total: int, message: str) -> None:
        told = {"current": current, "total": total, "message": message[:_MESSAGE_CHARS]}
        self._progress = {"kind": wire.PROGRESS, "task": self.task, **told}
        now_s = time.monotonic()
        if now_s - self._progress_s >= _PROGRESS_S:
            self._progress_s = now_s
            self.flush()

    def flush(self) -> None:
        """Tell the last progress, if it was not told."""
        message, self._progress = self._progress, None
        if message is not None:
            self.send(message)

    def output(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    def beat(self) -> None:
        """Tell that the interpreter is alive. Runs as a thread of its own."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        while True:
            time.sleep(wire.HEARTBEAT_S)  # the beat itself: nothing is waited for
            try:
                self.flush()
                self.send({"kind": wire.HEARTBEAT})
            except OSError:
                return


class Worker:
    def __init__(self, link: Wire, handlers: dict[str, Handler], modules: Sequence[str], most: int) -> None:
        self._link = link
        self._modules = modules
        self._left = False
        self._handlers = handlers
        self._most = most
        self._done = 0
        self._context: Context | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._awaited: asyncio.Task[Any] | None = None
        self._idle_output = os.dup(2)
        self._streams = (sys.stdout, sys.stderr)
        self._is_copy = False

    def serve(self) -> int:
        os.register_at_fork(after_in_child=self._forked)
        beat = threading.Thread(target=self._link.beat, name="heartbeat", daemon=True)
        beat.start()
        while True:
            self._link.send({"kind": wire.READY, "handlers": list(self._handlers), "pid": os.getpid()})
            while (order := self._link.next()) is not None and order[0].get("kind") != wire.RUN:
                pass
            if order is None:
                return 0
            self._done += 1
            end = self._run(*order)
            end["last"] = self._done == self._most or self._streams_changed() or self._left
            self._link.send(end)
            if end["last"]:
                return 0

    def _run(self, order: wire.Message, fds: list[int]) -> wire.Message:
        """The message that says how it ended."""
        task = self._link.task = str(order["task"])
        before = threading.enumerate()
        self._link.send({"kind": wire.CLAIM, "task": task})
        meter = Meter()
        try:
            self._enter(order, fds)
            end = self._judged(order)
            if self._is_copy:
                self._end_copy(end)
            end["usage"] = meter.usage()
        except OSError as error:
            end = _failed("infrastructure", f"Its folder or its output is not there: {error}.")
        finally:
            self._context = None
            self._link.calm()
            self._look_back(order, before)
            self._leave()
        self._link.flush()
        return end | {"task": task}

    def _forked(self) -> None:
        """In a process that a handler made of this one: it is no worker, and dies as others do."""
        self._is_copy = True
        self._link.cut()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _end_copy(self, end: wire.Message) -> NoReturn:
        """A handler returned in a process that it forked."""
        for stream in self._streams:
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(0 if end["kind"] == wire.COMPLETED else 1)

    def _look_back(self, order: wire.Message, before: Sequence[threading.Thread]) -> None:
        """See what the handler left while what is written is still the task's."""
        found = left(before, self._modules)
        self._left = bool(found)
        if found:
            with suppress(OSError, ValueError):
                self._link.output(
                    f"cortex: handler {order['handler']} left {found} behind: its worker is replaced."
                )

    def _streams_changed(self) -> bool:
        """Whether the next handler would not find stdout and stderr as they were."""
        return (sys.stdout, sys.stderr) != self._streams or any(stream.closed for stream in self._streams)

    def _judged(self, order: wire.Message) -> wire.Message:
        name = str(order["handler"])
        function = self._handlers.get(name)
        if function is None:
            return _failed("not_found", f"There is no handler {name} here.")
        env = {str(key): str(value) for key, value in order["env"].items()}
        context = Context(str(order["task"]), int(order["run"]), int(order["attempt"]), env, self._link)
        data = order["data"]
        try:
            inspect.signature(function).bind(context, **data)
        except TypeError as error:
            return _failed("validation", f"Handler {name} cannot be given this data: {error}.")
        try:
            self._context = context
            if self._link.is_cancelled():
                context.cancelled = True
                raise Cancelled
            result = self._call(function, context, data)
            self._context = None
            return _completed(name, result)
        except BaseException as error:
            self._context = None
            return _sure_end_of(name, error, context)

    def _call(self, function: Handler, context: Context, data: dict[str, Any]) -> Any:
        result = function(context, **data)
        if not inspect.iscoroutine(result):
            return result
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                return runner.run(self._waiting(result))
        except asyncio.CancelledError:
            if context.cancelled:
                raise Cancelled from None
            raise
        finally:
            self._loop = self._awaited = None

    async def _waiting(self, coroutine: Any) -> Any:
        self._awaited = asyncio.current_task()
        return await coroutine

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        if self._context is None or self._context.cancelled:
            return
        self._context.cancelled = True
        if self._loop is None:
            self._link.interrupt()
        elif self._awaited is not None:
            self._loop.call_soon_threadsafe(self._awaited.cancel)

    def _enter(self, order: wire.Message, fds: list[int]) -> None:
        """Its output, folder and environment are the task's. Raises OSError."""
        if len(fds) != wire.PIPES:
            raise OSError("there was no descriptor for its pipes")
        for fd, own in zip(fds, (1, 2), strict=False):
            os.dup2(fd, own)
            os.close(fd)
        os.environ.clear()
        os.environ.update(order["env"])
        os.chdir(str(order["cwd"]))
        # Whatever the handler before did with it.
        signal.signal(signal.SIGTERM, self._on_term)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _leave(self) -> None:
        """Let go of what is the task's: its pipes end with the last that holds them."""
        for stream in (sys.stdout, sys.stderr):
            # Perhaps nobody reads it any more, or the handler closed it.
            with suppress(OSError, ValueError):
                stream.flush()
        for own in (1, 2):
            os.dup2(self._idle_output, own)
        os.chdir("/")
        signal.setitimer(signal.ITIMER_REAL, 0)


def _completed(name: str, result: Any) -> wire.Message:
    try:
        document = json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return _failed("validation", f"Handler {name} returned what is not valid JSON: {error}. Return plain data.")
    if len(document) > DOCUMENT_LIMIT_BYTES:
        message = f"Handler {name} returned {len(document)} bytes, the limit is {DOCUMENT_LIMIT_BYTES}."
        return _failed("validation", f"{message} Write them to a file and return its name.")
    if document.count("[") + document.count("{") > _DEPTH_LIMIT and _is_deep(document):
        return _failed("validation", f"Handler {name} returned lists in lists for more than {_DEPTH_LIMIT} levels.")
    return {"kind": wire.COMPLETED, "result": result}


def _is_deep(document: str) -> bool:
    """Whether others, who have less of a stack left, might not read it."""
    depth = deepest = 0
    for sign in re.findall(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', document):
        depth += (sign in ("[", "{")) - (sign in ("]", "}"))
        deepest = max(deepest, depth)
    return deepest > _DEPTH_LIMIT


def _sure_end_of(name: str, error: BaseException, context: Context) -> wire.Message:
    """_end_of(), whatever the exception does when it is asked for its words."""
    try:
        return _end_of(name, error, context)
    except Exception:
        return _failed("exit", f"Handler {name} raised {type(error).__name__}, which does not say why.")


def _end_of(name: str, error: BaseException, context: Context) -> wire.Message:
    """What became of a task whose handler raised `error`."""
    said = str(error).strip()[:_ERROR_CHARS]
    if isinstance(error, Cancelled):
        to = "cancelled" if context.cancelled else "cancel"
        reason = f"Handler {name} cancelled it: {said}." if said else f"Handler {name} cancelled it."
        return {"kind": wire.STATE_CHANGE, "to": to, "reason": reason}
    if isinstance(error, RetryAt):
        reason = f"Handler {name} puts it off: {said}."
        # No number of seconds is asked for by what is none.
        after_ms = int(min(error.seconds, _LONGEST_S) * 1000) if error.seconds > 0 else 0
        return {"kind": wire.STATE_CHANGE, "to": "retry", "after_ms": after_ms, "reason": reason}
    if isinstance(error, Reschedule):
        return {"kind": wire.STATE_CHANGE, "to": "reschedule", "reason": f"Handler {name} gives it back: {said}."}
    if isinstance(error, SystemExit):
        if error.code is None or error.code == 0:
            return {"kind": wire.COMPLETED, "result": None}
        code = error.code & 0xFF if isinstance(error.code, int) else 1
        return _failed("exit", f"Handler {name} exited: {said}.", code or 1)
    trace = error.__traceback__
    own = [frame.tb_next for frame in (trace, trace.tb_next if trace else None) if frame is not None]
    traceback.print_exception(type(error), error, own[-1] if own else trace)
    cause = "validation" if isinstance(error, ValidationError) else "exit"
    if isinstance(error, MemoryError):
        cause, said = "oom", said or "there was no more memory for it"
    return _failed(
        cause, f"Handler {name} raised {type(error).__name__}: {said}"[:_ERROR_CHARS].rstrip(".: ") + "."
    )


def _failed(cause: str, error: str, code: int = 1) -> wire.Message:
    return {"kind": wire.FAILED, "cause": cause, "error": error, "code": code}


def _pass_over(_number: int, _frame: FrameType | None) -> None:
    """A signal that is not meant for the worker."""


def main(fd: int, text: str) -> int:
    """Serve the host at the other end of `fd` until it closes it."""
    config = json.loads(text)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    wire.adopt_orphans()
    if os.getppid() != config["host"]:
        return 1  # it died before that was set
    wire.reset_signals()
    # Not ignored: what a handler starts would ignore it, too.
    signal.signal(signal.SIGINT, _pass_over)
    signal.signal(signal.SIGTERM, _pass_over)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(config["nice"])
    if config["memory_mb"]:
        resource.setrlimit(resource.RLIMIT_DATA, (config["memory_mb"] << 20, config["memory_mb"] << 20))
    faulthandler.enable(2)
    os.set_inheritable(fd, False)
    os.chdir("/")
    link = Wire(socket.socket(fileno=fd))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    path: Sequence[str] = config["path"]
    sys.path[0:0] = path
    try:
        handlers = load(config["modules"])
    except CannotLoad as error:
        link.send({"kind": wire.FAILED, "error": str(error)})
        return 1
    return Worker(link, handlers, config["modules"], config["tasks"]).serve()
