"""A pool of real processes, and its drivers run without a supervisor."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cortex.v1.types_pb2 import TaskSpec
from cortex.v1.worker_pb2 import Assignment
from node.pool import wire
from node.worker.executors.port import Offer, Setup
from node.worker.executors.python import PythonExecutor

PATIENCE_S = 60.0
HANDLERS = '''
import asyncio, ctypes, os, subprocess, sys, threading, time
from node.pool import Cancelled, Context, Reschedule, RetryAt, ValidationError, handler

@handler("add")
def add(context, a, b=1):
    print("adding", a)
    context.log("now")
    context.progress(1, 2, "half")
    return {"sum": a + b}

@handler("where")
def where(context):
    return [context.task, context.run, context.attempt, os.getcwd(), os.environ.get("COLOUR"),
            context.env["COLOUR"], "CORTEX_ORDER" in os.environ]

@handler("nice")
def nice(context):
    return os.getpriority(os.PRIO_PROCESS, 0)

@handler("pid")
def pid(context):
    return os.getpid()

@handler("raise")
def fail(context, what):
    raise {"value": ValueError("no such thing"), "validation": ValidationError("a bad picture"),
           "retry": RetryAt(30, "the shop is closed"), "reschedule": Reschedule("the disk is slow"),
           "cancel": Cancelled("nobody wants it"), "exit": SystemExit(3), "end": SystemExit(0),
           "memory": MemoryError()}[what]

@handler("return")
def give(context, what):
    return {"large": "x" * 20_000, "set": {1}, "nan": float("nan"), "none": None}[what]

@handler("die")
def die(context, how):
    print("last words")
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), getattr(__import__("signal"), how))

@handler("segfault")
def segfault(context):
    ctypes.string_at(0)

def hold(path):
    """Until there is a file."""
    while not os.path.exists(path):
        time.sleep(0.01)

@handler("hold")
def held(context, path):
    try:
        print("begun", os.getpid())
        hold(path)
    except Cancelled:
        print("cleaned up", context.cancelled)
        raise
    return "went on"

@handler("async")
async def waits(context, path):
    try:
        print("begun", os.getpid())
        while not os.path.exists(path):
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        print("cleaned up", context.cancelled)
        raise
    return "went on"

@handler("stubborn")
def stubborn(context):
    try:
        print("begun", os.getpid())
        hold("/nonexistent")  # one long sleep would not see a signal that comes just before it
    except Cancelled:
        print("no")
    while True:
        time.sleep(100)

@handler("child")
def child(context, leave):
    code = "print('of a child', flush=True); import time; time.sleep(%d)" % (1000 if leave else 0)
    process = subprocess.Popen([sys.executable, "-c", code])
    if not leave:
        process.wait()
    return process.pid

@handler("thread")
def thread(context, how):
    def chat():
        begun.set()
        while not over.wait(0.01):
            print("of a thread")
    begun, over = threading.Event(), threading.Event()
    if how == "library":
        begun.set()
        threading.Thread(target=over.wait, name="monitor", daemon=True).start()
    elif how == "timer":
        begun.set()
        timer = threading.Timer(1000, chat)
        timer.daemon = True
        timer.start()
    else:
        threading.Thread(target=chat, name="chat", daemon=how == "daemon").start()
    assert begun.wait(60)
    return os.getpid()

@handler("ignored")
def ignored(context):
    """What a command that it runs ignores and holds back."""
    return subprocess.check_output(["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"], text=True)

@handler("fork")
def fork(context, how):
    """A copy of the worker goes on in the handler: it says what it likes, and returns."""
    pid = os.fork()
    if pid == 0:
        context.progress(7, 7, "of a copy")
        print("in a copy")
        if how == "raise":
            raise ValueError("in a copy")
        if how == "term":
            os.kill(os.getpid(), __import__("signal").SIGTERM)
            time.sleep(100)
        return "of a copy"
    _, status = os.waitpid(pid, 0)
    return [os.getpid(), os.waitstatus_to_exitcode(status)]

@handler("flee")
def flee(context):
    """Leaves a process in a session of its own, that has another parent."""
    code = "import os, time; os.setsid(); pid = os.fork(); pid and (print(pid, flush=True), os._exit(0));"
    process = subprocess.Popen([sys.executable, "-c", code + "time.sleep(1000)"], stdout=subprocess.PIPE)
    return int(process.stdout.readline())

@handler("babble")
def babble(context, what):
    """Into the socket of its worker."""
    import json
    text = {
        "empty": {"kind": "failed", "code": "x"},
        "late": {"kind": "state-change", "to": "retry", "after_ms": "soon"},
        "list": [1], "progress": {"kind": "progress", "current": [], "total": {}},
    }[what]
    if isinstance(text, dict):
        text["task"] = context.task
    data = json.dumps(text).encode()
    os.write(int(sys.argv[2]), len(data).to_bytes(4, "big") + data)

@handler("deaf")
def deaf(context, how):
    import signal
    if how == "ignores":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.alarm(1000)

@handler("alarm")
def alarm(context):
    return __import__("signal").getitimer(0)[0]

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")

@handler("odd")
def odd(context, how):
    if how == "mute":
        raise Mute
    if how == "late":
        raise RetryAt.__new__(RetryAt)
    if how == "closed":
        sys.stderr.close()
        raise ValueError("nobody hears it")
    if how == "deep":
        return __import__("functools").reduce(lambda inner, _: [inner], range(900), [])
    if how == "wide":
        return [{"[": "\\\"[["}] * 150

@handler("eat")
def eat(context, mb):
    return len(bytearray(mb << 20))

@handler("steps")
def steps(context, count):
    for number in range(count):
        context.progress(number + 1, count, f"step {number}")
'''


@dataclass
class End:
    code: int
    out: str
    err: str
    verdict: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def cause(self) -> str:
        return str(self.verdict.get("cause", ""))

    @property
    def error(self) -> str:
        return str(self.verdict.get("error", ""))

    @property
    def document(self) -> Any:
        return self.verdict.get("document")


class Driven:
    """One task, by its driver."""

    def __init__(self, place: Path, process: subprocess.Popen[str]) -> None:
        self._place = place
        self.process = process
        self.worker = 0

    def begun(self) -> Driven:
        """Wait for its first line, which has the worker's pid."""
        assert self.process.stdout is not None
        self.worker = int(self.process.stdout.readline().split()[1])
        return self

    def end(self) -> End:
        out, err = self.process.communicate(timeout=PATIENCE_S)
        verdict, events = self._place / "verdict", self._place / "events"
        return End(
            self.process.returncode,
            out,
            err,
            json.loads(verdict.read_text()) if verdict.exists() else {},
            [json.loads(line) for line in events.read_text().splitlines()] if events.exists() else [],
        )


