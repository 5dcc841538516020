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
from node.payloads.python import Python, capability
from node.payloads.reading import BadPayload, read
from node.pool import settings as pool_settings
from node.pool import wire
from node.pool.settings import Settings
from node.worker.executors.port import CannotPrepare, Command, Offer, Setup, encoded, task_environment
from node.worker.executors.section import Section
from node.worker.sandbox.folders import real_folder

_HOST = Path(node.pool.__file__).with_name("__main__.py")
# A file without site: a driver is started for each task.
_DRIVER = [os.fsencode(part) for part in (sys.executable, "-I", "-S", node.drivers.python.__file__)]
_PROBE_S = 30.0
_REPLY_BYTES = 1 << 20
_NO_MODULES = (
    "No modules with handlers are named. Name them as modules in [executor.python], and restart the daemon."
)
_MEMORY_LIMIT_MB = 1 << 24
_KEYS = (
    "modules", "path", "size", "mode", "interpreter", "max_tasks", "nice", "memory_mb", "heartbeat_timeout_s",
    "start_timeout_s", "stop_timeout_s", "idle_quit_s",
)  # fmt: skip


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
            return Offer(False, reason=_NO_MODULES)
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
            return Offer(
                False, reason=first or "The host of the pool ended as it began. See pool/log in its data folder."
            )
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
    section = Section("python", options, _KEYS)
    mode = section.text("mode", pool_settings.WARM)
    if mode not in pool_settings.MODES:
        raise section.bad("mode", f"it is {mode[:100]!r}", f"Use {' or '.join(pool_settings.MODES)}.")
    interpreter = section.text("interpreter", sys.executable)
    if not interpreter.startswith("/"):
        why = f"it is {interpreter[:100]!r}"
        raise section.bad("interpreter", why, "Give the full path of a Python, as /opt/env/bin/python.")
    path = section.words("path")
    if not all(folder.startswith("/") for folder in path):
        raise section.bad("path", "a folder of it does not begin with /", "Give full paths.")
    return Settings(
        modules=section.words("modules"),
        path=path,
        size=section.whole("size", len(os.sched_getaffinity(0)), 1, 256),
        mode=mode,
        interpreter=interpreter,
        max_tasks=section.whole("max_tasks", 1000, 0, 1_000_000_000),
        nice=section.whole("nice", 5, 0, 19),
        memory_mb=section.whole("memory_mb", 0, 0, _MEMORY_LIMIT_MB),
        heartbeat_timeout_s=section.seconds("heartbeat_timeout_s", 30.0, 3.0),
        start_timeout_s=section.seconds("start_timeout_s", 60.0, 1.0),
        stop_timeout_s=section.seconds("stop_timeout_s", 10.0),
        idle_quit_s=section.seconds("idle_quit_s", 600.0, 1.0),
    )
