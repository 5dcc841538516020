"""Names, commands, output and errors are data: nothing in them is ever obeyed, and columns stay where they are."""

from __future__ import annotations

import re

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource
from tui.drawing.text import width_of
from tui.source import SourceError
from tui.tty.terminal import Terminal

NASTY = {
    "markup": "[bold red]x[/] [link=http://e.x]y[/link] [@click=app.quit]z[/]",
    "escape": "a\x1b[2J\x1b]0;t\x07b",
    "wide": "日本語の長い名前です漢字漢字漢字漢字",
    # each in the first cells, so that no column is too narrow for it
    "invisible": "\x9b\x00\u202e\u200b\x85\u2066\x7f\u200d\u0301\ufeffb",
    "lines": "\n\t\r\ntwo\r\nthree",
}
VIEWS = (
    ("1",),
    ("2",),
    ("4",),
    ("5",),
    ("2", "enter"),
    ("2", "o"),
    ("2", "e"),
    ("1", "enter"),
    ("2", "K"),
    ("1", "c"),
)
SGR_OR_MOVE = re.compile(r"\x1b\[[\d;]*(?:[mHGCD]|[AB]\x08{0,3})")


def hostile_source(text: str) -> FakeSource:
    task = fake.task(1, text, fake.RUNNING, text, node=text, started_s=5, error=text, reason=text)
    task.actor = task.submit_key = task.spec.cwd = text
    task.placement.reason = text
    dead = fake.task(2, text, fake.DEAD, text, node=text, started_s=9, ended_s=3, exit_code=1, error=text)
    dead.fingerprint = text
    view = fake.node_view("n1", leader=True, gpus=[5])
    view.node.id = view.node.hostname = view.node.address = view.node.message = view.node.version = text
    view.node.labels.append(types_pb2.Label(key=text, value=text))
    view.resources.gpus[0].name = text
    events = [
        fake.event(9, types_pb2.EVENT_TYPE_FAILED, task_id=task.id, node=text, detail=text, actor=text),
        fake.event(8, types_pb2.EVENT_TYPE_ASSIGNED, task_id=task.id, node=text, detail=text),
    ]
    source = FakeSource(tasks=[task, dead], nodes=[view], events=events)
    source.name = text  # type: ignore[misc]
    source.output_replies[task.id] = [
        cluster_pb2.OutputReply(stream=cluster_pb2.STREAM_KIND_STDOUT, data=(text + "\n").encode())
    ]
    return source


@pytest.mark.parametrize("kind", NASTY)
async def test_nothing_is_obeyed(kind: str) -> None:
    """Only moves and colours that the console wrote itself reach the terminal."""
    # Not its own vertical tabs either, which could not be told from those of names and output.
    terminal = Terminal(vertical_tabs=False)
    async with open_console(hostile_source(NASTY[kind]), (120, 40), terminal=terminal) as session:
        for keys in VIEWS:
            await session.press("escape", "escape", *keys)
            rest = SGR_OR_MOVE.sub("", "".join(session.app.sent))
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", rest)
            assert all(width_of(line) <= 120 for line in session.lines)
        assert session.app.return_code is None
        assert session.source.calls == []


async def test_markup_shows_as_it_is_written() -> None:
    async with open_console(hostile_source(NASTY["markup"]), (200, 50)) as session:
        await session.press("2")
        assert "[bold red]x[/] [link" in session.text
        await session.press("enter")
        assert "[bold red]x[/] [link=http://e.x]y[/link] [@click=app.quit]z[/]" in session.text


async def test_wide_characters_keep_the_columns() -> None:
    tasks = [
        fake.task(1, "日本語の名前はながい", fake.RUNNING, "エコー", node="anvil", started_s=3),
        fake.task(2, "plain", fake.RUNNING, "echo", node="anvil", started_s=2),
    ]
    async with open_console(FakeSource(tasks=tasks)) as session:
        await session.press("2")
        rows = [line for line in session.lines if "anvil" in line]
        assert len({width_of(line[: line.index("anvil")]) for line in rows[-2:]}) == 1


async def test_errors_of_calls_are_data_too() -> None:
    async with open_console() as session:
        session.source.refuse = SourceError("[red]bad\x1b[31m[/red]")
        await session.press("2", "K", "y")
        assert "[red]bad^[[31m[/red]" in session.text


async def test_a_pasted_filter_is_data() -> None:
    async with open_console() as session:
        await session.press("2", "slash", *"[b]x[/b]", "enter")
        assert "/[b]x[/b]" in session.lines[1]


@pytest.mark.parametrize("kind", NASTY)
async def test_ascii_mode_sends_ascii_only(kind: str) -> None:
    terminal = Terminal(ascii_only=True)
    async with open_console(hostile_source(NASTY[kind]), (100, 30), terminal=terminal) as session:
        for keys in (*VIEWS, ("question_mark",), ("ctrl+p",), ("S",), ("2", "slash"), ("4", "r"), ("1", "s")):
            await session.press("escape", "escape", *keys)
        assert "".join(session.app.sent).isascii()


async def test_no_color_sends_no_colour() -> None:
    terminal = Terminal(no_color=True)
    async with open_console(terminal=terminal) as session:
        for keys in (*VIEWS, ("question_mark",), ("ctrl+p",), ("S",), ("2", "slash")):
            await session.press("escape", "escape", *keys)
        codes = {
            int(code or 0)
            for sequence in re.findall(r"\x1b\[([0-9;]*)m", "".join(session.app.sent))
            for code in sequence.split(";")
        }
        assert codes <= {0, 1, 2, 3, 4, 7, 9, 22, 23, 24, 27, 29}, "attributes only"
        await session.press("escape", "escape", "2")
        assert "▌ ▸ running" in session.text, "state, cursor and mark show without colour"
