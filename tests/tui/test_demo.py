"""The made-up cluster: the same every time, and a Source like any other."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from click.testing import CliRunner

from cortex.v1 import cluster_pb2, types_pb2
from tui.app import Console
from tui.demo.size import DemoSize, parse_size
from tui.demo.source import DemoSource
from tui.errors import ClusterError
from tui.source import Source, SourceError
from tui.store.view import ClusterView
from tui.verbs.root import root

SIZE = DemoSize(nodes=30, tasks=2000, rate=1, changes=40, letters=50)


async def no_time(_seconds: float) -> None:
    await asyncio.sleep(0)


async def told(size: DemoSize, ticks: int) -> list[bytes]:
    """All messages of the snapshot and of so many ticks."""
    found: list[bytes] = []
    left = ticks
    source: Source = DemoSource(size, no_time)
    async with aclosing(source.watch()) as messages:  # type: ignore[type-var]
        async for message in messages:
            assert isinstance(message, cluster_pb2.WatchReply)
            found.append(message.SerializeToString(deterministic=True))
            left -= message.snapshot_end or left < ticks
            if left < 0:
                return found
    raise AssertionError("the stream ended")


async def test_it_is_the_same_every_time() -> None:
    assert await told(SIZE, 20) == await told(SIZE, 20)


async def test_the_console_sees_all_of_it() -> None:
    view = ClusterView()
    for number, data in enumerate(await told(SIZE, 20)):
        view.fold(cluster_pb2.WatchReply.FromString(data), float(number))
    assert view.ready
    assert len(view.nodes) == 30
    assert len(view.tasks) == 2000 + 50 + sum(row.count for row in view.workflows.values())
    assert view.states[types_pb2.TASK_STATE_DEAD_LETTER] == 50
    assert len(view.events) > 0


async def test_causes_name_every_letter() -> None:
    source = DemoSource(SIZE, no_time)
    causes = (await source.list_causes()).causes
    assert len(causes) == 5
    assert sum(cause.count for cause in causes) == 50
    for cause in causes:
        assert (await source.list_tasks(cause=cause.fingerprint)).total == cause.count


async def test_members_depend_on_members_before_them() -> None:
    for members in (5, 9, 24, 1007):
        source = DemoSource(DemoSize(workflows=1, members=members), no_time)
        (workflow,) = (await source.list_workflows()).workflows
        rows = (await source.get_workflow(workflow.id)).status.tasks
        assert len(rows) == len({row.task_key for row in rows}) == members
        assert all(parent < row.member for row in rows for parent in row.depends_on)


async def until_state(source: DemoSource, state: types_pb2.OperationState.ValueType) -> None:
    async with asyncio.timeout(60):
        while (await source.list_operations()).operations[0].state != state:  # noqa: ASYNC110  it has no event
            await asyncio.sleep(0)


async def test_what_has_not_begun_is_taken_back() -> None:
    over = asyncio.Event()

    async def window(_seconds: float) -> None:
        await over.wait()

    source = DemoSource(SIZE, window)
    cause = (await source.list_causes()).causes[0]
    done = await source.mutator().discard((), "old", cause=cause.fingerprint)
    await source.mutator().undo_operation(done.operation_id, "wrong one")
    over.set()
    await until_state(source, types_pb2.OPERATION_STATE_UNDONE)
    assert (await source.get_operation(done.operation_id)).operation.outcome == "wrong one"
    assert cause in (await source.list_causes()).causes
    with pytest.raises(SourceError, match="has begun"):
        await source.mutator().undo_operation(done.operation_id)
    with pytest.raises(SourceError, match="does not do canaries"):
        await source.mutator().retry(cause=cause.fingerprint, canary=True)


async def test_a_retried_cause_leaves_the_dead_letters() -> None:
    source = DemoSource(SIZE, no_time)
    cause = (await source.list_causes()).causes[0]
    await source.mutator().retry(cause=cause.fingerprint)
    await until_state(source, types_pb2.OPERATION_STATE_DONE)
    assert cause.fingerprint not in {left.fingerprint for left in (await source.list_causes()).causes}


@pytest.mark.parametrize(
    "text", ["nodes", "nodes=", "nodes=-1", "nodes=0", "nodes=2e9", "boxes=3", "tasks=1,nodes="]
)
def test_a_wrong_size_is_named(text: str) -> None:
    with pytest.raises(ClusterError, match="--demo") as error:
        parse_size(text)
    assert error.value.remedy


def test_a_size_is_read() -> None:
    assert parse_size("nodes=1000, tasks=100000,rate=1") == DemoSize(nodes=1000, tasks=100_000, rate=1)
    assert parse_size("") == DemoSize()


async def test_the_console_opens_on_it() -> None:
    app = Console(DemoSource(SIZE, no_time), clock=lambda: 0.0, ticking=False)
    async with app.run_test(size=(120, 40)) as pilot:
        async with asyncio.timeout(30):
            while not app.view.ready:
                await pilot.pause(0)
        assert len(app.view.nodes) == SIZE.nodes


def test_letters_have_five_causes_in_any_number() -> None:
    cluster = DemoSource(DemoSize(letters=5)).cluster
    assert len({row.fingerprint for row in cluster.letters()}) == 5


async def test_a_drain_is_rehearsed_undone_and_done() -> None:
    over = asyncio.Event()

    async def window(_seconds: float) -> None:
        await over.wait()

    source = DemoSource(SIZE, window)
    node = source.cluster.leader
    asked = cluster_pb2.DrainRequest(node=node, deadline_ms=60_000)
    plan = (await source.rehearse_drain(asked)).plan
    assert plan.moves
    assert all(move.to != node for move in plan.moves)
    drain = cluster_pb2.DrainRequest(node=node, plan_id=plan.id)
    done = await source.mutator().drain_node(drain)
    assert source.cluster.nodes[node].state == types_pb2.NODE_STATE_CORDONED
    with pytest.raises(SourceError, match="does not hold"):
        await source.mutator().drain_node(drain)
    await source.mutator().undo_operation(done.operation_id)
    assert source.cluster.nodes[node].state == types_pb2.NODE_STATE_ACTIVE
    plan = (await source.rehearse_drain(asked)).plan
    await source.mutator().drain_node(cluster_pb2.DrainRequest(node=node, plan_id=plan.id))
    over.set()
    await until_state(source, types_pb2.OPERATION_STATE_DONE)
    assert source.cluster.nodes[node].state == types_pb2.NODE_STATE_DRAINED
    with pytest.raises(SourceError, match="drained already"):
        await source.rehearse_drain(asked)
    assert not [
        row for row in source.cluster.queue() if row.node == node and row.state == types_pb2.TASK_STATE_RUNNING
    ]


@pytest.mark.parametrize("asked", [(), ("--read-only",)])
def test_the_console_begins_read_only_where_that_is_asked(
    asked: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[object] = []

    def run_console(_source: object, **how: object) -> int:
        begun.append(how["read_only"])
        return 0

    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("tui.verbs.console._needs_terminal", lambda: None)
    monkeypatch.setattr("tui.app.run_console", run_console)
    ran = CliRunner().invoke(root, ["console", "--demo", "small", *asked])
    assert (ran.exit_code, begun) == (0, [bool(asked)]), ran.output
