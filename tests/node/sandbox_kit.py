"""Sandbox levels of this machine under a real supervisor."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from cortex.v1.types_pb2 import Requests, SandboxLevel, TaskSpec
from node.supervisor.cgroups import Cgroups
from node.worker.port import AttemptResult, SpawnOrder
from node.worker.sandbox import options
from node.worker.sandbox.levels import Levels
from tests.node.supervisor_kit import PATH, Watched, supervised

NONE, DEFAULT, STRICT = (
    SandboxLevel.SANDBOX_LEVEL_NONE,
    SandboxLevel.SANDBOX_LEVEL_DEFAULT,
    SandboxLevel.SANDBOX_LEVEL_STRICT,
)
BOTH = pytest.mark.parametrize("level", [DEFAULT, STRICT], ids=["default", "strict"])


@lru_cache
def why_not() -> str:
    """Why sandboxes do not run here; empty when they do."""
    with TemporaryDirectory() as folder:
        offers = Levels(Path(folder), (), (), options.read({})).probe()
    return " ".join(offer.reason for offer in offers if not offer.available)


@lru_cache
def no_groups() -> str:
    groups = Cgroups(f"test-{os.getpid()}")
    try:
        return groups.reason
    finally:
        groups.close()


needs_sandbox = pytest.mark.skipif(bool(why_not()), reason=f"needs bubblewrap (Debian: bubblewrap): {why_not()}")
needs_groups = pytest.mark.skipif(bool(no_groups()), reason=f"needs control groups: {no_groups()}")


class Sandboxes:
    """A supervisor, and the levels as a daemon on its folder has them."""

    def __init__(self, watched: Watched, **section: object) -> None:
        self.watched = watched
        self.levels = Levels(watched.data, (), (), options.read(section))

    def order(
        self, level: int, *argv: str, cwd: str = "", requests: Requests | None = None, **fields: Any
    ) -> SpawnOrder:
        spec = TaskSpec(sandbox=level, cwd=cwd, requests=requests)  # type: ignore[arg-type]
        folder = self.levels.folder(spec)
        env = self.levels.environment(spec, {b"PATH": PATH, **fields.pop("env", {})})
        return self.watched.order(*argv, cwd=folder, limits=self.levels.limits(spec, folder), env=env, **fields)

    async def run(self, level: int, script: str, **fields: Any) -> AttemptResult:
        """A script for sh."""
        return await self.end(self.begin(level, "sh", "-c", script, **fields))

    async def end(self, order: SpawnOrder) -> AttemptResult:
        return await self.watched.result(order.key)

    def begin(self, level: int, *argv: str, **fields: Any) -> SpawnOrder:
        order = self.order(level, *argv, **fields)
        self.watched.port.spawn([order])
        return order


@asynccontextmanager
async def sandboxes(data: Path, **section: object) -> AsyncIterator[Sandboxes]:
    """`section` are settings of [executor.shell]."""
    try:
        async with supervised(data) as watched:
            yield Sandboxes(watched, **section)
    finally:
        forget_groups(data)


def forget_groups(data: Path) -> None:
    """A supervisor that was killed leaves its control groups."""
    groups = Cgroups((data / "supervisor" / "identity").read_text().strip())
    groups.clear()
    groups.close()


def lines(result: AttemptResult) -> list[str]:
    """What it said on stdout; that it ended well is checked."""
    assert (result.cause, result.exit_code) == (0, 0), (result.error, result.stderr.head)
    return result.stdout.head.decode().splitlines()
