"""Podman and Docker by their command lines. What differs between them stands in DIALECTS, and nowhere else."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PREFIX = "cortex-"
TASK, FENCE, PLACE = "cortex.task", "cortex.fence", "cortex.place"
"""Labels of a container: its task, the fence of its attempt, the data folder whose daemon it belongs to."""

CALL_S = 30.0
_NEVER = "0001-01-01"
_TEXT_CHARS = 300
_PREFIX = re.compile(r"(docker: )?(Error: |Error response from daemon: )?")


class EngineError(Exception):
    """The engine did not do what it was asked, or did not answer; the message says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Dialect:
    remove: tuple[str, ...]  # end at once and remove, with anonymous volumes
    counted_gpus: bool  # takes a number of GPUs; else only devices, by CDI
    read_only: tuple[str, ...]  # root file system that cannot be written, but for /tmp


DIALECTS: Mapping[str, Dialect] = {
    "podman": Dialect(
        remove=("rm", "--force", "--volumes", "--time", "0", "--ignore"),
        counted_gpus=False,
        read_only=("--read-only",),
    ),
    "docker": Dialect(
        remove=("rm", "--force", "--volumes"),
        counted_gpus=True,
        read_only=("--read-only", "--tmpfs", "/tmp"),
    ),
}


@dataclass(frozen=True, slots=True)
class Reply:
    code: int
    out: str
    error: str  # the line of stderr that says most


@dataclass(frozen=True, slots=True)
class State:
    """Of a container."""

    started: bool
    running: bool
    exit_code: int
    out_of_memory: bool
    pid: int  # of its first process; 0 when it does not run, or is not known
    keeper: int = 0  # process of the engine that keeps it alone (conmon); 0 = none, or not known


@dataclass(frozen=True, slots=True)
class Engine:
    name: str  # a key of DIALECTS
    program: str  # path
    environ: Mapping[str, str]

    @property
    def dialect(self) -> Dialect:
        return DIALECTS[self.name]

    def call(self, *arguments: str, timeout_s: float | None = CALL_S) -> Reply:
        """Raises EngineError when it cannot be run or does not answer; a refusal is a Reply."""
        try:
            done = subprocess.run(
                [self.program, *arguments],
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"{self.name} {arguments[0]} gave no answer within {timeout_s:g} s") from None
        except OSError as error:
            raise EngineError(f"{self.program} cannot be run: {error.strerror}") from None
        return Reply(done.returncode, done.stdout.decode("utf-8", "replace"), telling_line(done.stderr))

    def answer(self, *arguments: str, timeout_s: float | None = CALL_S) -> str:
        """What it wrote. Raises EngineError, also when it refused."""
        reply = self.call(*arguments, timeout_s=timeout_s)
        if reply.code:
            raise EngineError(f"{self.name} {arguments[0]} failed: {reply.error or f'exit code {reply.code}'}")
        return reply.out

    def version(self) -> str:
        """Of the part that runs containers. Raises EngineError."""
        found = _object(self.answer("version", "--format", "{{json .}}"))
        part = found.get("Server") or (found.get("Client") if self.name == "podman" else None)
        if not isinstance(part, dict):
            raise EngineError(f"{self.name} has no server that answers")
        return str(part.get("Version", "of unknown version"))

    def state(self, container: str) -> State | None:
        """None when there is no such container. Raises EngineError."""
        reply = self.call("container", "inspect", container)
        if reply.code:
            if container in self.containers("name=" + container):
                raise EngineError(f"{self.name} does not tell of {container}: {reply.error}")
            return None
        found = _first(reply.out).get("State", {})
        return State(
            started=not str(found.get("StartedAt", _NEVER)).startswith(_NEVER),
            running=found.get("Running") is True,
            exit_code=_number(found.get("ExitCode")),
            out_of_memory=found.get("OOMKilled") is True,
            pid=_number(found.get("Pid")),
            keeper=_number(found.get("ConmonPid")),
        )

    def containers(self, *filters: str) -> list[str]:
        """Names of those that all filters let through, running or not. Raises EngineError."""
        given = [word for each in filters for word in ("--filter", each)]
        text = self.answer("ps", "--all", "--no-trunc", *given, "--format", "{{.Names}}")
        return [name.split(",")[0] for name in text.split()]

    def remove(self, container: str) -> None:
        """End it at once and remove it; returns when it is gone. Raises EngineError."""
        reply = self.call(*self.dialect.remove, container)
        if reply.code and container in self.containers("name=" + container):
            raise EngineError(f"{self.name} does not remove {container}: {reply.error}")


def container_name(task: str, fence: int | str) -> str:
    return f"{PREFIX}{task}-{fence}"


def telling_line(stderr: bytes) -> str:
    """The last line that reports an error, else the last one: engines write progress and warnings before it."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line[:20].lower() and "level=warning" not in line]
    text = _PREFIX.sub("", (errors or lines or [""])[-1], count=1)
    return text if len(text) <= _TEXT_CHARS else text[:_TEXT_CHARS] + "…"


def _first(text: str) -> dict[str, Any]:
    """The first of a JSON list of objects. Raises EngineError."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, Sequence) and found and isinstance(found[0], dict):
        return found[0]
    raise EngineError("the engine's answer is not understood")


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
