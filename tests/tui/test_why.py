"""Why a task is where it is: a verdict per node, of now for what waits, of then for what was placed."""

from __future__ import annotations

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake
from tests.tui.console import check_golden, open_console
from tests.tui.fake_source import FakeSource
from tui.screens.approvals import ApprovalsScreen
from tui.screens.node import NodeScreen
from tui.screens.task import TaskScreen
from tui.screens.why import WhyScreen

RENDER, TRAIN = "01jx00000001", "01jx00000004"


def placed() -> FakeSource:
    """Render was placed on anvil; birch was behind it, the others were no choice."""
    source = FakeSource()
    task = source.tasks[RENDER]
    task.assigned_at_us = task.started_at_us
    source.whys[RENDER] = cluster_pb2.WhyReply(
        task=task,
        past=True,
        index=task.fence,
        nodes=[
            cluster_pb2.NodeVerdict(node="anvil", eligible=True, score=61.5, terms=fake.terms(30, 40, 50, 5, 1)),
            cluster_pb2.NodeVerdict(node="birch", eligible=True, score=48.5, terms=fake.terms(18, 34, 71, 3, 2)),
            cluster_pb2.NodeVerdict(node="cedar", reason="needs 2.1 GB more memory", flip="free 2.1 GB on cedar",
                                    score=40, terms=fake.terms(4, 22, 93, 0.2, 0)),
            cluster_pb2.NodeVerdict(node="dune", reason="cordoned", flip="uncordon dune"),
        ],
        note="What elm measured then is not kept by this leader.",
    )  # fmt: skip
    return source


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_why_looks_as_recorded(size: tuple[int, int]) -> None:
    async with open_console(placed(), size) as session:
        await session.press("2", "slash", *"render", "enter", "W", "j")
        check_golden(f"why_{size[0]}x{size[1]}", session)


async def test_a_placement_names_its_winner_and_what_others_lack_to_it() -> None:
    async with open_console(placed(), (120, 30)) as session:
        await session.press("2", "slash", *"render", "enter", "W")
        assert "Placed 14:54:06.000, index" in session.text
        assert "anvil with 61.5 points, of 2 that take it" in session.text
        assert "anvil" in session.line_with("✓ placed")
        assert "-13.0" in session.line_with("birch")
        await session.press("j", "j")
        assert "needs 2.1 GB more memory" in session.line_with("why not")
        assert "free 2.1 GB on cedar" in session.line_with("unless ")
        assert "(+7.8)" in session.text, "cpu beside the winner's"


async def test_verdicts_are_filtered_and_sorted() -> None:
    async with open_console(placed(), (120, 30)) as session:
        await session.press("2", "slash", *"render", "enter", "W", "slash", *"verdict=no", "enter")
        assert "2 of 4" in session.text
        await session.press("escape", "s", *"node", "enter")
        rows = [line for line in session.lines if any(name in line for name in ("anvil  ", "dune  "))]
        assert "anvil" in rows[0]
        await session.press("I")
        rows = [line.split()[0] for line in session.lines[5:9]]
        assert rows[-1] == "anvil" or "anvil" in session.lines[8]


async def test_what_waits_is_judged_again_and_again_what_was_placed_once() -> None:
    source = placed()
    asked: list[str] = []
    real = source.why

    async def why(task_id: str, *, at: cluster_pb2.Moment | None = None) -> cluster_pb2.WhyReply:
        asked.append(task_id)
        return await real(task_id, at=at)

    source.why = why  # type: ignore[method-assign]
    async with open_console(source, (120, 30)) as session:
        await session.press("2", "slash", *"train", "enter", "W")
        assert asked == [TRAIN]
        await session.wait(1)
        assert asked == [TRAIN]
        await session.wait(1.5)
        assert asked == [TRAIN, TRAIN]
        await session.press("escape", "escape", "slash", *"render", "enter", "W")
        await session.wait(5)
        assert asked[2:] == [RENDER]


async def test_links_lead_on() -> None:
    async with open_console(placed(), (120, 30)) as session:
        await session.press("2", "slash", *"render", "enter", "W", "enter")
        assert isinstance(session.app.screen, NodeScreen)
        await session.press("escape", "d")
        assert isinstance(session.app.screen, TaskScreen)
        await session.press("e", "enter")
        assert isinstance(session.app.screen, NodeScreen), "from an event to its node"
        await session.press("escape", "W")
        assert isinstance(session.app.screen, WhyScreen)


async def test_an_earlier_placement_is_judged_as_of_before_it() -> None:
    source = placed()
    source.events.append(fake.event(15, types_pb2.EVENT_TYPE_ASSIGNED, task_id=RENDER, node="cedar", before_s=758))
    moments: list[int] = []
    real = source.why

    async def why(task_id: str, *, at: cluster_pb2.Moment | None = None) -> cluster_pb2.WhyReply:
        moments.append(at.index if at is not None else 0)
        return await real(task_id, at=at)

    source.why = why  # type: ignore[method-assign]
    async with open_console(source, (120, 30)) as session:
        await session.press("2", "slash", *"render", "enter", "enter", "e", "G", "W")
        assert moments[-1] == 14


async def test_a_task_that_is_gone_says_so() -> None:
    async with open_console(placed()) as session:
        source = session.source
        del source.tasks[RENDER]
        del source.whys[RENDER]

        async def why(task_id: str, *, at: cluster_pb2.Moment | None = None) -> cluster_pb2.WhyReply:
            from tui.source import SourceError

            raise SourceError(f"There is no task {task_id}.", "List them with `cortex tasks`.", "not_found")

        source.why = why  # type: ignore[method-assign]
        session.app.open_why(RENDER)
        await session.settle()
        assert f"There is no task {RENDER}" in session.text


async def test_verdicts_from_outside_are_text() -> None:
    source = placed()
    source.whys[RENDER].nodes[2].reason = "x\x1b[2J[red]"
    source.whys[RENDER].nodes[3].node = "d\x1b]0;x\x07"
    async with open_console(source, (120, 30)) as session:
        await session.press("2", "slash", *"render", "enter", "W", "j", "j", "j")
        assert "[red]" in session.text
        assert not any("\x1b[2J" in text or "\x1b]0" in text for text in session.app.sent)


async def test_approvals_say_that_there_are_none_yet() -> None:
    async with open_console() as session:
        await session.press("a")
        assert isinstance(session.app.screen, ApprovalsScreen)
        assert "No machine waits" in session.text
        await session.press("escape")
        assert "anvil" in session.text


async def test_double_runs_and_exits_of_attempts_are_in_the_details() -> None:
    source = placed()
    flaky = source.tasks["01jx00000009"]
    flaky.failures.add(run=1, attempt=3, node="birch", exit_code=7)

    async def double_runs(
        task: str = "", *, limit: int = 1000, at: object = None
    ) -> cluster_pb2.ListDoubleRunsReply:
        reply = cluster_pb2.ListDoubleRunsReply()
        if task == flaky.id:
            reply.double_runs.add(task=task, run=1, attempt=2, first_node="cedar", node="birch",
                                  reason="Its machine was lost.", at_us=fake.NOW_US)  # fmt: skip
        return reply

    source.list_double_runs = double_runs  # type: ignore[method-assign]
    async with open_console(source, (120, 60)) as session:
        await session.press("4", "enter")
        assert "BEGUN TWICE" in session.text
        assert "cedar and birch: Its machine was lost." in session.text
        assert "    7  " in session.line_with("dead letter  exit 7")
