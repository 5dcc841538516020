"""Container tasks: an image, run by Podman or Docker. What runs them is node.drivers.container."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from cortex.v1.types_pb2 import TaskType
from cortex.v1.worker_pb2 import Assignment
from node.core.faults import Code, Fault
from node.drivers.container.engine import DIALECTS, PLACE, PREFIX, Engine, EngineError, container_name
from node.drivers.container.run import Order, Settings, run_arguments
from node.payloads.container import Container
from node.payloads.reading import BadPayload, read
from node.worker.attempts import KILL_TIMEOUT_MS
from node.worker.executors.port import CannotPrepare, Command, Offer, Setup, encoded, task_environment
from node.worker.port import AttemptKey

AUTO = "auto"
_DRIVER = [os.fsencode(sys.executable), b"-I", b"-m", b"node.drivers.container"]
# No image has it: that the engine says so proves that it gets as far as to start a program.
_TRIAL = "/.cortex-trial"
_NO_PROGRAM = (126, 127)
_TRIAL_S = 30.0
_LIMIT_NAME = re.compile(r"[a-z]{1,20}")
_LIMIT = re.compile(r"-?\d{1,19}(:-?\d{1,19})?")
_ULIMITS = 'Set ulimits = {nofile = "1024:4096", nproc = "1024:4096"} in [executor.container]'
_INSTALL = "Install podman or docker, or set engine in [executor.container] to the path of one; restart the daemon."


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[executor.container] of the daemon's file."""

    engine: str = AUTO  # podman, docker or the path of one
    runtime: str = ""  # such as runc; empty = the engine's
    network: str = ""  # of containers that name none; empty = the engine's
    options: tuple[str, ...] = ()  # further arguments of `run`
    roots: tuple[str, ...] = ()  # folders below which something may be mounted
    ulimits: dict[str, str] = msgspec.field(default_factory=dict)  # name = soft:hard
    environment: dict[str, str] = msgspec.field(default_factory=dict)  # for the engine, such as DOCKER_HOST


