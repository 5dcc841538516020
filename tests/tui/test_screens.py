"""Every view as plain text at 80x24 and 200x50, beside golden files that one can read."""

from __future__ import annotations

import pytest
from textual import events

from cortex.v1 import cluster_pb2
from tests.tui import fake
from tests.tui.console import check_golden, open_console
from tests.tui.fake_source import FakeSource
from tui.tty.terminal import Terminal

SIZES = {"80x24": (80, 24), "200x50": (200, 50)}
SCREENS: dict[str, tuple[str, ...]] = {
    "nodes": (),
    "queue": ("2",),
    "letters": ("4",),
    "events": ("5",),
    "task": ("2", "j", "enter"),
    "task_output": ("2", "j", "o"),
    "task_why": ("2", "j", "j", "j", "enter"),
    "node": ("enter",),
    "preview": ("2", "j", "space", "j", "space", "K"),
    "submit": ("S", "l", "s"),
    "help": ("question_mark",),
    "palette": ("ctrl+p",),
    "filter": ("2", "slash", *"state=running"),
}


def with_output() -> FakeSource:
    source = FakeSource()
    source.output_replies["01jx00000001"] = [
        cluster_pb2.OutputReply(stream=cluster_pb2.STREAM_KIND_STDOUT, data=b"Blender 4.2\nFra:1 Mem:120M\n"),
        cluster_pb2.OutputReply(stream=cluster_pb2.STREAM_KIND_STDERR, data=b"warning: no GPU, using the CPU\n"),
        cluster_pb2.OutputReply(stream=cluster_pb2.STREAM_KIND_STDOUT, offset=27, data=b"Fra:2 Mem:121M\n"),
    ]
    return source


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("screen", SCREENS)
async def test_screen_is_as_recorded(screen: str, size: str) -> None:
    async with open_console(with_output(), SIZES[size]) as session:
        await session.press(*SCREENS[screen])
        await session.settle()
        check_golden(f"{screen}_{size}", session)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 30), (20, 5), (40, 10), (300, 3)])
async def test_no_size_crashes(size: tuple[int, int]) -> None:
    async with open_console(with_output(), size) as session:
        for keys in SCREENS.values():
            await session.press(*keys)
            await session.press("escape", "escape", "1")
        await session.resize(80, 24)
        await session.press("1")
        assert "anvil" in session.text


async def test_key_columns_are_there_at_80_cells() -> None:
    wanted = {
        "1": ("NODE", "STATE", "ROLE", "SCORE", "CPU", "MEM", "DISK", "NET", "GPU", "RUN", "AGE"),
        "2": ("STATE", "PRI", "NAME", "NODE", "ATT", "AGE", "WAIT", "RUN"),
        "4": ("DEAD", "NAME", "CAUSE", "EXIT", "ATT", "NODE"),
        "5": ("TIME", "EVENT", "TASK", "NODE", "DETAIL"),
    }
    async with open_console() as session:
        for key, titles in wanted.items():
            await session.press(key)
            header = session.lines[2]
            assert len(session.lines) == 24
            assert [title for title in titles if title not in header] == []


async def looks(keys: tuple[str, ...], terminal: Terminal) -> list[tuple[str, str, str, bool]]:
    """Every cell with its colours, but for the footer's note."""
    async with open_console(terminal=terminal) as session:
        await session.press(*keys)
        rows = [session.app.emulator.buffer[y] for y in range(23)]
        return [(row[x].data, row[x].fg, row[x].bg, row[x].bold) for row in rows for x in range(80)]


async def test_changing_the_theme_repaints_every_cell() -> None:
    switched = await looks(("2", "j", "colon", *"theme light", "enter"), Terminal())
    started = await looks(("2", "j"), Terminal(light=True))
    assert switched == started
    assert switched != await looks(("2", "j"), Terminal())


async def test_how_an_earlier_attempt_ended_is_not_said_of_the_one_that_runs() -> None:
    again = fake.task(1, "again", fake.RUNNING, node="anvil", started_s=20)
    again.result.signal = 15
    async with open_console(FakeSource([again]), (200, 50)) as session:
        await session.press("2")
        assert "sig15" not in session.text
        await session.press("enter")
        assert "RESULT OF THE ATTEMPT BEFORE" in session.text
        assert session.text.count("sig15") == 1


async def test_the_events_of_a_node_name_their_tasks() -> None:
    async with open_console(size=(80, 24)) as session:
        await session.press("1", "enter", "e")
        assert "TASK" in session.lines[5]
        assert "render" in session.text


async def test_a_hint_of_one_view_is_not_said_of_the_next() -> None:
    """'Nothing has failed.' of a DAG must not stand below the dead letters."""
    async with open_console() as session:
        await session.press("q")
        assert "Press Q to quit" in session.lines[-1]
        await session.press("4")
        assert "Press Q to quit" not in session.text
        await session.press("1", "c", "y", "2")
        assert "Operation" in session.lines[-1], "what became of a change stays"


@pytest.mark.parametrize("view", ["queue", "workflows", "letters", "events"])
async def test_a_tick_before_a_view_is_built(view: str) -> None:
    async with open_console() as session:
        session.app.action_view(view)
        session.app.tick()
        session.app.clear_marks()
        await session.until(lambda: session.app.screen.is_mounted)
        assert session.app.return_code is None


async def test_a_key_typed_behind_that_of_a_view_means_what_is_there_now() -> None:
    async with open_console() as session:
        await session.press("5")
        session.source.push(fake.node_view("zelkova").node)
        await session.settle()
        for key in ("1", "G", "enter"):
            event = events.Key(key, None)
            event.set_sender(session.app)
            session.app.post_message(event)
        await session.until(lambda: len(session.app.screen_stack) == 2)
        await session.settle()
        assert "zelkova" in session.lines[2]


@pytest.mark.parametrize(("opens", "back"), [(("2", "enter"), "2"), (("4", "L"), "4"), (("2", "enter", "W"), "2")])
async def test_the_key_of_a_view_leads_back_to_it_from_whatever_is_open_there(
    opens: tuple[str, ...], back: str
) -> None:
    async with open_console() as session:
        await session.press(back)
        rows = session.lines[2:]
        await session.press(*opens)
        assert session.lines[2:] != rows
        await session.press(back)
        assert session.lines[2:] == rows
        await session.press(back)
        assert session.lines[2:] == rows
