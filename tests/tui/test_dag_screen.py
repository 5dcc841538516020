"""The DAG by keys: folds, edges, failures, the critical path, layers, and nothing changed without a preview."""

from __future__ import annotations

import re

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake
from tests.tui.console import Session, check_golden, open_console
from tests.tui.fake_dags import PENDING, member, nightly, release, status
from tests.tui.test_hostile import NASTY
from tests.tui.test_screens import SIZES
from tests.tui.test_workflows_screen import RELEASE, source_of
from tui.drawing.text import width_of
from tui.tty.terminal import Terminal


def cursor(session: Session) -> str:
    """The line under the cursor, without its columns."""
    return session.line_with("▌ ")[2:40].strip()


@pytest.mark.parametrize("size", SIZES)
async def test_the_screens_are_as_recorded(size: str) -> None:
    async with open_console(source_of(release()), SIZES[size]) as session:
        await session.press("3", "enter", "c")
        check_golden(f"dag_{size}", session)
        await session.press("equals_sign", "m")
        check_golden(f"dag_layers_{size}", session)
        await session.press("m")
        check_golden(f"dag_list_{size}", session)
        await session.press("m", "r")
        check_golden(f"dag_again_{size}", session)


async def test_edges_are_followed_both_ways() -> None:
    async with open_console(source_of(release()), (120, 30)) as session:
        await session.press("3", "enter", "l")
        assert "deploy" in cursor(session)
        await session.press("l", "h")
        assert "announce" in cursor(session), "what it depends on that is listed nearest"
        await session.press("g", "h")
        assert "test" in cursor(session)
        assert "It depends on nothing." in session.lines[-1]
        await session.press("G", "l")
        assert "Nothing depends on it." in session.lines[-1]


async def test_folds_keep_the_cursor_on_what_it_was_on() -> None:
    async with open_console(source_of(release()), (120, 30)) as session:
        await session.press("3", "enter", "j", "j", "j")
        assert "pack[*]" in cursor(session)
        await session.press("enter")
        assert "pack[0]" in cursor(session), "enter opens a fold"
        await session.press("j", "j", "underscore")
        assert "pack[*]" in cursor(session)
        await session.press("plus", "equals_sign")
        assert "pack[*]" in cursor(session)
        await session.press("equals_sign")
        assert "pack[0]" in cursor(session)
        await session.press("g", "plus")
        assert "Nothing is folded into this row." in session.lines[-1]
        await session.press("underscore")
        assert "nothing around this row" in session.lines[-1]


async def test_the_next_failure_is_found_inside_a_fold() -> None:
    reply = release()
    reply.status.tasks[3].state = fake.DEAD
    async with open_console(source_of(reply), (120, 30)) as session:
        await session.press("3", "enter", "f")
        assert "pack[1]" in cursor(session)
        await session.press("f")
        assert "test" in cursor(session)
    async with open_console(source_of(status(RELEASE, "well", [member(RELEASE, 0, "a", fake.RUNNING)]))) as session:
        await session.press("3", "enter", "f")
        assert "Nothing has failed." in session.lines[-1]


async def test_the_critical_path_says_when_it_ends() -> None:
    async with open_console(source_of(release()), (120, 30)) as session:
        await session.press("3", "enter", "c")
        assert "critical path: 4 tasks, about 1m42s left, ends 15:08:22 UTC" in session.text
        assert "★" in session.line_with("publish")
        assert "★" not in session.line_with("lint")
        done = types_pb2.Task()
        done.CopyFrom(release().status.tasks[7])
        done.state, done.modified_index = fake.COMPLETED, 900
        session.source.push(done)
        await session.wait(2)
        assert "★" not in session.line_with("publish")
        await session.press("c")
        assert "critical path:" not in session.text


async def test_retry_from_here_shows_exactly_what_reruns() -> None:
    async with open_console(source_of(release()), (120, 40)) as session:
        await session.press("3", "enter", "r")
        assert "Run 2 tasks again from test" in session.text
        assert f"cortex workflow resume {RELEASE} --from test" in session.text
        await session.press("enter")
        assert session.source.mutators == 0
        await session.press("r", "y")
        assert session.source.calls == [("resume_workflow", RELEASE, "test")]


async def test_a_folded_map_runs_again_as_a_whole() -> None:
    async with open_console(source_of(release()), (120, 40)) as session:
        await session.press("3", "enter", "j", "j", "j", "r")
        assert "--from pack" in session.text
        assert "runs once more" in session.line_with("pack[0]")
        await session.press("escape", "space", "space", "r")
        assert "It runs again from one task on" in session.lines[-1]


