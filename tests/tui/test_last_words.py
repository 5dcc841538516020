"""What the tables say of a failure: the last line of its stderr, else of its stdout, else how it ended."""

from __future__ import annotations

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource, without_output
from tui.columns.base import Draw
from tui.columns.tasks import why_text
from tui.details.task import task_facts
from tui.details.under import task_under
from tui.drawing.draw import UNICODE, command_label, plain
from tui.store.view import ClusterView


def test_the_last_line_with_text_says_why() -> None:
    task = fake.task(1, "x", fake.DEAD, exit_code=1, error="exit code 1")
    for stream in (task.result.stdout, task.result.stderr):
        stream.ClearField("head")
    assert why_text(task) == "exit code 1"
    task.result.stdout.head = b"counted 3\nfound none\n"
    assert why_text(task) == "found none"
    task.result.stderr.head = b"warning\n"
    task.result.stderr.tail = b"error: the disk is full\n \n"
    for row in (task, without_output(task)):
        assert why_text(row) == "error: the disk is full"
    task.state = fake.RUNNING
    assert why_text(task) == "exit code 1", "what an attempt before said is not why this one is as it is"


def test_an_error_that_tells_more_than_how_it_ended_goes_first() -> None:
    said = "Handler segv took its worker with it: signal 11 (SIGSEGV)."
    task = fake.task(1, "segv", fake.DEAD, exit_code=139, error=said)
    task.cause = types_pb2.CAUSE_SIGNAL
    task.result.stderr.head = b'Fatal Python error\n  File "/srv/pool.py", line 3 in main\n'
    assert why_text(task) == said
    task.error = "The command ended with exit code 139."
    assert why_text(task).startswith("File"), "a command's own words"
    task.error, task.cause = "The command ran longer than its timeout of 5 s.", types_pb2.CAUSE_TIMEOUT
    assert why_text(task) == task.error


def test_what_is_run_is_called_what_it_is() -> None:
    shown = fake.task(1, "x", fake.RUNNING)
    assert command_label(shown.spec) == "command"
    for payload, label in (
        (b'{"max_turns": 3, "prompt": "Say why."}', "prompt"),
        (b'{"handler": "add"}', "handler"),
    ):
        agent = types_pb2.TaskSpec(type=types_pb2.TASK_TYPE_SUBAGENT, payload=payload)
        assert command_label(agent) == label
    shown.spec.CopyFrom(agent)
    draw = Draw(fake.NOW_US, 0.0, UNICODE, ClusterView())
    assert plain(task_under(shown, draw)[0]) == " handler add"
    facts = task_facts(shown, [], cluster_pb2.WhyReply(), draw, 80)
    assert ["handler", "add"] in [plain(line).split() for line in facts]


async def test_rows_of_the_stream_say_it_too() -> None:
    source = FakeSource()
    async with open_console(source, (160, 40)) as session:
        task = fake.task(77, "burst", fake.DEAD, exit_code=1, error="exit code 1", ended_s=1, index=7000)
        task.result.stderr.ClearField("head")
        task.result.stderr.last_line = b"psql: \x1b[2Jrefused"
        source.push(task)
        await session.press("2")
        await session.until(lambda: "burst" in session.text)
        assert "psql: " in session.line_with("burst")
        assert "refused" in session.line_with("burst")
