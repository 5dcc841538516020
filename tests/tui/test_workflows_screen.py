"""View 3: the workflows, and what cancels and resumes them."""

from __future__ import annotations

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake
from tests.tui.console import check_golden, open_console
from tests.tui.fake_dags import member, nightly, release, status
from tests.tui.fake_source import FakeSource
from tests.tui.test_screens import SIZES
from tui.columns.workflows import progress, workflow_word
from tui.drawing.draw import ASCII, plain
from tui.source import SourceError
from tui.tty.terminal import Terminal

RELEASE, NIGHTLY = "01wf0000000a", "01wf0000000b"


def source_of(*replies: cluster_pb2.GetWorkflowReply) -> FakeSource:
    """These workflows, their tasks in the stream, too."""
    source = FakeSource(tasks=[task for reply in replies for task in reply.status.tasks], events=[])
    source.workflows = {reply.status.workflow.id: reply for reply in replies}
    return source


@pytest.mark.parametrize("size", SIZES)
async def test_the_screens_are_as_recorded(size: str) -> None:
    async with open_console(source_of(release(), nightly()), SIZES[size]) as session:
        await session.press("3")
        check_golden(f"workflows_{size}", session)
        await session.press("K")
        check_golden(f"workflow_cancel_{size}", session)
        await session.press("escape", "j", "r")
        check_golden(f"workflow_resume_{size}", session)


async def test_the_tab_counts_live_ones_and_says_how_many_failed() -> None:
    async with open_console(source_of(release()), (120, 24)) as session:
        assert "3 Workflows 1   4" in session.lines[1]
        failed = types_pb2.Workflow()
        failed.CopyFrom(release().status.workflow)
        failed.state, failed.modified_index = types_pb2.WORKFLOW_STATE_FAILED, 900
        session.source.push(failed)
        await session.settle()
        assert "3 Workflows 0 1✗" in session.lines[1]


async def test_rows_follow_the_stream() -> None:
    async with open_console(source_of(release())) as session:
        await session.press("3")
        assert "5/10 1✗" in session.line_with("release")
        assert session.line_with("release").split()[-4] == "1", "one task runs"
        row = types_pb2.Workflow()
        row.CopyFrom(release().status.workflow)
        row.remaining, row.cancel_requested, row.modified_index = 2, True, 900
        session.source.push(row)
        await session.settle()
        assert "8/10 1✗" in session.line_with("release")
        assert "⊘ cancelling" in session.line_with("release")


async def test_filter_and_sort() -> None:
    async with open_console(source_of(release(), nightly())) as session:
        await session.press("3", "slash", *"state=failed", "enter")
        assert "nightly" in session.text
        assert "release" not in session.text
        await session.press("escape", "slash", *"tasks>5 left>0 failures=1", "enter")
        assert "release" in session.text
        assert "nightly" not in session.text
        await session.press("escape", "s", *"name", "enter")
        assert "NAME▴" in session.lines[2]


async def test_a_cancel_says_what_runs_what_never_will_and_what_runs_all_the_same() -> None:
    async with open_console(source_of(release()), (120, 40)) as session:
        await session.press("3", "K")
        assert "Cancel 1 workflow with 4 tasks" in session.text
        assert "is stopped" in session.line_with("pack[2]")
        assert "never runs" in session.line_with("publish")
        assert "runs all the same" in session.line_with("tell")
        assert "lint" not in session.text, "what has ended is not concerned"
        assert "1 task running: TERM now, KILL within 5.0s; 20s of work is lost." in session.text
        assert "3 tasks not started: never run" in session.text
        assert f"cortex workflow cancel {RELEASE}" in session.text
        await session.press("enter")
        assert session.source.mutators == 0
        await session.press("K", "y")
        assert session.source.calls == [("cancel_workflow", RELEASE, "")]
        assert "Cancel of 1 workflow accepted at index 2,000" in session.text


async def test_a_cancel_may_say_why() -> None:
    async with open_console(source_of(release()), (120, 40)) as session:
        await session.press("3", "K", "m", *"wrong branch", "enter")
        assert f"cortex workflow cancel {RELEASE} --reason 'wrong branch'" in session.text
        await session.press("y")
        assert session.source.calls == [("cancel_workflow", RELEASE, "wrong branch")]


async def test_a_cancel_of_many_tasks_wants_their_number() -> None:
    tasks = [member(RELEASE, number, f"job{number}", fake.QUEUED) for number in range(25)]
    async with open_console(source_of(status(RELEASE, "big", tasks))) as session:
        await session.press("3", "K", "y")
        assert session.source.calls == []
        assert "Type 25 first" in session.text
        await session.press("2", "5", "y")
        assert session.source.calls == [("cancel_workflow", RELEASE, "")]


