"""A process that has loaded the command line's modules, and forks for every command that it is asked for.

To load them takes many times what a command does. A command runs in a process of its own as it would from a shell,
with its own streams, folder and environment. Only how an interpreter begins and how it is taken apart is not seen
here: those that run in the background, in a shell or on a terminal are begun from nothing.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
LOADED = ("tui.verbs", "tui.link", "tui.columns", "tui.documents", "tui.written", "tui.store", "tui.plans")
"""What verbs load; nothing of the screens."""
SENT = b"run"
READ_BY_PYTHON = ("LANG", "LC_ALL", "LC_CTYPE", "PYTHONIOENCODING", "PYTHONUTF8")
"""Variables that mean nothing to an interpreter that runs already."""
LAST_WORDS_S = 10


class Warm:
    """The process, as those who ask it see it. It ends with whoever holds this."""

    def __init__(self) -> None:
        self._read = {name: os.environ.get(name) for name in READ_BY_PYTHON}
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.tui.warm", str(theirs.fileno())],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
                pass_fds=[theirs.fileno()],
                # What Python makes of its streams at the start must hold for those of the commands.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Whether an interpreter that begins with those variables would begin as this process did."""
        return all(environment.get(name) == value for name, value in self._read.items())

    def run(
        self, arguments: list[str], folder: Path, environment: dict[str, str], streams: list[int]
    ) -> socket.socket:
        """Start a command with those streams. What is returned tells its exit code as text; closing it ends it.

        Raises RuntimeError when the process is gone.
        """
        asked = {"arguments": arguments, "folder": str(folder), "environment": environment}
        order = os.memfd_create("order")
        reply, theirs = socket.socketpair()
        with theirs, open(order, "wb") as file:
            file.write(json.dumps(asked).encode())
            file.flush()
            try:
                socket.send_fds(self._control, [SENT], [order, theirs.fileno(), *streams])
            except OSError as error:
                reply.close()
                raise self._gone() from error
        return reply

    def code(self, reply: bytes) -> int:
        """The exit code that was told. Raises RuntimeError when the process went away without telling it."""
        if not reply:
            raise self._gone()
        return int(reply)

    def _gone(self) -> RuntimeError:
        """With what it said last; the next command gets another."""
        warm.cache_clear()
        atexit.unregister(self.end)
        self._control.close()
        self._process.kill()
        try:
            _, said = self._process.communicate(timeout=LAST_WORDS_S)
        except subprocess.TimeoutExpired as error:
            # Commands that still run hold its streams.
            said = error.stderr or b""
        text = said.decode(errors="replace")
        return RuntimeError(f"The process that runs commands ended with {self._process.returncode}: {text}")

    def complete(
        self, arguments: list[str], environment: dict[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command without input where this process is. Raises TimeoutError."""
        if not self.suits(environment):
            command = [sys.executable, "-m", "tui.cli", *arguments]
            try:
                return subprocess.run(
                    command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=timeout_s
                )
            except subprocess.TimeoutExpired as error:
                raise TimeoutError(f"{arguments} did not end in {timeout_s} s") from error
        with open(os.devnull, "rb") as nothing, TemporaryFile() as out, TemporaryFile() as err:
            streams = [file.fileno() for file in (nothing, out, err)]
            with self.run(arguments, Path.cwd(), environment, streams) as reply:
                reply.settimeout(timeout_s)
                code = self.code(reply.recv(16))
            for file in (out, err):
                file.seek(0)
            return subprocess.CompletedProcess(arguments, code, out.read(), err.read())

    def end(self) -> None:
        self._control.close()
        _, said = self._process.communicate()
        assert self._process.returncode == 0, said.decode()


@cache
def warm() -> Warm:
    """The one of this test process."""
    made = Warm()
    atexit.register(made.end)
    return made


def load() -> None:
    """Import what verbs import, most of it only when they run."""
    for name in LOADED:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            importlib.import_module(module.name)


def serve(control: socket.socket) -> None:
    """Returns in the process that is to be a command; ends when nobody asks any more."""
    while True:
        sent, (*files,), _, _ = socket.recv_fds(control, len(SENT), 5)
        if sent != SENT:
            sys.exit()
        if os.fork() == 0:
            control.close()
            order, reply, *streams = files
            child = os.fork()
            if child == 0:
                os.close(reply)
                become(order, streams)
                return
            for file in (order, *streams):
                os.close(file)
            attend(child, socket.socket(fileno=reply))
        for file in files:
            os.close(file)
        while reap():
            pass


def reap() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def attend(child: int, reply: socket.socket) -> None:
    """Tell how the command ended, or end it when nobody wants to know."""
    ended = os.pidfd_open(child)
    ready, _, _ = select.select([ended, reply], [], [])
    if ended not in ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        reply.sendall(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def become(order: int, streams: list[int]) -> None:
    with open(order, "rb") as file:
        file.seek(0)
        asked = json.load(file)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    os.chdir(asked["folder"])
    sys.argv[1:] = asked["arguments"]


def end(command: Callable[[], None]) -> NoReturn:
    """Run the command to its end, without taking the interpreter apart: the pages of it are the other process's."""
    code: object = 0
    try:
        command()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    assert code is None or isinstance(code, int)
    os._exit(code or 0)


if __name__ == "__main__":
    # As the command line sets it before it loads gRPC.
    os.environ["GRPC_VERBOSITY"] = "NONE"
    load()
    # A collection in a command would write to every page that it shares.
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    from tui.cli import main

    end(main)
