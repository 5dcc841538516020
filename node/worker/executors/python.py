"""Python tasks: handlers of configured modules, run in the pool of the data folder (see node/pool/DESIGN.md)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

import msgspec

import node.drivers.python
import node.pool
from cortex.v1.types_pb2 import TaskType
from cortex.v1.worker_pb2 import Assignment
from node.core.faults import Code, Fault
from node.payloads.python import Python, capability
from node.payloads.reading import BadPayload, read
from node.pool import settings as pool_settings
from node.pool import wire
from node.pool.settings import Settings
from node.worker.executors.port import CannotPrepare, Command, Offer, Setup, encoded, task_environment
from node.worker.sandbox.folders import real_folder

_HOST = Path(node.pool.__file__).with_name("__main__.py")
# A file without site: a driver is started for each task.
_DRIVER = [os.fsencode(part) for part in (sys.executable, "-I", "-S", node.drivers.python.__file__)]
_PROBE_S = 30.0
_REPLY_BYTES = 1 << 20
_MEMORY_LIMIT_MB = 1 << 24


class PythonExecutor:
    def __init__(self, setup: Setup) -> None:
        """Raises Fault when `[executor.python]` is wrong."""
        self._environment = setup.environment
        self._inherited = encoded(setup.environment)
        self._data = setup.data
        self._roots = setup.roots
        self._folder = setup.data / wire.FOLDER
        self._settings = settings_of(setup.options)
        self._host: subprocess.Popen[bytes] | None = None

    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_PYTHON

    def probe(self) -> Offer:
        """Start a pool with what its modules are now; an earlier one of this folder ends what it runs and goes."""
        if not self._settings.modules:
            return Offer(False, reason="No modules with handlers are named. Set modules in [executor.python].")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._folder / f"{wire.SETTINGS}.part"
        part.write_text(pool_settings.written(self._settings))
        part.rename(self._folder / wire.SETTINGS)
        with suppress(OSError), closing(self._connect()) as sock:
            sock.sendall(wire.packed(wire.RETIRE))
        self._launch(subprocess.PIPE)
        assert self._host is not None
        assert self._host.stdout is not None
        with self._host.stdout as said:
            first = said.readline().decode("utf-8", "replace").strip()
        if first != wire.READY:
            return Offer(False, reason=first or "The host of the pool ended as it began. See pool/log.")
        return self._ask()

    def prepare(self, assignment: Assignment) -> Command:
        """A host that went for lack of tasks, or died, is started again; that is not waited for."""
        try:
            payload = read(assignment.spec.payload, Python)
        except BadPayload as error:
            raise CannotPrepare(f"The payload of the task is wrong: {error} Submit it again.") from None
        if self._host is None or self._host.poll() is not None:
            self._launch(subprocess.DEVNULL)
        order = {
            "handler": payload.handler,
            "data": payload.data,
            "kill_timeout_ms": assignment.spec.kill_timeout_ms,
        }
        env = task_environment(self._inherited, assignment)
        cwd = assignment.spec.cwd
        place = real_folder(cwd, self._data, self._roots, sandboxed=False) if cwd else ""
        return Command([*_DRIVER, os.fsencode(self._folder)], env, place, msgspec.json.encode(order))

    def _launch(self, stdout: int) -> None:
        argv = [sys.executable, "-I", "-S", str(_HOST), "host", "--data", str(self._data)]
        self._host = subprocess.Popen(
            argv,
            env=self._environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _ask(self) -> Offer:
        """What the host says once its first worker has imported everything."""
        settings = self._settings
        inbox = wire.Inbox()
        bodies: list[bytes] = []
        try:
            with closing(self._connect()) as sock:
                sock.sendall(wire.packed(wire.HELLO))
                sock.settimeout(min(settings.start_timeout_s, _PROBE_S) + 1)
                while not bodies and inbox.receive(sock):
                    bodies += inbox.frames()
            found = wire.decoded(bodies[0])
        except (OSError, IndexError, wire.Broken) as error:
            why = "did not finish their imports in time" if isinstance(error, TimeoutError) else "ended"
            return Offer(False, reason=f"The workers of the pool {why}. See pool/log in the data folder.")
        handlers = [str(name) for name in found["handlers"]]
        if found["trouble"]:
            return Offer(False, reason=str(found["trouble"]))
        if not handlers:
            names = ", ".join(settings.modules)
            return Offer(False, reason=f"No function of {names} is a handler. Mark one with @handler(NAME).")
        detail = f"{settings.size} {settings.mode} workers, handlers {', '.join(handlers)}"
        return Offer(True, detail[:300], slots=settings.size, capabilities=[capability(name) for name in handlers])

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(_PROBE_S)
        # By way of a descriptor: a socket's path is limited to 107 bytes, a data folder's is not.
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{folder}/{wire.SOCKET}")
        except OSError:
            sock.close()
            raise
        finally:
            os.close(folder)
        return sock


def settings_of(options: Mapping[str, object]) -> Settings:
    """The pool that `[executor.python]` describes. Raises Fault."""
    known = {
        "modules", "path", "size", "mode", "interpreter", "max_tasks", "nice", "memory_mb", "heartbeat_timeout_s",
        "start_timeout_s", "stop_timeout_s", "idle_quit_s",
    }  # fmt: skip
    unknown = sorted(set(options) - known)
    if unknown:
        raise _bad(f"has no {unknown[0]!r}", f"Known are {', '.join(sorted(known))}.")
    mode = options.get("mode", pool_settings.WARM)
    if mode not in pool_settings.MODES:
        raise _bad(f"mode is {mode!r}", f"Use {' or '.join(pool_settings.MODES)}.")
    interpreter = options.get("interpreter", sys.executable)
    if not isinstance(interpreter, str) or not interpreter.startswith("/") or not interpreter.isprintable():
        raise _bad(f"interpreter is {interpreter!r}", "Give the full path of a Python, as /opt/env/bin/python.")
    path = _words(options, "path")
    if not all(folder.startswith("/") for folder in path):
        raise _bad("path has a folder that does not begin with /", "Give full paths.")
    return Settings(
        modules=_words(options, "modules"),
        path=path,
        size=_whole(options, "size", len(os.sched_getaffinity(0)), 1, 256),
        mode=str(mode),
        interpreter=interpreter,
        max_tasks=_whole(options, "max_tasks", 1000, 0, 1_000_000_000),
        nice=_whole(options, "nice", 5, 0, 19),
        memory_mb=_whole(options, "memory_mb", 0, 0, _MEMORY_LIMIT_MB),
        heartbeat_timeout_s=_seconds(options, "heartbeat_timeout_s", 30.0, 3.0),
        start_timeout_s=_seconds(options, "start_timeout_s", 60.0, 1.0),
        stop_timeout_s=_seconds(options, "stop_timeout_s", 10.0, 0.0),
        idle_quit_s=_seconds(options, "idle_quit_s", 600.0, 1.0),
    )


def _words(options: Mapping[str, object], name: str) -> tuple[str, ...]:
    found = options.get(name, ())
    words = found.split(",") if isinstance(found, str) else found
    if not isinstance(words, list | tuple) or not all(_is_word(word) for word in words):
        raise _bad(f"{name} is no list of names", f'Write {name} = ["..."].')
    return tuple(word.strip() for word in words)


def _is_word(found: object) -> bool:
    return isinstance(found, str) and bool(found.strip()) and found.isprintable()


def _whole(options: Mapping[str, object], name: str, default: int, low: int, high: int) -> int:
    found = options.get(name, default)
    if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
        raise _bad(f"{name} is {found!r}", f"Give a whole number from {low} to {high}.")
    return found


def _seconds(options: Mapping[str, object], name: str, default: float, low: float) -> float:
    found = options.get(name, default)
    if not isinstance(found, int | float) or isinstance(found, bool) or not low <= found <= 86_400:
        raise _bad(f"{name} is {found!r}", f"Give seconds from {low:g} to 86400.")
    return float(found)


def _bad(what: str, remedy: str) -> Fault:
    return Fault(Code.INVALID, f"[executor.python] {what}.", remedy)
