"""Output: two streams in pieces, a following view, search, resume by offset, and what the result kept."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource
from tui.source import SourceError
from tui.store.outbuf import NOTE, STDERR, STDOUT, OutputBuffer
from tui.widgets.output import OutputPane

RENDER = "01jx00000001"


def lines(buffer: OutputBuffer) -> list[str]:
    return [buffer.line(number)[1] for number in range(len(buffer))]


def reply(data: bytes, *, offset: int = 0, stderr: bool = False, **fields: object) -> cluster_pb2.OutputReply:
    stream = cluster_pb2.STREAM_KIND_STDERR if stderr else cluster_pb2.STREAM_KIND_STDOUT
    return cluster_pb2.OutputReply(stream=stream, offset=offset, data=data, **fields)  # type: ignore[arg-type]


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6))
@settings(max_examples=200)
def test_pieces_do_not_matter(data: bytes, cuts: list[int]) -> None:
    whole, pieces = OutputBuffer(), OutputBuffer()
    whole.append(STDOUT, data)
    at = 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        pieces.append(STDOUT, data[at:cut])
        at = cut
    assert lines(whole) == lines(pieces)


def test_streams_do_not_mix_within_a_line() -> None:
    buffer = OutputBuffer()
    buffer.append(STDOUT, b"out ")
    buffer.append(STDERR, b"err\n")
    buffer.append(STDOUT, b"more\nlast")
    assert [buffer.line(number) for number in range(3)] == [(STDOUT, "out more"), (STDERR, "err"), (STDOUT, "last")]


def test_progress_bars_keep_their_last_state() -> None:
    buffer = OutputBuffer()
    buffer.append(STDOUT, b"10%\r20%\r")
    assert lines(buffer) == ["20%"]
    buffer.append(STDOUT, b"30%\r\ndone\r\n")
    assert lines(buffer) == ["30%", "done"]


def test_lines_and_their_number_are_bounded() -> None:
    buffer = OutputBuffer(max_lines=10)
    buffer.append(STDOUT, b"".join(b"%d\n" % number for number in range(25)))
    assert lines(buffer) == [str(number) for number in range(15, 25)]
    assert buffer.dropped == 15
    buffer = OutputBuffer()
    buffer.append(STDOUT, b"x" * 10_000 + b"\n")
    assert [len(line) for line in lines(buffer)] == [4096, 4096, 1808]


def test_escape_sequences_are_text() -> None:
    buffer = OutputBuffer()
    buffer.append(STDOUT, b"\x1b]0;owned\x07\x1b[2J\xff\n")
    assert lines(buffer) == ["^[]0;owned^G^[[2J\\xff"]


def test_notes_are_the_consoles_own() -> None:
    buffer = OutputBuffer()
    buffer.note("(nothing)")
    assert buffer.line(0) == (NOTE, "(nothing)")


async def test_it_follows_until_one_scrolls_up() -> None:
    source = FakeSource()
    source.output_replies[RENDER] = [reply(b"".join(b"line %d\n" % number for number in range(100)))]
    async with open_console(source) as session:
        await session.press("2", "j", "o")
        await session.until(lambda: "line 99" in session.text)
        pane = session.app.screen.query_one(OutputPane)
        assert pane.following
        await session.press("k")
        assert not pane.following
        await session.press("g")
        assert "line 0" in session.text
        await session.press("G")
        assert "line 99" in session.text
        assert pane.following
        await session.press("F", "k", "k")
        assert not pane.following


async def test_search_goes_to_matches_and_around() -> None:
    source = FakeSource()
    body = b"".join(b"%s %d\n" % (b"needle" if number % 30 == 7 else b"hay", number) for number in range(100))
    source.output_replies[RENDER] = [reply(body)]
    async with open_console(source) as session:
        await session.press("2", "j", "o", "g", "slash", *"NEEDLE", "enter")
        assert "needle 7" in session.text
        for expected in ("needle 37", "needle 67", "needle 97", "needle 7"):
            await session.press("n")
            assert expected in session.text
        await session.press("N")
        assert "needle 97" in session.text
        await session.press("escape")
        assert len(session.app.screen_stack) == 2, "escape first ends the search"
        await session.press("slash", *"straw", "enter")
        assert "OUTPUT  100 lines  /straw  is in none of these lines" in session.text
        session.app.screen.query_one(OutputPane).buffer.append(STDOUT, b"straw\n")
        await session.settle()
        assert "none of these lines" not in session.text, "of what came since nothing is known"
        await session.press("slash", "ctrl+u", *"hay", "enter")
        assert "/hay  F follows" in session.text


async def test_lines_that_are_no_longer_kept_are_told() -> None:
    source = FakeSource()
    source.output_replies[RENDER] = [reply(b"".join(b"line %d\n" % number for number in range(20_005)))]
    async with open_console(source) as session:
        await session.press("2", "j", "o")
        await session.until(lambda: "line 20004" in session.text)
        assert "OUTPUT  last 20,000 of 20,005 lines" in session.text
        await session.press("g")
        assert "line 5" in session.text


class Breaking(FakeSource):
    """Breaks the stream after the first piece, and repeats a part when asked again."""

    async def output(self, request: cluster_pb2.OutputRequest) -> AsyncIterator[cluster_pb2.OutputReply]:
        self.output_requests.append(request)
        if len(self.output_requests) == 1:
            yield reply(b"one\ntwo\nth")
            raise SourceError("The link to n1 is lost.")
        yield reply(b"two\nthree\n", offset=4)
        yield reply(b"", ended=True, dropped_bytes=12)


async def test_it_resumes_by_offset_and_shows_nothing_twice() -> None:
    async with open_console(Breaking()) as session:
        await session.press("2", "j", "o")
        pane = session.app.screen.query_one(OutputPane)
        await session.until(lambda: lines(pane.buffer) == ["one", "two", "three"])
        assert session.source.output_requests[1].offset == 10
        await session.settle()
        assert "complete" in session.lines[5]
        assert "12 bytes dropped" in session.lines[5]


class Unreadable(FakeSource):
    async def output(self, request: cluster_pb2.OutputRequest) -> AsyncIterator[cluster_pb2.OutputReply]:
        raise SourceError("n1 does not answer.")
        yield


async def test_an_ended_task_shows_what_its_result_kept() -> None:
    task = fake.task(1, "done", fake.COMPLETED, node="anvil", started_s=9, ended_s=5, exit_code=0)
    task.result.stdout.CopyFrom(types_pb2.StreamSummary(total_bytes=5000, head=b"first\n", tail=b"last\n"))
    async with open_console(Unreadable(tasks=[task])) as session:
        await session.press("2", "o")
        await session.until(lambda: "first" in session.text)
        assert "last" in session.text
        assert "(4,989 bytes are not kept in the result)" in session.text
        assert "head and tail kept in the result" in session.text


async def test_a_task_that_never_started_says_so_and_asks_for_nothing() -> None:
    async with open_console() as session:
        await session.press("2", "slash", *"thumbs", "enter", "o")
        assert "not started yet" in session.text
        assert session.source.output_requests == []


async def test_a_new_run_starts_its_output_anew() -> None:
    source = FakeSource()
    source.output_replies[RENDER] = [reply(b"first run\n")]
    async with open_console(source) as session:
        await session.press("2", "j", "o")
        await session.until(lambda: "first run" in session.text)
        source.output_replies[RENDER] = [reply(b"second run\n")]
        again = types_pb2.Task()
        again.CopyFrom(source.tasks[RENDER])
        again.run, again.fence, again.modified_index = 2, 9000, 9001
        source.push(again)
        await session.until(lambda: "second run" in session.text)
        assert "first run" not in session.text
        assert [request.fence for request in source.output_requests] == [1001, 9000]


async def test_stderr_is_marked_without_colour() -> None:
    source = FakeSource()
    source.output_replies[RENDER] = [reply(b"fine\n"), reply(b"oops\n", stderr=True)]
    async with open_console(source) as session:
        await session.press("2", "j", "o")
        await session.until(lambda: "oops" in session.text)
        assert session.line_with("oops").startswith("▎")
        assert session.line_with("fine").startswith("  ")
