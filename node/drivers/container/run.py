"""From the order of a container task to the arguments of `run`. Nothing here differs between the engines but by
their Dialect.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import msgspec

from node.drivers.container.engine import FENCE, PLACE, TASK, Dialect
from node.payloads.container import Container, Mount

# What engines and their helpers read of their own environment: a task's value must not steer them, so it goes by
# argument. All others go by the environment, where other users of the machine do not see them.
_STEERS = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|LANG|LC_.*|TZ|XDG_.*|DOCKER_.*|BUILDAH_.*|PODMAN.*|CONTAINER.*|STORAGE_.*"
    r"|REGISTR.*|CNI_.*|NETAVARK.*|GO[A-Z0-9]+|SSL_.*|DBUS_.*|NOTIFY_SOCKET|LISTEN_.*|SUDO_.*|_.*|.*PROXY|.*proxy"
)

UPDATE_NAME = "CORTEX_CONTEXT_UPDATE"
UPDATE = "/cortex/context.json"
"""Where a container finds the file of that variable."""


class Cannot(Exception):
    """The container cannot be run: a cause of node.worker.exchange.CAUSES, and a sentence."""

    def __init__(self, cause: str, sentence: str) -> None:
        super().__init__(sentence)
        self.cause = cause
        self.sentence = sentence


class Settings(msgspec.Struct, frozen=True):
    """What the machine's configuration says of containers."""

    runtime: str = ""
    network: str = ""
    options: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    ulimits: dict[str, str] = msgspec.field(default_factory=dict)


class Order(msgspec.Struct, frozen=True):
    """What the executor lays down for the driver."""

    engine: str
    program: str
    engine_environ: dict[str, str]
    place: str
    hidden: tuple[str, ...]  # the daemon's folder and secrets, which no container sees
    settings: Settings
    container: Container
    command: tuple[str, ...] = ()  # of the task's own command line
    shell: str = ""  # instead of it
    cwd: str = ""
    env: tuple[tuple[str, str], ...] = ()
    memory_bytes: int = 0  # requested
    cpu_millis: int = 0  # requested
    gpus: int = 0  # requested
    kill_timeout_s: float = 5.0
    success_codes: tuple[int, ...] = ()  # beside 0
    update: str = ""  # file for what it adds to its workflow's context, of the attempt's own


def run_arguments(
    order: Order, task: str, fence: str, name: str, dialect: Dialect
) -> tuple[list[str], dict[str, str]]:
    """The arguments after `run`, and what the engine's environment must have beside its own. Raises Cannot."""
    asked, settings = order.container, order.settings
    words = ["--name", name, "--pull", "never", "--log-driver", "none"]
    labels = {**asked.labels, TASK: task, FENCE: fence, PLACE: order.place}
    words += _each("--label", (f"{key}={value}" for key, value in labels.items()))
    named, environ = _environment(order)
    words += _each("--env", named)
    if settings.runtime:
        words += ["--runtime", settings.runtime]
    if network := asked.network or settings.network:
        words += ["--network", network]
    words += _each("--ulimit", (f"{key}={value}" for key, value in settings.ulimits.items()))
    words += _limits(order, dialect)
    for mount in asked.mounts:
        words += ["--mount", _mount(mount, order)]
    if order.update:
        words += ["--mount", f"type=bind,source={order.update},target={UPDATE}", "--env", f"{UPDATE_NAME}={UPDATE}"]
    if asked.user != "":
        words += ["--user", str(asked.user)]
    if workdir := asked.workdir or order.cwd:
        words += ["--workdir", workdir]
    if asked.read_only:
        words += dialect.read_only
    if asked.init:
        words.append("--init")
    command = list(asked.command)
    if order.shell:
        if command:
            raise Cannot("validation", "Both a shell string and a command are given. Leave one of them out.")
        command = ["/bin/sh", "-c", order.shell]
    if command:
        words += ["--entrypoint", command[0]]
    return [*words, *settings.options, asked.image, *command[1:], *asked.args, *order.command], environ


def _each(flag: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _environment(order: Order) -> tuple[list[str], dict[str, str]]:
    named: list[str] = []
    environ: dict[str, str] = {}
    for key, value in order.env:
        if _STEERS.fullmatch(key):
            named.append(f"{key}={value}")
        else:
            named.append(key)
            environ[key] = value
    return named, environ


def _limits(order: Order, dialect: Dialect) -> list[str]:
    asked = order.container
    words: list[str] = []
    if memory := asked.memory_bytes or order.memory_bytes:
        words += ["--memory", f"{memory}b"]
    if cpus := asked.cpus or order.cpu_millis / 1000:
        words += ["--cpus", f"{cpus:g}"]
    if asked.pids:
        words += ["--pids-limit", str(asked.pids)]
    return words + _gpus(asked.gpu or order.gpus, dialect)


def _gpus(gpu: int | str, dialect: Dialect) -> list[str]:
    if not gpu:
        return []
    if dialect.counted_gpus:
        wanted = gpu if isinstance(gpu, int) or gpu == "all" else f'"device={gpu}"'
        return ["--gpus", str(wanted)]
    devices = [str(number) for number in range(gpu)] if isinstance(gpu, int) else gpu.split(",")
    return _each("--device", [f"nvidia.com/gpu={device}" for device in devices])


def _mount(mount: Mount, order: Order) -> str:
    """Raises Cannot."""
    source = os.path.realpath(mount.source)
    roots = [os.path.realpath(root) for root in order.settings.roots]
    if not any(_within(source, root) for root in roots):
        if not roots:
            raise Cannot(
                "cannot_start",
                f"{mount.source} may not be mounted: this node allows no mounts at all. "
                f'Set roots = ["{source[:200]}"], or a folder above, in [executor.container] of its configuration, '
                "and restart its daemon.",
            )
        raise Cannot(
            "cannot_start",
            f"{mount.source} may not be mounted on this node: it is not below {', '.join(order.settings.roots)}. "
            "Mount something there, or add a folder to `roots` in [executor.container] of its configuration.",
        )
    hidden = [os.path.realpath(path) for path in order.hidden]
    if any(_within(source, path) or _within(path, source) for path in hidden):
        raise Cannot("cannot_start", f"{mount.source} holds what Cortex keeps on this node. Mount another folder.")
    if not os.path.exists(source):
        raise Cannot("not_found", f"{mount.source} does not exist on this node. Create it there first.")
    if any(char in source for char in ',:"\n'):
        raise Cannot("cannot_start", f"{mount.source} leads to {source[:200]!r}, which no engine takes. Rename it.")
    return f"type=bind,source={source},target={mount.target}" + (",readonly" if mount.read_only else "")


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
