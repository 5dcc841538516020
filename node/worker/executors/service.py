"""Service tasks: a command that runs until it is stopped, kept by node.drivers.service."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from cortex.v1.types_pb2 import TaskSpec, TaskType
from cortex.v1.worker_pb2 import Assignment
from node.drivers.service.box import Box
from node.payloads.reading import BadPayload, read
from node.payloads.service import Service
from node.supervisor import wire
from node.supervisor.confine import CHANGED, WHY_CHANGED
from node.worker.executors.port import CannotPrepare, Command, Offer, Setup, encoded, task_environment
from node.worker.port import Limits
from node.worker.sandbox import options
from node.worker.sandbox.levels import DEFAULT, NONE, STRICT, Levels

_SHELL = b"/bin/sh"
_SLOTS = 20
# -I: neither the task's folder nor its PYTHON* variables say what the driver imports.
_DRIVER = [sys.executable.encode(), b"-I", b"-m", b"node.drivers.service"]
# What is around a command in a sandbox ignores TERM, which is for the command. Its driver does not: to begin to
# ignore a signal throws away the one that waits.
_IGNORE = (b"/usr/bin/env", b"--ignore-signal=TERM")
_HEED = (b"/usr/bin/env", b"--default-signal=TERM")
_HEED_S = 10.0
# A service is there to be reached, also where a command would have no network; and it looks for others by name.
_NO_NETWORK = b"--unshare-net"
_NAMES = (b"/etc/hosts", b"/etc/resolv.conf", b"/etc/services", b"/etc/ssl")
# The driver is within the bounds of its command.
_DRIVER_BYTES = 32 * 1024 * 1024
_DRIVER_PIDS = 8


class ServiceExecutor:
    def __init__(self, setup: Setup) -> None:
        """Raises Fault for settings that cannot be."""
        self._environment = encoded(setup.environment)
        self._levels = Levels(setup.data, setup.hidden, setup.roots, options.read(setup.sandbox))
        self._heeds = True

    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_SERVICE

    def probe(self) -> Offer:
        """Sandbox levels are the machine's: the executor of shell tasks tries them. Blocks."""
        self._heeds = _works([*_IGNORE, *_HEED, b"true"])
        self._levels.limits(TaskSpec(sandbox=DEFAULT), "")  # what it looks for first is kept
        return Offer(True, slots=_SLOTS)

    def prepare(self, assignment: Assignment) -> Command:
        spec = assignment.spec
        argv = [_SHELL, b"-c", spec.shell_command] if spec.shell_command else list(spec.argv)
        if not argv or not argv[0]:
            raise CannotPrepare("The task has no command. Submit it again with one.")
        try:
            service = read(spec.payload, Service)
        except BadPayload as error:
            raise CannotPrepare(f"The payload of the task is wrong: {error} Submit it again.") from None
        folder = self._levels.folder(spec)
        limits = self._levels.limits(spec, folder)
        environment = task_environment(self._environment, assignment)
        box = None
        if spec.sandbox > NONE and limits is not None:
            box = self._box(spec, limits, environment)
            limits = _around_driver(limits)
        order = {"service": service, "kill_timeout_s": spec.kill_timeout_ms / 1000, "box": box}
        return Command([*_DRIVER, *argv], environment, folder, msgspec.json.encode(order), limits)

    def _box(self, spec: TaskSpec, limits: Limits, environment: Mapping[bytes, bytes]) -> Box:
        """Raises CannotPrepare."""
        if not self._heeds:
            why = "`env` of this node knows no --ignore-signal, which a service in a sandbox needs to be stopped"
            raise CannotPrepare(f"{why}. Install coreutils 8.31 or newer, or run it at sandbox level none.")
        found = self._levels.environment(spec, environment)
        changed = {name.decode(): value for name, value in found.items() if environment.get(name) != value}
        return Box(
            wrap=(*_IGNORE, *(_reached(list(limits.wrap)) if spec.sandbox == STRICT else limits.wrap), *_HEED),
            folder=wire.FOLDER,
            env=changed,
            filter=limits.seccomp,
            filter_fd=wire.FILTER_FD,
            folder_fd=wire.FOLDER_FD,
            owner=limits.owner,
            refusals={CHANGED: WHY_CHANGED},
        )


def _around_driver(limits: Limits) -> Limits:
    """What is left of them for the driver, which makes the sandbox itself."""
    return replace(
        limits,
        wrap=(),
        seccomp=b"",
        folder_fd=False,
        rlimits={},
        memory_bytes=limits.memory_bytes and limits.memory_bytes + _DRIVER_BYTES,
        pids=limits.pids and limits.pids + _DRIVER_PIDS,
    )


def _reached(wrap: list[bytes]) -> list[bytes]:
    """A strict sandbox with the machine's network."""
    at = wrap.index(b"--chdir")
    shown = [word for path in _NAMES for word in (b"--ro-bind-try", path, path)]
    return [word for word in wrap[:at] if word != _NO_NETWORK] + shown + wrap[at:]


def _works(argv: list[bytes]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, timeout=_HEED_S, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
