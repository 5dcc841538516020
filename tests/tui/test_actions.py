"""Actions: what the preview shows is what is done, and nothing is done without being asked twice."""

from __future__ import annotations

from textual import events

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource
from tui.columns.base import Draw
from tui.drawing.draw import UNICODE, plain
from tui.keyboard.keytable import KEYMAP
from tui.plans import tasks as plans
from tui.plans.base import short_command
from tui.screens.preview import PreviewScreen
from tui.source import SourceError
from tui.store.view import ClusterView


def drawing(*tasks: types_pb2.Task) -> Draw:
    view = ClusterView()
    for task in tasks:
        view.put_task(task)
    return Draw(fake.NOW_US, 1000.0, UNICODE, view)


async def test_cancel_is_previewed_and_confirmed_by_one_key() -> None:
    async with open_console() as session:
        await session.press("2", "K")
        assert "Cancel 1 task" in session.text
        assert "backup" in session.text
        assert "cortex cancel 01jx00000002" in session.text
        assert "[ esc  do nothing ]" in session.text, "the focus is on doing nothing"
        await session.press("y")
        assert session.source.calls == [("cancel", ("01jx00000002",), "")]
        assert "Cancel of 1 task accepted at index 2,000" in session.lines[-1]


async def test_a_key_typed_before_the_preview_was_seen_confirms_nothing() -> None:
    async with open_console() as session:
        await session.press("2")
        for name in ("K", "y"):
            event = events.Key(name, name)
            event.set_sender(session.app)
            session.app.post_message(event)
        await session.settle()
        assert "came before this was shown" in session.text
        assert session.source.calls == []
        await session.press("y")
        assert len(session.source.calls) == 1


async def test_a_click_on_the_button_confirms() -> None:
    async with open_console() as session:
        await session.press("2", "K")
        await session.pilot.click("#do")
        await session.settle()
        assert len(session.source.calls) == 1


async def test_enter_escape_and_q_do_nothing() -> None:
    for key in ("enter", "escape", "q", "space"):
        async with open_console() as session:
            await session.press("2", "K", key)
            assert len(session.app.screen_stack) == 1
            assert session.source.mutators == 0


async def test_the_button_works_too() -> None:
    async with open_console() as session:
        await session.press("2", "K", "tab")
        assert "[ y  cancel 1 task ]" in session.text
        await session.press("enter")
        assert len(session.source.calls) == 1


async def test_marked_tasks_are_listed_and_ended_ones_left_out() -> None:
    async with open_console() as session:
        await session.press("2", "slash", *"backup or hello", "enter", "space", "space", "K")
        assert "Cancel 1 task" in session.text
        assert "Left out" in session.text
        assert "has ended" in session.text
        await session.press("y")
        assert session.source.calls == [("cancel", ("01jx00000002",), "")]
        assert "marked" not in session.lines[1]


async def test_nothing_to_do_cannot_be_confirmed() -> None:
    async with open_console() as session:
        await session.press("2", "slash", *"hello", "enter", "K")
        assert "There is nothing to do" in session.text
        await session.press("y")
        assert session.source.mutators == 0


async def test_more_than_ten_want_their_number_typed() -> None:
    tasks = [fake.task(number, f"job{number}", fake.QUEUED) for number in range(1, 13)]
    async with open_console(FakeSource(tasks=tasks)) as session:
        await session.press("2", *["space"] * 12, "K")
        assert "Type 12 to confirm" in session.text
        await session.press("y")
        assert session.source.calls == []
        assert "Type 12 first" in session.text
        await session.press("1", "3", "y")
        assert session.source.calls == []
        await session.press("backspace", "2", "y")
        assert len(session.source.calls) == 1
        assert len(session.source.calls[0][1]) == 12  # type: ignore[arg-type]


async def test_a_plan_that_no_longer_holds_is_shown_again() -> None:
    async with open_console() as session:
        await session.press("2", "slash", *"thumbs", "enter", "K")
        assert "will never run" in session.text
        started = types_pb2.Task()
        started.CopyFrom(session.source.tasks["01jx00000005"])
        started.state, started.node, started.modified_index = fake.RUNNING, "birch", 9000
        started.started_at_us = fake.NOW_US - 5_000_000
        session.source.push(started)
        await session.settle()
        await session.press("y")
        assert session.source.calls == [], "it runs now, which was not shown"
        assert "Look again" in session.text
        assert "1 task running: TERM now" in session.text
        await session.press("y")
        assert session.source.calls == [("cancel", ("01jx00000005",), "")]


async def test_a_plan_that_shrank_goes_on() -> None:
    async with open_console() as session:
        await session.press("2", "space", "space", "K")
        ended = types_pb2.Task()
        ended.CopyFrom(session.source.tasks["01jx00000002"])
        ended.state, ended.completed_at_us, ended.modified_index = fake.COMPLETED, fake.NOW_US, 9000
        session.source.push(ended)
        await session.settle()
        await session.press("y")
        assert session.source.calls == [("cancel", ("01jx00000001",), "")]


async def test_a_refusal_is_shown_with_its_remedy() -> None:
    async with open_console() as session:
        session.source.refuse = SourceError("No leader is known.", "Wait for an election.")
        await session.press("2", "K", "y")
        assert "No leader is known. Wait for an election." in session.text
        session.source.refuse = None
        await session.press("y")
        assert len(session.source.calls) == 1


