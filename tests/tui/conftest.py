"""Fixtures of the command line's tests: a fake cluster, and `cortex` as a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet

from tests.tui.command_line import CommandLine
from tests.tui.fake_cluster import FakeCluster
from tests.tui.fake_daemon import FakeDaemon

SECRET = "0123456789abcdef" * 4


@pytest.fixture(autouse=True, scope="session")
def parsed_once() -> Iterator[None]:
    """Styles are parsed once for all consoles of a run: it is a fifth of what opening one takes."""
    parse = Stylesheet._parse_rules
    known: dict[Hashable, list[RuleSet]] = {}

    def parse_once(self: Stylesheet, *arguments: Any, **named: Any) -> list[RuleSet]:
        key = frozenset(self._variables.items()), arguments, tuple(named.items())
        if key not in known:
            known[key] = parse(self, *arguments, **named)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stylesheet, "_parse_rules", parse_once)
        yield


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
