"""The sandbox levels of this machine: which of them work, and what each puts around a command."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from cortex.v1.types_pb2 import SandboxLevel, SandboxOffer, TaskSpec
from node.supervisor import wire
from node.worker.executors.port import CannotPrepare
from node.worker.port import Limits
from node.worker.sandbox import arguments, seccomp
from node.worker.sandbox.arguments import Place
from node.worker.sandbox.folders import real_folder
from node.worker.sandbox.options import Options
from node.worker.sandbox.probe import try_level

NONE, DEFAULT, STRICT = (
    SandboxLevel.SANDBOX_LEVEL_NONE,
    SandboxLevel.SANDBOX_LEVEL_DEFAULT,
    SandboxLevel.SANDBOX_LEVEL_STRICT,
)
# What `cortex up` keeps beside the folders of its daemons.
_CLUSTER = "cluster.json"
# A home such as / is none.
_LEAST_HOME = 2
# bwrap itself is counted with its command.
_LEAST_MEMORY_BYTES = 8 * 1024 * 1024


class Levels:
    """`roots` are the folders that working directories may be in; none = any."""

    def __init__(self, data: Path, hidden: Sequence[Path], roots: Sequence[Path], options: Options) -> None:
        self._closed = _closed(data)
        self._roots = roots
        self._options = options
        self._data = Path(os.path.realpath(data))
        self._hidden = _beyond(hidden, self._closed)
        self._filter = seccomp.program(os.uname().machine)
        self._why_not: dict[int, str] = {}

    @cached_property
    def _place(self) -> Place:
        """Blocks when it is asked for first, by probe()."""
        by_descriptor = arguments.takes_descriptors(self._options.bwrap)
        user = self._options.user
        return Place(self._options.bwrap, user, self._data, self._closed, self._hidden, by_descriptor)

    def probe(self) -> list[SandboxOffer]:
        """Each level as it was tried just now. Blocks."""
        offers = [SandboxOffer(level=NONE, available=True)]
        for level in (DEFAULT, STRICT):
            offer = SandboxOffer(level=level)
            if not self._options.bwrap:
                offer.reason = "Bubblewrap (bwrap) is not installed. Install it and start the daemon again."
            else:
                words = self._wrap(level, "", gpu=False)
                tried = try_level(
                    words, self._filter if level == STRICT else b"", self._place, strict=level == STRICT
                )
                offer.available, offer.reason, offer.detail = tried
            offers.append(offer)
        self._why_not = {offer.level: offer.reason for offer in offers if not offer.available}
        return offers

    def folder(self, spec: TaskSpec) -> str:
        """Its working directory, every link resolved; empty = one of its own. Raises CannotPrepare."""
        if not spec.cwd:
            return ""
        return real_folder(spec.cwd, self._closed, self._roots, sandboxed=spec.sandbox > NONE)

    def limits(self, spec: TaskSpec, folder: str) -> Limits | None:
        """What the supervisor is to put around a command that works in `folder`; None = nothing.

        Raises CannotPrepare where probe() found that the level does not work.
        """
        options = self._options
        if spec.sandbox in self._why_not:
            raise CannotPrepare(f"This node does not run its sandbox level any more: {self._why_not[spec.sandbox]}")
        if spec.sandbox <= NONE:
            return Limits(folder=folder, rlimits=options.rlimits) if folder or options.rlimits else None
        gpu = spec.requests.gpus > 0 or spec.constraints.requires_gpu
        memory_bytes = spec.requests.memory_bytes or options.memory_bytes
        wrap = self._wrap(spec.sandbox, folder, gpu=gpu)
        return Limits(
            wrap=[*wrap, *arguments.same_folder(self._place), *arguments.rlimits(options.rlimits)],
            seccomp=self._filter if spec.sandbox == STRICT else b"",
            folder=folder,
            owner=(options.user.uid, options.user.gid) if options.user is not None else None,
            memory_bytes=max(memory_bytes, _LEAST_MEMORY_BYTES) if memory_bytes else 0,
            pids=options.pids,
            cpu_millis=spec.requests.cpu_millis or options.cpu_millis,
            folder_fd=True,
        )

    def environment(self, spec: TaskSpec, env: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """`env` as it fits into the sandbox: another user has another home and name."""
        found = dict(env)
        user = self._options.user
        if spec.sandbox <= NONE or (user is None and spec.sandbox != STRICT):
            return found
        own = {variable.name for variable in spec.env}
        changes = {"HOME": wire.FOLDER, "PATH": _without(env.get(b"PATH", b""), env.get(b"HOME", b""))}
        if user is not None:
            changes |= {"USER": user.name.encode(), "LOGNAME": user.name.encode()}
        return found | {name.encode(): value for name, value in changes.items() if name not in own}

    def _wrap(self, level: SandboxLevel.ValueType, folder: str, *, gpu: bool) -> list[bytes]:
        if level == STRICT:
            return arguments.strict(self._place, folder, gpu=gpu, filtered=bool(self._filter))
        return arguments.default(self._place, folder)


def _without(search: bytes, home: bytes) -> bytes:
    """The path `search` without what is in `home`, which a sandbox does not open."""
    if len(home) < _LEAST_HOME:
        return search
    return b":".join(part for part in search.split(b":") if not (part + b"/").startswith(home + b"/"))


def _closed(data: Path) -> Path:
    """The folder of the daemon; of several daemons that `cortex up` keeps in one, that."""
    real = Path(os.path.realpath(data))
    return real.parent if (real.parent / _CLUSTER).is_file() else real


def _beyond(hidden: Sequence[Path], closed: Path) -> list[Path]:
    """Those of `hidden` that are not in the folder that is closed anyway; by their real paths."""
    return [real for path in hidden if (real := path.resolve()).is_file() and not real.is_relative_to(closed)]
