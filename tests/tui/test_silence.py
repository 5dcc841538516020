"""A machine that died is seen at once, though the cluster waits before it counts it out."""

from __future__ import annotations

from typing import Any

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake
from tests.tui.console import Session, open_console
from tests.tui.fake_source import FakeSource
from tui.source import LinkState
from tui.store.silence import silence_us, silent
from tui.store.view import ClusterView


async def quiet(session: Session, name: str, silent_s: float) -> None:
    """All report, but the leader has heard nothing of one for so long."""
    samples = [*session.source.nodes.values()]
    told = []
    for sample in samples:
        view = type(sample)()
        view.CopyFrom(sample)
        if view.node.id == name:
            view.age_us = int(silent_s * 1e6)
        told.append(view)
    session.source.push(samples=told)
    await session.settle()


def everybody() -> FakeSource:
    return FakeSource(nodes=[fake.node_view(name) for name in ("anvil", "birch", "cedar")])


async def test_a_node_that_is_not_heard_says_so_and_is_not_counted() -> None:
    async with open_console(everybody(), (120, 30)) as session:
        await session.until(lambda: "3/3" in session.text)
        assert "silent" not in session.text
        await quiet(session, "birch", 4.0)
        assert "silent" not in session.text, "a sample may be late"
        session.app.clock.now_s += 1
        await quiet(session, "birch", 7.0)
        await session.until(lambda: "silent 7s" in session.line_with("birch"))
        await session.until(lambda: "2/3" in session.text)
        session.app.clock.now_s += 1
        await quiet(session, "birch", 0.0)
        await session.until(lambda: "active" in session.line_with("birch") and "3/3" in session.text)


async def test_its_filter_and_the_list_for_scripts_tell_the_state_of_the_cluster() -> None:
    async with open_console(everybody(), (120, 30)) as session:
        await quiet(session, "birch", 7.0)
        await session.press("/", *"state=active", "enter")
        await session.until(lambda: "3/3" in session.text and "silent" in session.line_with("birch"))


def folded(**changes: Any) -> ClusterView:
    view = ClusterView()
    for reply in everybody().snapshot():
        view.fold(reply, 1000.0)
    for name, value in changes.items():
        setattr(view, name, value)
    return view


def test_nothing_is_said_of_nodes_while_nothing_can_be_known() -> None:
    view = folded()
    row = view.nodes.get("birch")
    assert row is not None
    assert not silence_us(view, row, 1001.0)
    for number in range(8):
        # The stream goes on, without word of any node.
        view.fold(cluster_pb2.WatchReply(index=2000, leader="anvil"), 1001.0 + number)
    assert silence_us(view, row, 1008.0) >= 8_000_000
    assert silent(view, 1008.0) == 3
    assert not silence_us(view, row, 1020.0), "without a link nothing is known"
    view.leader = ""
    assert not silence_us(view, row, 1008.0), "nor without a leader"
    view.leader = "anvil"
    view.fold_link(LinkState(False, "x"))
    assert not silence_us(view, row, 1008.0)
    down = types_pb2.Node()
    down.CopyFrom(row.node)
    down.online = False
    view = folded()
    view.fold(cluster_pb2.WatchReply(index=2000, leader="anvil", changes=[types_pb2.Change(node=down)]), 1008.0)
    offline = view.nodes.get("birch")
    assert offline is not None
    assert not silence_us(view, offline, 1008.0), "offline says more"


def test_what_is_behind_a_node_is_measured_less_often() -> None:
    view = ClusterView()
    row = types_pb2.Node(id="anvil/home", kind="k8s", online=True)
    told = cluster_pb2.NodeView(node=row, resources=types_pb2.Resources(cpu_percent=1), age_us=35_000_000)
    view.fold(cluster_pb2.WatchReply(samples=[told], leader="anvil"), 100.0)
    shown = view.nodes.get("anvil/home")
    assert shown is not None
    assert silence_us(view, shown, 100.5) == 0
    told.age_us = 80_000_000
    view.fold(cluster_pb2.WatchReply(samples=[told], leader="anvil"), 101.0)
    shown = view.nodes.get("anvil/home")
    assert shown is not None
    assert silence_us(view, shown, 101.0) == 80_000_000
