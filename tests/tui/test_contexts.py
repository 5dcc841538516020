"""Several clusters in one console: each stays as it was left, and a dead one holds nothing up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import cluster_pb2
from tests.tui.console import Session, open_console
from tests.tui.fake_source import FakeSource
from tui.console.contexts import Context
from tui.errors import ClusterError
from tui.link.target import own_folder, resolve
from tui.operator.keep import Keep
from tui.source import LinkState, SourceError, WatchItem


class Dead(FakeSource):
    """Nobody answers, and whoever asks is kept waiting."""

    async def watch(self) -> AsyncIterator[WatchItem]:
        self.watches += 1
        yield LinkState(False, "10.0.0.9:7400", "connection refused")
        await asyncio.Event().wait()

    async def list_nodes(self, **_options: Any) -> cluster_pb2.ListNodesReply:
        await asyncio.Event().wait()
        raise AssertionError


def two(second: FakeSource) -> tuple[FakeSource, dict[str, Any]]:
    first = FakeSource()
    first.name, second.name = "prod", "lab"  # type: ignore[misc]
    contexts = [
        Context("prod", "10.0.0.1:7400", lambda: (first, Keep())),
        Context("lab", "10.0.0.9:7400", lambda: (second, Keep())),
    ]
    return first, {"contexts": contexts, "context": "prod"}


def place(session: Session) -> tuple[str, str]:
    return session.app.source.name, session.app.view_name


async def test_each_cluster_stays_as_it_was_left() -> None:
    first, options = two(FakeSource())
    async with open_console(first, **options) as session:
        await session.press("2", "j", "j")
        cursor = session.line_with("▌ ")
        session.app.use_context("lab")
        await session.until(lambda: session.app.view.ready)
        await session.settle()
        assert place(session) == ("lab", "nodes")
        assert " cortex lab" in session.lines[0]
        await session.press("5")
        session.app.use_context("prod")
        await session.settle()
        assert place(session) == ("prod", "queue")
        assert session.line_with("▌ ").split()[3] == cursor.split()[3], "the cursor is where it was"
        session.app.use_context("lab")
        await session.settle()
        assert place(session) == ("lab", "events")


async def test_from_a_dead_cluster_one_leaves_at_once() -> None:
    dead = Dead()
    first, options = two(dead)
    async with open_console(first, **options) as session:
        session.app.use_context("lab")
        await session.until(lambda: dead.watches == 1)
        await session.settle()
        assert "connection refused" in session.text
        session.app.use_context("prod")
        await session.settle()
        assert "anvil" in session.text
        await session.until(lambda: first.watches == 2)


async def test_the_switcher_says_how_each_is() -> None:
    class Failing(FakeSource):
        async def list_nodes(self, **_options: Any) -> cluster_pb2.ListNodesReply:
            raise SourceError("No daemon answers at 10.0.0.9:7400.", "Start it.")

    first, options = two(Failing())
    async with open_console(first, **options) as session:
        await session.press("at")
        await session.until(lambda: "No daemon answers" in session.text)
        await session.until(lambda: "led by anvil" in session.text)
        assert "here" in session.line_with("led by anvil")
        await session.press("l", "a", "b", "enter")
        await session.settle()
        assert session.app.source.name == "lab"


async def test_by_name_on_the_command_line() -> None:
    first, options = two(FakeSource())
    async with open_console(first, **options) as session:
        await session.press("colon", *"ctx", "space", *"lab", "enter")
        await session.settle()
        assert session.app.source.name == "lab"


async def test_without_others_the_switcher_says_so() -> None:
    async with open_console() as session:
        await session.press("at")
        assert "No other cluster is known" in session.lines[-1]


def test_the_context_file_names_clusters(tmp_path: Path) -> None:
    folder = tmp_path / "cortex"
    folder.mkdir()
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    file = folder / "context.json"
    file.write_text('{"cluster": "a:1", "contexts": {"prod": {"cluster": "b:1,c:1"}}}')
    assert resolve(None, None, environ).name == "a:1"
    prod = resolve(None, "prod", environ)
    assert (prod.name, [target.address for target in prod.targets]) == ("prod", ["b:1", "c:1"])
    with pytest.raises(ClusterError, match="nor a name in the context file"):
        resolve(None, "lab", environ)
    file.write_text('{"contexts": ["prod"]}')
    with pytest.raises(ClusterError, match="not a map of names"):
        resolve(None, "prod", environ)


def test_what_is_ended_without_a_flag_is_what_others_mean_without_one(tmp_path: Path) -> None:
    (tmp_path / "cortex").mkdir()
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    assert own_folder(environ) is None
    file = tmp_path / "cortex/context.json"
    file.write_text('{"data": "/a", "contexts": {"prod": {"cluster": "b:1"}, "lab": {"data": "/b"}}}')
    assert own_folder(environ) == Path("/a")
    assert own_folder({**environ, "CORTEX_CLUSTER": "lab"}) == Path("/b")
    for elsewhere in ("prod", "h:1"):
        with pytest.raises(ClusterError, match="given by addresses"):
            own_folder({**environ, "CORTEX_CLUSTER": elsewhere})
