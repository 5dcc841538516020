"""View 2 in groups that open, another priority, and a cancel with a reason."""

from __future__ import annotations

import random
from unittest.mock import patch

import pytest

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import check_golden, open_console
from tests.tui.fake_source import FakeSource
from tui.columns.tasks import QUEUE, urgency
from tui.lists.grouping import GROUPINGS, HEAD, STEP, Grouping, name_template
from tui.store.view import ClusterView
from tui.widgets.grouptable import GroupTable

STATES = (fake.QUEUED, fake.RUNNING, fake.COMPLETED, fake.DEAD)


def shown(grouping: Grouping) -> dict[str, object]:
    """What the lines say: counts of groups, and the tasks of open ones."""
    return {
        key: line.counts if line.task is None else (line.group, line.task.state)
        for key in grouping.lines.keys
        if (line := grouping.lines.get(key)) is not None
    }


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_groups_are_as_recorded(size: tuple[int, int]) -> None:
    async with open_console(None, size) as session:
        await session.press("2", "t", *"state", "enter", "j", "j", "enter")
        check_golden(f"queue_groups_{size[0]}x{size[1]}", session)


async def test_a_group_opens_closes_and_stands_for_its_tasks() -> None:
    async with open_console() as session:
        await session.press("2", "t", *"node", "enter")
        assert "by node" in session.lines[1]
        assert "render" not in session.text
        await session.press("enter")
        assert "render" in session.line_with("render")
        await session.press("K")
        assert "Cancel 1 task" in session.text
        assert "render" in session.text
        assert "hello" in session.text, "which has ended and is left out"
        await session.press("escape", "enter")
        assert "render" not in session.text
        await session.press("t", *"one by", "enter")
        assert "PRI" in session.lines[2]
        assert "backup" in session.text


async def test_a_filter_counts_what_matches() -> None:
    async with open_console() as session:
        await session.press("2", "t", *"state", "enter", "slash", *"backup", "enter")
        assert "1 running" in session.text
        assert "queued" not in session.text
        await session.press("escape")
        assert "2 queued" in session.text


async def test_groups_are_counted_anew_for_ages_as_seldom_as_there_are_many_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui.widgets.table.JUDGED_A_SECOND", 1)
    tasks = [fake.task(number, "job", fake.QUEUED, created_s=10) for number in range(20)]
    async with open_console(FakeSource(tasks=tasks)) as session:
        await session.press("2", "t", *"state", "enter", "slash", *"age<1m", "enter")
        assert "20 queued" in session.text
        grouping = session.app.screen.query_one("#groups", GroupTable).grouping
        with patch.object(grouping, "filter_by", wraps=grouping.filter_by) as counted:
            await session.wait(19)
            assert counted.call_count == 0
            await session.wait(1)
            assert counted.call_count == 1
        await session.wait(40)
        assert "queued" not in session.text


async def test_groups_follow_the_stream() -> None:
    async with open_console() as session:
        await session.press("2", "t", *"state", "enter")
        row = types_pb2.Task()
        row.CopyFrom(session.source.tasks["01jx00000004"])
        row.state, row.modified_index = fake.RUNNING, 9000
        session.source.push(row)
        await session.settle()
        assert "1 queued" in session.text
        assert "3 running" in session.text


@pytest.mark.parametrize("kind", GROUPINGS)
def test_a_grouping_kept_up_equals_one_made_anew(kind: str) -> None:
    chance = random.Random(20)
    view = ClusterView()
    kept = Grouping(view.tasks, GROUPINGS[kind], urgency)
    for index in range(1, 400):
        number = chance.randrange(40)
        task = fake.task(number, f"job-{number % 4}-{index}", chance.choice(STATES), node=f"n{chance.randrange(3)}")
        task.modified_index = index
        if chance.random() < 0.1:
            view.tasks.remove(task.id)
        else:
            view.tasks.put(task.id, task)
        if chance.random() < 0.1:
            kept.filter_by(QUEUE.parse(chance.choice(("", "job-1", "!job-1")), view.tasks))
        if chance.random() < 0.3:
            kept.update()
        heads = [key for key in shown(kept) if key.startswith(HEAD)]
        if heads and chance.random() < 0.1:
            kept.toggle(chance.choice(heads).removeprefix(HEAD))
    while kept.counting:
        kept.update()
    fresh = Grouping(view.tasks, GROUPINGS[kind], urgency)
    fresh.filter_by(kept._filter)
    for group in kept._open:
        fresh.toggle(group)
    mine, theirs = shown(kept), shown(fresh)
    assert {key: sorted(value) if isinstance(value, tuple) and key.startswith(HEAD) else value
            for key, value in mine.items()} == {
            key: sorted(value) if isinstance(value, tuple) and key.startswith(HEAD) else value
            for key, value in theirs.items()}  # fmt: skip


def test_many_tasks_are_counted_step_by_step() -> None:
    view = ClusterView()
    for number in range(STEP * 2 + 10):
        view.put_task(fake.task(number, "job", fake.QUEUED))
    grouping = Grouping(view.tasks, GROUPINGS["name"], urgency)
    assert grouping.counting
    assert grouping.lines.get(HEAD + "job").total == STEP  # type: ignore[union-attr]
    grouping.update()
    grouping.update()
    assert not grouping.counting
    assert grouping.lines.get(HEAD + "job").total == STEP * 2 + 10  # type: ignore[union-attr]
    assert sum(1 for _ in grouping.members("job")) == STEP * 2 + 10


def test_names_of_one_series_have_one_template() -> None:
    row = fake.task(1, "render-0017.png", fake.QUEUED)
    assert name_template(row) == "render-#.png"
    row.template = "each"
    assert name_template(row) == "each"


async def test_a_priority_is_asked_for_then_shown_then_given() -> None:
    async with open_console() as session:
        await session.press("2", "slash", *"state=queued", "enter", "P", *"eleven", "enter")
        assert "from 0 to 10, or P0, P1 or P2" in session.text
        await session.press(*["backspace"] * 6, "9", "enter")
        assert "Give 1 task priority 9" in session.text
        assert "priority 7 now" in session.text
        assert "$ cortex priority 01jx00000004 9" in session.text
        assert session.source.calls == []
        await session.press("y")
        assert session.source.calls == [("set_priority", ("01jx00000004",), 9)]
        assert "u undo" in session.lines[-1]


async def test_a_priority_is_only_for_what_waits() -> None:
    async with open_console(FakeSource(tasks=[fake.task(1, "runs", fake.RUNNING, started_s=3)])) as session:
        await session.press("2", "P", "5", "enter")
        assert "waits no more" in session.text
        await session.press("y")
        assert session.source.mutators == 0


async def test_a_cancel_takes_a_reason() -> None:
    async with open_console() as session:
        await session.press("2", "K", "m", *"not now", "enter")
        assert "--reason 'not now'" in session.text
        assert session.source.calls == []
        await session.press("y")
        assert session.source.calls == [("cancel", ("01jx00000002",), "not now")]