async def test_a_task_that_was_not_there_is_shown_before_it_is_cancelled() -> None:
    async with open_console(source_of(release())) as session:
        await session.press("3", "K")
        begun = types_pb2.Task()
        begun.CopyFrom(release().status.tasks[5])
        begun.state, begun.modified_index = fake.RUNNING, 900
        session.source.push(begun)
        await session.settle()
        again = types_pb2.Task()
        again.CopyFrom(release().status.tasks[0])
        again.state, again.modified_index = fake.QUEUED, 901
        session.source.push(again)
        await session.settle()
        await session.press("y")
        assert session.source.calls == []
        assert "It has changed while it was shown" in session.text
        await session.press("y")
        assert len(session.source.calls) == 1


async def test_an_ended_workflow_is_left_out_of_a_cancel() -> None:
    async with open_console(source_of(release(), nightly()), (120, 40)) as session:
        await session.press("3", "asterisk", "K")
        assert "Cancel 1 workflow" in session.text
        assert "nightly" in session.line_with("has ended")
        await session.press("y")
        assert session.source.calls == [("cancel_workflow", RELEASE, "")]


async def test_a_resume_shows_exactly_what_runs_again() -> None:
    async with open_console(source_of(nightly()), (120, 40)) as session:
        await session.press("3", "r")
        assert "Run 2 tasks again" in session.text
        assert "check" in session.text
        assert "store" in session.text
        assert "fetch" not in session.text
        assert f"cortex workflow resume {NIGHTLY}" in session.text
        await session.press("enter")
        assert session.source.mutators == 0
        await session.press("r", "y")
        assert session.source.calls == [("resume_workflow", NIGHTLY, "")]
        assert "2 tasks run again since index 2,000" in session.text


async def test_a_resume_that_would_run_others_by_now_is_refused() -> None:
    async with open_console(source_of(nightly()), (120, 40)) as session:
        await session.press("3", "r")
        session.source.resumes[NIGHTLY, ""] = [f"{NIGHTLY}.{number}" for number in range(3)]
        await session.press("y")
        assert session.source.calls == []
        assert "By now other tasks would run again than are shown" in session.text
        await session.press("escape", "r")
        assert "fetch" in session.text
        assert "had completed" in session.text


async def test_a_workflow_that_was_resumed_meanwhile_is_not_resumed_again() -> None:
    async with open_console(source_of(nightly()), (120, 40)) as session:
        await session.press("3", "r")
        row = types_pb2.Workflow()
        row.CopyFrom(nightly().status.workflow)
        row.run, row.modified_index = 2, 900
        session.source.push(row)
        await session.settle()
        await session.press("y")
        assert session.source.calls == []
        assert "was resumed meanwhile" in session.text


async def test_what_cannot_be_resumed_says_why() -> None:
    async with open_console(source_of(nightly())) as session:
        session.source.resumes[NIGHTLY, ""] = []
        await session.press("3", "r")
        assert "There is nothing to run again." in session.lines[-1]
        assert len(session.app.screen_stack) == 1

        async def refused(workflow_id: str, key: str = "") -> list[str]:
            raise SourceError("On a node still, and to be run again: check.", "Wait for it.")

        session.source.rehearse_resume = refused  # type: ignore[method-assign]
        await session.press("r")
        assert "On a node still, and to be run again: check. Wait for it." in session.lines[-1]


async def test_the_queue_leads_to_the_workflow_of_a_task() -> None:
    async with open_console(source_of(release())) as session:
        await session.press("2", "slash", *"publish", "enter", "d")
        assert "▌ │ ◌ publish" in session.text
        assert "waits for pack[2], pack[3]" in session.text
    async with open_console() as session:
        await session.press("2", "d")
        assert "This task is of no workflow." in session.lines[-1]


async def test_ascii_and_no_color() -> None:
    terminal = Terminal(ascii_only=True, no_color=True)
    async with open_console(source_of(release(), nightly()), terminal=terminal) as session:
        for keys in (("3",), ("K",), ("escape", "j", "r"), ("escape", "question_mark")):
            await session.press(*keys)
        assert "".join(session.app.sent).isascii()


def test_progress_says_failures_in_figures() -> None:
    row = release().status.workflow
    assert plain(progress(row, 30, ASCII)).endswith("5/10 1x")
    assert plain(progress(row, 8, ASCII)) == "5/10 1x", "no room for a bar"
    row.stopping = True
    assert workflow_word(row) == "stopping"
    empty = types_pb2.Workflow()
    assert plain(progress(empty, 20, ASCII)).endswith("0/0")
