"""A drain as it goes: what was foretold beside what happens, and how it ended."""

from __future__ import annotations

from random import Random

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.drain_kit import BACKUP, drained, moved, told
from tui.columns.drain import DrainBoard
from tui.screens.drain import DrainScreen
from tui.screens.drain_progress import DrainProgressScreen
from tui.store.view import ClusterView


def test_a_board_that_follows_each_change_equals_one_that_is_made_anew() -> None:
    for seed in range(50):
        random = Random(seed)
        view = ClusterView()
        keys = [f"t{number}" for number in range(12)]
        plan = types_pb2.DrainPlan(
            moves=[types_pb2.DrainMove(task=key, to=random.choice(["a", "b", ""])) for key in keys[:8]],
            stuck=[types_pb2.DrainStuck(task=key, dead_letter=random.random() < 0.5) for key in keys[8:]],
        )
        operation = types_pb2.Operation(
            id="op", node="a", state=random.choice(types_pb2.OperationState.values()[1:]), drain=plan
        )
        board = DrainBoard()
        board.load(operation, view)
        for index in range(60):
            task = types_pb2.Task(
                id=random.choice(keys), name="x", node=random.choice("abc"), modified_index=index,
                state=random.choice(types_pb2.TaskState.values()[1:]), migrate_requested=random.random() < 0.3,
            )  # fmt: skip
            view.put_task(task)
            board.follow([task])
        fresh = DrainBoard()
        fresh.load(operation, view)
        assert {row.id: row for row in board.rows.values()} == {row.id: row for row in fresh.rows.values()}
        assert +board.phases == +fresh.phases
        assert len(board) == 12


async def test_the_progress_compares_what_was_foretold_with_what_happens() -> None:
    async with open_console(drained(), (120, 30)) as session:
        await session.press("D", "y")
        assert "Begins in 10s; until then u undoes it" in session.text
        await session.wait(4)
        assert "Begins in 6s" in session.text
        row = told(session, types_pb2.OPERATION_STATE_RUNNING, begun_at_us=fake.NOW_US + 10_000_000)
        session.source.push(row, moved(session, BACKUP, "birch", fake.RUNNING), at_us=fake.NOW_US + 12_000_000)
        await session.settle()
        assert "1 of 3 left it" in session.text
        assert "deadline in" in session.text
        went = session.line_with("backup")
        assert [word for word in ("landed", "cedar", "birch") if word not in went] == []
        assert "here" in session.line_with("render")
        row = told(session, types_pb2.OPERATION_STATE_DONE, outcome="1 of 2 tasks went elsewhere than foretold.")
        row.drain.took_ms = 4200
        row.drain.moves[0].actual = "birch"
        session.source.push(row)
        await session.settle()
        assert "Empty after " in session.text
        assert "elsewhere than foretold" in session.text


async def test_an_undone_and_a_refused_drain_say_so() -> None:
    for state, said in (
        (types_pb2.OPERATION_STATE_UNDONE, "Undone: nothing has moved"),
        (types_pb2.OPERATION_STATE_REFUSED, "Refused at its begin: nothing has moved"),
        (types_pb2.OPERATION_STATE_STOPPED, "Stopped: what has moved stays where it is"),
    ):
        async with open_console(drained(), (120, 30)) as session:
            await session.press("D", "y")
            session.source.push(told(session, state))
            await session.settle()
            assert said in session.text


async def test_a_node_under_a_drain_shows_how_that_goes() -> None:
    source = drained()
    source.nodes["anvil"].node.operation = "op-9"
    source.operations["op-9"] = types_pb2.Operation(
        id="op-9", kind=types_pb2.OPERATION_KIND_DRAIN, state=types_pb2.OPERATION_STATE_RUNNING, node="anvil",
        drain=source.rehearsal,
    )  # fmt: skip
    async with open_console(source, read_only=True) as session:
        await session.press("D")
        assert isinstance(session.app.screen, DrainProgressScreen)
        assert source.rehearsals == []
        await session.press("escape", "enter", "D")
        assert isinstance(session.app.screen, DrainProgressScreen)


async def test_a_drained_node_shows_how_that_went() -> None:
    source = drained()
    source.nodes["anvil"].node.state = types_pb2.NODE_STATE_DRAINED
    async with open_console(source, (120, 30)) as session:
        await session.press("D")
        assert isinstance(session.app.screen, DrainScreen), "of a drain that is forgotten nothing can be shown"
        await session.press("escape")
        done = types_pb2.Operation(
            id="op-9", kind=types_pb2.OPERATION_KIND_DRAIN, state=types_pb2.OPERATION_STATE_DONE, node="anvil",
            drain=source.rehearsal, outcome="All landed where they were forecast",
        )  # fmt: skip
        source.push(done)
        await session.settle()
        await session.press("D")
        assert isinstance(session.app.screen, DrainProgressScreen)
        assert "All landed where they were forecast" in session.text
        await session.press("escape", "enter")
        assert "D shows how it went" in session.text


async def test_the_progress_of_a_forgotten_drain_says_so() -> None:
    async with open_console(drained()) as session:
        session.app.open_drain("gone")
        await session.settle()
        assert "There is no operation gone" in session.text
