"""The list of operations, and one with its plan and its tasks."""

from __future__ import annotations

import pytest

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import check_golden, open_console
from tests.tui.fake_source import FakeSource

SIZES = {"80x24": (80, 24), "200x50": (200, 50)}
SCREENS: dict[str, tuple[str, ...]] = {
    "operations": ("L",),
    "operation": ("L", "j", "enter"),
    "stop_operation": ("L", "j", "K"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("screen", SCREENS)
async def test_screen_is_as_recorded(screen: str, size: str) -> None:
    async with open_console(None, SIZES[size]) as session:
        await session.press(*SCREENS[screen])
        check_golden(f"{screen}_{size}", session)


async def test_operations_are_in_the_palette() -> None:
    async with open_console() as session:
        await session.press("ctrl+p", *"operations", "enter")
        assert "KIND" in session.text
        await session.press("L")
        assert len(session.app.screen_stack) == 2, "once is enough"
        await session.press("q")
        assert len(session.app.screen_stack) == 1


async def test_an_operation_is_stopped_after_a_preview_with_a_reason() -> None:
    async with open_console() as session:
        await session.press("L", "j", "K")
        assert "Stop canary of cause 01234567" in session.text
        assert "What was done of 5 tasks stays; 45 are left alone." in session.text
        await session.press("m", *"wrong one", "enter")
        assert "$ cortex undo 01op00000003 --stop --reason 'wrong one'" in session.text
        assert session.source.calls == []
        await session.press("y")
        assert session.source.calls == [("stop_operation", "01op00000003")]
        assert "stopped" in session.line_with("01234567")


async def test_one_that_has_ended_cannot_be_stopped_or_undone() -> None:
    async with open_console() as session:
        await session.press("L", "G", "K")
        assert "Nothing to stop" in session.text
        assert "is stopped already" in session.text
        await session.press("y", "escape", "u")
        assert "Nothing to undo" in session.text
        await session.press("y")
        assert session.source.mutators == 0


async def test_an_operation_shows_its_tasks_and_goes_on_while_it_is_looked_at() -> None:
    row = fake.operation(9, types_pb2.OPERATION_KIND_DISCARD, types_pb2.OPERATION_STATE_RUNNING,
                         ids=["01jx00000001"], total=1, reason="old")  # fmt: skip
    member = fake.task(1, "letter", fake.DEAD, ended_s=60)
    revived = fake.task(2, "revived", fake.RUNNING, started_s=5)
    revived.operation = row.id
    source = FakeSource(tasks=[member, revived, fake.task(3, "unrelated", fake.QUEUED)])
    source.operations[row.id] = row
    async with open_console(source, (120, 40)) as session:
        await session.press("L", "enter")
        assert "discard of 1 task" in session.text
        assert "letter" in session.text
        assert "revived" in session.text
        assert "unrelated" not in session.text
        done = types_pb2.Operation()
        done.CopyFrom(row)
        done.state, done.outcome, done.modified_index = types_pb2.OPERATION_STATE_DONE, "1 of 1 tasks", 9000
        source.push(done)
        await session.settle()
        assert "1 of 1 tasks" in session.text
        await session.press("tab", "enter")
        assert "01jx00000002" in session.text
        assert "running" in session.lines[2]
