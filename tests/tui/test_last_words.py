"""What the tables say of a failure: the last line of its stderr, else of its stdout, else how it ended."""

from __future__ import annotations

from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource, without_output
from tui.columns.tasks import why_text


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