async def test_retry_of_a_dead_letter() -> None:
    async with open_console() as session:
        await session.press("4", "r")
        assert "Retry 1 task" in session.text
        assert "$ cortex retry 01jx00000009" in session.text
        await session.press("y")
        assert session.source.calls == [("retry", ("01jx00000009",))]


async def test_cordon_counts_what_runs_and_what_stays_open() -> None:
    async with open_console() as session:
        await session.press("c")
        assert "Cordon 1 node" in session.text
        assert "1 running, 0 assigned" in session.text
        assert "2 nodes that stay open" in session.text
        await session.press("y")
        assert session.source.calls == [("cordon", "anvil", "")]
        await session.press("j", "j", "j", "C")
        assert "Uncordon 1 node" in session.text
        await session.press("y")
        assert session.source.calls[-1] == ("uncordon", "dune")


async def test_a_message_goes_with_a_cordon() -> None:
    async with open_console() as session:
        await session.press("c", "m", *"new disk", "enter")
        assert "Message: new disk" in session.text
        assert "$ cortex cordon anvil --message 'new disk'" in session.text
        await session.press("y")
        assert session.source.calls == [("cordon", "anvil", "new disk")]


async def test_cordoning_the_last_open_node_is_said() -> None:
    nodes = [fake.node_view("only"), fake.node_view("away", online=False)]
    async with open_console(FakeSource(nodes=nodes)) as session:
        await session.press("slash", *"only", "enter", "c")
        assert "No other node is open" in session.text


async def test_submit_is_tried_dry_then_shown_then_done() -> None:
    async with open_console() as session:
        await session.press("S", *"make all", "tab", *"build", "tab", *"7")
        assert "$ cortex submit --name build --priority 7 -- sh -c 'make all'" in session.text
        await session.press("enter")
        assert "Would go to birch, score 61.5" in session.text
        assert session.source.calls == []
        await session.press("y")
        verb, request = session.source.calls[0]
        assert verb == "submit"
        assert request.name == "build"  # type: ignore[attr-defined]
        assert request.priority == 7  # type: ignore[attr-defined]
        assert request.spec.shell_command == b"make all"  # type: ignore[attr-defined]
        assert len(session.app.screen_stack) == 1
        assert "Submitted as 01jx00000099" in session.lines[-1]


async def test_the_form_names_the_bad_field_and_keeps_the_rest() -> None:
    async with open_console() as session:
        await session.press("S", *"ls", "tab", "tab", *"NaN", "enter")
        assert "priority" in session.line_with("NaN")
        assert session.source.mutators == 0
        assert "whole number" in session.text
        await session.press("escape")
        assert len(session.app.screen_stack) == 1


async def test_an_empty_form_is_not_submitted() -> None:
    async with open_console() as session:
        await session.press("S", "enter")
        assert "command: there is none" in session.text


def test_cancel_plans_count_the_work_that_is_lost() -> None:
    running = fake.task(1, "long", fake.RUNNING, started_s=3600, node="n1")
    plan = plans.cancel(drawing(running), [running.id, "gone"])
    assert plan.title == "Cancel 1 task"
    assert "60m of work is lost" in " ".join(plain(line) for line in plan.consequences)
    assert "no longer known" in plain(plan.left_out[0])


def test_retry_of_a_lost_task_warns_of_a_second_run() -> None:
    lost = fake.task(1, "held", fake.RUNNING, started_s=60, node="n1")
    lost.lost_at_us = fake.NOW_US
    plan = plans.retry(drawing(lost), [lost.id])
    assert any("run twice" in plain(line) for line in plan.consequences)
    fine = fake.task(2, "fine", fake.RUNNING, started_s=60, node="n1")
    assert plans.retry(drawing(fine), [fine.id]).objects == ()


def test_a_long_list_of_ids_is_shortened_on_the_command_line() -> None:
    tasks = [fake.task(number, "x", fake.QUEUED) for number in range(1, 9)]
    plan = plans.cancel(drawing(*tasks), [task.id for task in tasks])
    assert plan.command == " ".join(["cortex cancel", *(task.id for task in tasks)])
    assert short_command(plan.command, plan.ids).endswith("and 6 more")
    assert len(plan.ids) == 8


async def test_no_other_key_confirms_a_preview() -> None:
    names = {name for key in KEYMAP for name in key.keys} | {"0", "9", "backspace", "Y"}
    async with open_console() as session:
        preview = None
        for name in sorted(names - {"y", "Q", "ctrl+c"}):
            # To open it costs many times what a key does: it is opened anew when a key has left it.
            if preview is None or session.app.screen is not preview:
                while len(session.app.screen_stack) > 1:
                    await session.app.pop_screen()
                    await session.settle()
                await session.press("2", "K")
                preview = session.app.screen
                assert isinstance(preview, PreviewScreen)
            await session.press(name)
            assert session.source.calls == [], name


async def test_all_that_match_are_marked_and_unmarked() -> None:
    async with open_console() as session:
        await session.press("2", "slash", *"state=queued", "enter", "asterisk")
        assert "2 marked" in session.lines[1]
        await session.press("U")
        assert "marked" not in session.lines[1]