class ContainerExecutor:
    def __init__(self, setup: Setup) -> None:
        """Raises Fault when its settings are wrong."""
        self._options = _options(setup.options)
        self._data = setup.data
        self._hidden = setup.hidden
        self._inherited = encoded(setup.environment)
        self._environ = {**setup.environment, **self._options.environment}
        self._place = place_of(setup.data)
        self._engine: Engine | None = None
        self._offered = False

    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_CONTAINER

    def probe(self) -> Offer:
        reasons = []
        for engine in self._candidates():
            try:
                offer = self._tried(engine)
            except EngineError as error:
                self._engine = self._engine or engine
                reasons.append(_ended(f"{engine.name}: {error}"))
            else:
                self._engine, self._offered = engine, True
                return offer
        if reasons:
            remedy = _ULIMITS if any("rlimit" in reason for reason in reasons) else "Correct that"
            return Offer(False, reason=f"{' '.join(reasons)} {remedy} and restart the daemon.")
        return Offer(False, reason=f"There is no container engine on this machine. {_INSTALL}")

    def prepare(self, assignment: Assignment) -> Command:
        engine = self._engine
        if engine is None:
            raise CannotPrepare(f"There is no container engine on this node. {_INSTALL}")
        own = task_environment({}, assignment)
        ours = {name: value for name, value in own.items() if name.startswith(b"CORTEX_")}
        order = self._order(engine, assignment, own)
        return Command(_DRIVER, {**self._inherited, **ours}, "", msgspec.json.encode(order))

    def adopt(self, held: Collection[AttemptKey]) -> None:
        if self._engine is None:
            return
        try:
            found = self._engine.containers(f"label={PLACE}={self._place}")
        except EngineError:
            if not self._offered:
                return  # it did not answer when it was tried either, and was perhaps never used
            raise
        for name in found:
            key = key_of(name)
            if key is not None and key not in held:
                self._engine.remove(name)

    def remove(self, key: AttemptKey, order: bytes) -> None:
        if self._engine is not None:
            self._engine.remove(container_name(key.task, key.fence))

    def _candidates(self) -> list[Engine]:
        """Those that are installed, best first."""
        wanted = self._options.engine
        found = []
        for name in DIALECTS if wanted == AUTO else [wanted]:
            program = shutil.which(name, path=self._environ.get("PATH", os.defpath))
            if program is not None:
                found.append(Engine(Path(program).name, program, self._environ))
        return found

    def _tried(self, engine: Engine) -> Offer:
        """Runs a container, where an image is there to run. Raises EngineError."""
        about = f"{engine.name} {engine.version()}"
        images = engine.answer("image", "ls", "--quiet", "--no-trunc").split()
        if not images:
            return Offer(True, f"{about}; no image is here to try it with")
        name = f"{PREFIX}trial-{self._place}"
        words, _ = run_arguments(self._trial(engine, images[0]), "trial", "0", name, engine.dialect)
        engine.remove(name)
        try:
            reply = engine.call("run", *words, timeout_s=_TRIAL_S)
        finally:
            engine.remove(name)
        if reply.code not in _NO_PROGRAM or _TRIAL not in reply.error:
            raise EngineError(f"a container does not start: {reply.error or f'exit code {reply.code}'}")
        return Offer(True, about)

    def _trial(self, engine: Engine, image: str) -> Order:
        return self._made(engine, Container(image=image, command=(_TRIAL,)))

    def _order(self, engine: Engine, assignment: Assignment, env: Mapping[bytes, bytes]) -> Order:
        """Raises CannotPrepare."""
        spec = assignment.spec
        try:
            asked = read(spec.payload, Container)
            command = tuple(word.decode() for word in spec.argv)
            named = tuple((name.decode(), value.decode()) for name, value in env.items())
            shell = spec.shell_command.decode()
        except BadPayload as error:
            raise CannotPrepare(f"The payload of the task is wrong: {error} Submit it again.") from None
        except UnicodeDecodeError:
            why = "An argument or variable of the task is not UTF-8, and no container can be given it."
            raise CannotPrepare(f"{why} Put it into a file that is mounted.") from None
        return msgspec.structs.replace(
            self._made(engine, asked),
            command=command,
            shell=shell,
            env=named,
            cwd=spec.cwd,
            memory_bytes=spec.requests.memory_bytes,
            cpu_millis=spec.requests.cpu_millis,
            gpus=spec.requests.gpus,
            success_codes=tuple(spec.success_codes),
            kill_timeout_s=(spec.kill_timeout_ms or KILL_TIMEOUT_MS) / 1000,
        )

    def _made(self, engine: Engine, container: Container) -> Order:
        options = self._options
        return Order(
            engine=engine.name,
            program=engine.program,
            engine_environ=self._environ,
            place=self._place,
            hidden=tuple(str(path) for path in (self._data, *self._hidden)),
            settings=Settings(options.runtime, options.network, options.options, options.roots, options.ulimits),
            container=container,
        )


def place_of(data: Path) -> str:
    """What tells the containers of this machine's data folder from those of others."""
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine = ""
    words = f"{machine or os.uname().nodename}:{data.absolute()}"
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def key_of(name: str) -> AttemptKey | None:
    """The attempt whose container has that name; None for others."""
    task, _, fence = name.removeprefix(PREFIX).rpartition("-")
    if not name.startswith(PREFIX) or not task or not fence.isdecimal():
        return None
    return AttemptKey(task, int(fence))


def _ended(sentence: str) -> str:
    """What an engine says may be a sentence already."""
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def _options(given: Mapping[str, object]) -> Options:
    """Raises Fault."""
    try:
        options = msgspec.convert(dict(given), Options)
    except msgspec.ValidationError as error:
        known = ", ".join(field.name for field in msgspec.structs.fields(Options))
        raise _bad("", str(error), f"Its keys are {known}.") from None
    engine = options.engine
    if engine != AUTO and Path(engine).name not in DIALECTS:
        raise _bad("engine", f"it is {engine[:200]!r}", f"Write {AUTO}, {', '.join(DIALECTS)}, or the path of one.")
    for root in options.roots:
        if not root.startswith("/"):
            raise _bad("roots", f"{root[:200]!r} is no absolute path", "Begin it with /.")
    for name, value in options.ulimits.items():
        if not _LIMIT_NAME.fullmatch(name) or not _LIMIT.fullmatch(value):
            raise _bad("ulimits", f"{name[:50]} is {value[:50]!r}", 'Write nofile = "1024:4096".')
    for word in (*options.options, options.runtime, options.network, *options.environment.values()):
        if "\0" in word:
            raise _bad("options", "a word has a NUL byte", "Leave it out.")
    return options


def _bad(field: str, why: str, remedy: str) -> Fault:
    where = f"[executor.container] {field}".rstrip()
    return Fault(Code.INVALID, f"{where} cannot be used: {why}.", remedy)
