"""What was asked for can be taken back until it begins, and the footer says for how long."""

from __future__ import annotations

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_letters import letters
from tests.tui.fake_source import FakeSource
from tui.columns.base import Draw
from tui.console.undo import OwnOperations
from tui.drawing.draw import UNICODE
from tui.store.view import ClusterView


async def test_the_footer_counts_down_and_u_takes_it_back_after_a_preview() -> None:
    async with open_console(FakeSource(tasks=letters(30))) as session:
        await session.press("4", "b", "y")
        assert "u undo 10s" in session.lines[-1]
        await session.wait(7)
        assert "u undo canary of cause 002a9c41 3s" in session.lines[-1]
        session.source.push(at_us=fake.NOW_US + 7_000_000)  # the link is alive
        await session.settle()
        await session.press("u")
        assert session.source.calls == [("canary", "002a9c41e77")], "nothing without the preview"
        assert "Undo canary of cause 002a9c41" in session.text
        assert "$ cortex undo op-1" in session.text
        await session.press("enter")
        assert len(session.source.calls) == 1
        await session.press("u", "y")
        assert session.source.calls[-1] == ("undo_operation", "op-1")
        assert "undo canary" not in session.lines[-1]


async def test_the_preview_of_an_undo_counts_down_and_says_when_it_is_too_late() -> None:
    async with open_console(FakeSource(tasks=letters(30))) as session:
        await session.press("4", "b", "y", "u")
        assert "It begins in 10 s" in session.text
        await session.wait(1)
        assert "It begins in 9 s" in session.text
        assert "begins in 9s" in session.text
        begun = types_pb2.Operation()
        begun.CopyFrom(session.source.operations["op-1"])
        begun.state, begun.modified_index = types_pb2.OPERATION_STATE_RUNNING, begun.modified_index + 1
        session.source.push(begun)
        await session.settle()
        assert "has begun: K in L stops it" in session.text
        assert "Nothing to undo" in session.text


async def test_how_a_change_of_priority_ended_is_said_in_words() -> None:
    own, view = OwnOperations(), ClusterView()
    own.add(["op-1"])
    row = types_pb2.Operation(
        id="op-1",
        kind=types_pb2.OPERATION_KIND_PRIORITY,
        state=types_pb2.OPERATION_STATE_DONE,
        created_at_us=fake.NOW_US,
        begun_at_us=fake.NOW_US + 1,
        counts=types_pb2.OperationCounts(total=3, issued=2),
        bulk=types_pb2.BulkPlan(ids=["a", "b", "c"], priority=7),
    )
    view.operations.put(row.id, row)
    draw = Draw(fake.NOW_US, 0.0, UNICODE, view)
    assert own.news(draw) == [("Priority 7 for 2 tasks, 1 had begun or ended.", "ok")]
    assert own.news(draw) == []


async def test_of_several_the_newest_is_taken_back_first() -> None:
    async with open_console(FakeSource(tasks=letters(30))) as session:
        await session.press("4", "b", "y", "j", "b", "y", "j", "X", *"no", "enter", "y")
        assert "u undo 10s +2" in session.lines[-1]
        undone = []
        for _ in range(3):
            await session.press("u", "y")
            undone.append(session.source.calls[-1])
        assert undone == [("undo_operation", key) for key in ("op-3", "op-2", "op-1")]
        await session.press("u")
        assert "Nothing to undo" in session.lines[-1]
        assert len(session.app.screen_stack) == 1


async def test_what_has_begun_meanwhile_is_not_taken_back() -> None:
    async with open_console(FakeSource(tasks=letters(30))) as session:
        await session.press("4", "b", "y", "u")
        begun = types_pb2.Operation()
        begun.CopyFrom(session.source.operations["op-1"])
        begun.state, begun.modified_index = types_pb2.OPERATION_STATE_RUNNING, begun.modified_index + 1
        session.source.push(begun)
        await session.settle()
        await session.press("y")
        assert len(session.source.calls) == 1
        assert "has begun" in session.text


async def test_read_only_offers_no_undo() -> None:
    async with open_console(FakeSource(tasks=letters(30))) as session:
        await session.press("4", "b", "y", "R", "u")
        assert "Read-only" in session.lines[-1]
        assert len(session.source.calls) == 1
        assert session.source.mutators == 1


async def test_what_other_consoles_began_is_undone_from_the_operations_only() -> None:
    async with open_console() as session:
        await session.press("u")
        assert "Nothing to undo" in session.lines[-1]
        await session.press("L", "j", "u")
        assert "Nothing to undo" in session.text
        assert "01op00000003  has begun: K in L stops it" in session.text
        await session.press("escape", "k", "u", "y")
        assert session.source.calls == [("undo_operation", "01op00000004")]


async def test_an_operation_that_ends_is_said() -> None:
    async with open_console(FakeSource(tasks=letters(30)), (120, 30)) as session:
        await session.press("4", "b", "y")
        done = types_pb2.Operation()
        done.CopyFrom(session.source.operations["op-1"])
        done.state, done.modified_index = types_pb2.OPERATION_STATE_DONE, done.modified_index + 1
        done.begun_at_us = fake.NOW_US + 10_000_000
        done.counts.CopyFrom(types_pb2.OperationCounts(total=6, issued=6, succeeded=5))
        session.source.push(done)
        await session.settle()
        assert "Cause 002a9c41" not in session.lines[-1], "one still runs"
        done.modified_index += 1
        done.counts.failed = 1
        session.source.push(done)
        await session.settle()
        assert "Cause 002a9c41: canary: 6 of 6, 5 ok, 1 failed." in session.lines[-1]