async def test_cancel_of_what_is_folded_and_marked() -> None:
    async with open_console(source_of(release()), (120, 40)) as session:
        await session.press("3", "enter", "j", "j", "j", "space", "space", "K")
        assert "Cancel 3 tasks" in session.text, "what runs and waits of the map, and what it is before"
        await session.press("y")
        assert session.source.calls == [("cancel", (f"{RELEASE}.4", f"{RELEASE}.5", f"{RELEASE}.7"), "")]


async def test_what_ended_before_the_console_began_is_left_out_of_a_cancel() -> None:
    async with open_console(size=(120, 40)) as session:
        await session.press("3", "enter", "j", "j", "K")
        assert "Nothing to cancel" in session.text
        assert "lint" in session.line_with("has ended")


async def test_enter_output_and_events_lead_to_the_task() -> None:
    for key, shown in (("enter", "Details"), ("o", "OUTPUT"), ("e", "Events")):
        async with open_console(source_of(release())) as session:
            await session.press("3", "enter", key)
            assert shown in session.text
            assert "test" in session.text
            await session.press("escape")
            assert "m rail" in session.text
    async with open_console(source_of(release())) as session:
        await session.press("3", "enter", "j", "j", "j", "o")
        assert "+ opens this row" in session.lines[-1]


async def test_a_filter_finds_what_is_folded_and_goes_back_to_the_rail() -> None:
    async with open_console(source_of(release()), (120, 30)) as session:
        await session.press("3", "enter", "slash", *"state=running", "enter")
        assert "pack[2]" in cursor(session)
        assert "m list" in session.text
        await session.press("plus")
        assert "A list folds nothing" in session.lines[-1]
        await session.press("l")
        assert "The filter hides it" in session.lines[-1]
        await session.press("escape")
        assert "pack[*]" in cursor(session)
        assert "m rail" in session.text
        await session.press("greater_than_sign")
        assert "STATE▴" in session.text
        assert "m list" in session.text
        await session.press("less_than_sign")
        assert "m rail" in session.text


async def test_layers_are_walked_and_folded() -> None:
    async with open_console(source_of(release()), (160, 40)) as session:
        await session.press("3", "enter", "m", "l")
        assert "deploy  ↷ skipped" in session.text
        await session.press("k")
        assert "pack[*]" in session.lines[-5]
        await session.press("plus")
        assert "pack[2]" in session.text
        await session.press("underscore", "r")
        assert "--from pack" in session.text
        await session.press("escape", "f", "enter")
        assert "test" in session.lines[2], "the task is open"
        await session.press("escape", "slash", *"lint", "enter")
        assert "m list" in session.text
        await session.press("escape", "m", "c")
        assert "publish ★" in session.text


async def test_layers_wider_than_the_screen_scroll_with_the_cursor() -> None:
    tasks = [member(RELEASE, 0, "begin-of-all", fake.COMPLETED)]
    for number in range(1, 9):
        tasks += [member(RELEASE, 2 * number - 1, f"left-{number}-of-the-chain", PENDING, *((2 * number - 2,)))]
        tasks += [member(RELEASE, 2 * number, f"right-{number}-of-it", PENDING, 2 * number - 1)]
    async with open_console(source_of(status(RELEASE, "long", tasks))) as session:
        await session.press("3", "enter", "m")
        assert session.lines[4].startswith("● begin-of-all"), "from its left edge"
        await session.press(*"llllllll")
        assert "begin-of-all" not in session.text
        assert "right-4-of-it" in session.lines[4]
        await session.press(*"hhhhhhhh")
        assert "begin-of-all" in session.lines[4]


async def test_what_is_too_large_for_layers_says_so() -> None:
    tasks = [member(RELEASE, number, f"t{number}", fake.RUNNING) for number in range(201)]
    async with open_console(source_of(status(RELEASE, "wide", tasks))) as session:
        await session.press("3", "enter", "m")
        assert "Layers show at most 200 nodes" in session.lines[-1]
        assert "m list" in session.text


async def test_the_cursor_stays_and_only_the_changed_row_is_painted() -> None:
    tasks = [member(RELEASE, number, f"task{number:02}", fake.QUEUED) for number in range(12)]
    async with open_console(source_of(status(RELEASE, "wide", tasks)), (120, 40)) as session:
        await session.press("3", "enter", "j", "j", "j")
        at = cursor(session)
        session.app.sent.clear()
        begun = types_pb2.Task()
        begun.CopyFrom(tasks[7])
        begun.state, begun.node, begun.modified_index = fake.RUNNING, "birch", 900
        session.source.push(begun)
        await session.settle()
        assert cursor(session) == at
        written = "".join(session.app.sent)
        row = next(number for number, line in enumerate(session.lines, 1) if "task07" in line)
        head = {1, 2, 3, 4}  # index and counts
        assert {int(y) for y in re.findall(r"\x1b\[(\d+);\d+H", written)} <= {row} | head
        assert "▸ running" in session.line_with("task07")
        session.app.sent.clear()
        await session.settle()
        assert session.app.sent == []