class Pool:
    def __init__(self, data: Path, **options: object) -> None:
        self.data = data
        self.options = {"modules": ["jobs"], "path": [str(data / "modules")], "size": 1, **options}
        self._count = 0
        self.executor = self.made()

    def made(self) -> PythonExecutor:
        """As by a daemon that starts."""
        environment = {"PATH": os.environ["PATH"]}
        return PythonExecutor(Setup(self.data, environment, self.options))

    def probe(self) -> Offer:
        return self.executor.probe()

    def write(self, text: str, name: str = "jobs") -> None:
        folder = self.data / "modules"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(text)

    @property
    def host(self) -> int:
        return int((self.data / wire.FOLDER / wire.PID).read_text())

    def begin(self, handler: str, *, kill_timeout_ms: int = 20_000, order: bytes = b"", **data: object) -> Driven:
        """`order` stands for what the executor made."""
        self._count += 1
        place = self.data / "x" / str(self._count)
        place.mkdir(parents=True)
        spec = TaskSpec(
            payload=json.dumps({"handler": handler, "data": data}).encode(), kill_timeout_ms=kill_timeout_ms
        )
        spec.env.add(name="COLOUR", value=b"red")
        assignment = Assignment(task=f"t{self._count}", fence=self._count, run=2, attempt=1, spec=spec)
        command = self.executor.prepare(assignment)
        (place / "order").write_bytes(order or command.order or b"")
        files = {f"CORTEX_{name.upper()}": str(place / name) for name in ("order", "events", "verdict")}
        env = {**command.env, **{key.encode(): value.encode() for key, value in files.items()}}
        process = subprocess.Popen(
            command.argv, env=env, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        return Driven(place, process)

    def run(self, handler: str, **data: object) -> End:
        return self.begin(handler, **data).end()  # type: ignore[arg-type]

    def close(self) -> None:
        """With all that is left of it."""
        with suppress(OSError, ValueError):
            os.kill(self.host, signal.SIGKILL)
        if self.executor._host is not None:
            self.executor._host.wait(PATIENCE_S)


@contextmanager
def pool(data: Path, text: str = HANDLERS, **options: object) -> Iterator[Pool]:
    made = Pool(data, **options)
    made.write(text)
    try:
        offer = made.probe()
        assert offer.available, offer.reason
        yield made
    finally:
        made.close()


def gone(pid: int) -> None:
    """Wait until the process has ended, reaped or not."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], PATIENCE_S)[0], f"{pid} lives"
    finally:
        os.close(fd)
