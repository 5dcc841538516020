"""Fixtures of the command line's tests: a fake cluster, and `cortex` as a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.tui.command_line import CommandLine
from tests.tui.fake_cluster import FakeCluster
from tests.tui.fake_daemon import FakeDaemon

SECRET = "0123456789abcdef" * 4


@pytest.fixture
async def cluster() -> FakeCluster:
    """A cluster with nodes n1 and n2, whose tasks move only when the test says so."""
    fake = FakeCluster(secret=SECRET)
    fake.add_node("n1")
    fake.add_node("n2")
    return fake


@pytest.fixture
async def daemon(cluster: FakeCluster) -> AsyncIterator[FakeDaemon]:
    async with FakeDaemon(cluster) as serving:
        yield serving


@pytest.fixture
def cortex(daemon: FakeDaemon, tmp_path: Path) -> CommandLine:
    """The command line with CORTEX_CLUSTER set to the fake cluster."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    return CommandLine(tmp_path, {"CORTEX_CLUSTER": daemon.address, "CORTEX_SECRET_FILE": str(secret)})