async def test_what_stands_still_sends_nothing() -> None:
    async with open_console(source_of(nightly()), (120, 30)) as session:
        await session.press("3", "enter", "c")
        for second in range(1, 71):
            if second == 10:
                session.app.sent.clear()  # by then the count of nodes leaves out those that are silent
            session.clock.now_s += 1
            at_us = fake.NOW_US + second * fake.SECOND_US
            session.source.put(
                cluster_pb2.WatchReply(index=session.source.index, at_us=at_us, leader="anvil", term=4)
            )
            await session.settle()
        assert session.app.sent == []


async def test_events_and_tasks_lead_to_the_workflow() -> None:
    source = source_of(release())
    ended = fake.event(90, types_pb2.EVENT_TYPE_WORKFLOW_ENDED, detail="all well")
    ended.workflow = RELEASE
    source.events.append(ended)
    async with open_console(source, (120, 30)) as session:
        await session.press("5", "enter")
        assert "m rail" in session.text
        await session.press("4", "d")
        assert "test" in cursor(session)
        await session.press("escape", "enter", "ctrl+p", *"its dag", "enter")
        assert "test" in cursor(session)
        await session.press("W")
        assert "m rail" not in session.text


async def test_a_workflow_that_is_gone_says_so() -> None:
    source = source_of(release())
    async with open_console(source) as session:
        await session.press("3")
        source.workflows.clear()
        await session.press("enter")
        assert f"no workflow {RELEASE}" in session.text
        await session.press(*"hlrKfcmoe", "plus", "underscore", "equals_sign", "space", "enter")
        assert session.source.mutators == 0


async def test_read_only_asks_nothing_of_the_cluster() -> None:
    async with open_console(source_of(release()), read_only=True) as session:
        await session.press("3", "enter")
        for key in "rK":
            await session.press(key)
            assert "Read-only" in session.lines[-1]
        assert session.source.mutators == 0


def hostile(text: str) -> cluster_pb2.GetWorkflowReply:
    tasks = [member(RELEASE, 0, text, fake.DEAD), member(RELEASE, 1, text + "b", PENDING, 0, condition=text)]
    tasks += [member(RELEASE, 2 + at, f"{text}[{at}]", fake.RUNNING, 1, template=text) for at in range(3)]
    reply = status(RELEASE, text, tasks, types_pb2.WORKFLOW_STATE_FAILED)
    for task in tasks:
        task.error = task.reason = task.node = text
    reply.status.workflow.reason = reply.status.workflow.actor = text
    return reply


@pytest.mark.parametrize("kind", NASTY)
async def test_nothing_in_names_is_obeyed(kind: str) -> None:
    for terminal in (Terminal(vertical_tabs=False), Terminal(ascii_only=True, vertical_tabs=False)):
        async with open_console(source_of(hostile(NASTY[kind])), (100, 30), terminal=terminal) as session:
            await session.press("3", "K", "escape", "r", "escape", "enter", "c", "equals_sign", "m", "m", "r")
            await session.press("escape", "K", "escape", "escape")
            sent = "".join(session.app.sent)
            rest = re.sub(r"\x1b\[[0-9;]*(?:[mHGCD]|[AB]\x08{0,3})", "", sent)
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", rest)
            assert all(width_of(line) <= 100 for line in session.lines)
            assert not terminal.ascii_only or sent.isascii()
            assert session.source.calls == []


async def test_no_colour_is_sent_where_none_is_wanted() -> None:
    async with open_console(source_of(release()), terminal=Terminal(no_color=True)) as session:
        await session.press("3", "enter", "c", "m", "l", "m", "m")
        codes = {
            int(code or 0)
            for sequence in re.findall(r"\x1b\[([0-9;]*)m", "".join(session.app.sent))
            for code in sequence.split(";")
        }
        assert codes <= {0, 1, 2, 3, 4, 7, 9, 22, 23, 24, 27, 29}
        assert "☒ dead letter" in session.text
        assert "✗" in session.text


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (20, 5), (40, 10), (300, 3)])
async def test_no_size_crashes(size: tuple[int, int]) -> None:
    async with open_console(source_of(release()), size) as session:
        await session.press("3", "enter", "c", "m", "l", "m", "m", "r", "escape")
        await session.resize(80, 24)
        assert "publish" in session.text
