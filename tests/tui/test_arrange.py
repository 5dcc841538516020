"""How views are arranged: columns, standing still, and what is there again after the next start."""

from __future__ import annotations

import json
from pathlib import Path

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import Session, open_console
from tui.operator.arrange import Arrangement, Arrangements, Columns, arrangement
from tui.operator.keep import Keep
from tui.screens.nodes import NodesScreen


async def say(session: Session, line: str) -> None:
    await session.press("colon", *line, "enter")


def test_an_arrangement_reads_back() -> None:
    whole = Arrangement("state=running", "name", True, True, Columns(frozenset({"id"}), frozenset({"why"})))
    assert arrangement(json.loads(json.dumps(whole.document()))) == whole
    assert arrangement({}) == Arrangement()
    for broken in (None, [], {"filter": 5}, {"hidden": "id"}, {"pinned": [1]}, {"filter": "x" * 5000}):
        assert arrangement(broken) is None


def test_a_broken_file_is_a_sentence(tmp_path: Path) -> None:
    keep = Keep(tmp_path, "c1")
    assert keep.views is not None
    keep.views.parent.mkdir(parents=True)
    for content in (b"[", b"[]", b"\xff\xfe", b"{" + b" " * 2_000_000):
        keep.views.write_bytes(content)
        found = Arrangements(keep)
        assert "is damaged" in found.problem
        assert found.of("queue") is None
    keep.views.write_text(json.dumps({"views": {"queue": {"filter": 1}, "nodes": {"sort": "cpu"}}, "saved": 7}))
    found = Arrangements(keep)
    assert found.problem == ""
    assert found.of("queue") is None
    assert found.of("nodes") == Arrangement(sort="cpu")
    assert found.names("nodes") == []


async def test_a_view_is_as_it_was_left(tmp_path: Path) -> None:
    async with open_console(keep=Keep(tmp_path, "c1"), size=(120, 30)) as session:
        await session.press("2", "slash", *"state=dead_letter", "enter", "I", "w")
        await session.settle()
    async with open_console(keep=Keep(tmp_path, "c1"), size=(120, 30)) as session:
        await session.press("2")
        table = session.app.screen.main_table()
        assert (table.filter_text, table.every_column, len(table.listing)) == ("state=dead_letter", True, 2)
        assert table.listing.descending
        assert "filter of last time" in session.lines[-1]
        await say(session, "reset")
        assert table.arrangement() == Arrangement()
        assert len(table.listing) == 10
        await session.settle()
    async with open_console(keep=Keep(tmp_path, "c2"), size=(120, 30)) as session:
        await session.press("2")
        assert session.app.screen.main_table().filter_text == "", "of another cluster"
    async with open_console(keep=Keep(tmp_path, "c1"), size=(120, 30)) as session:
        await session.press("2")
        assert session.app.screen.main_table().filter_text == ""


async def test_what_is_kept_and_known_no_more_is_left_out(tmp_path: Path) -> None:
    keep = Keep(tmp_path, "c1")
    keep.write(
        keep.views,
        {"views": {"queue": {"filter": "colour=red", "sort": "gone", "hidden": ["gone", "id"], "wide": True}}},
    )
    async with open_console(keep=keep, size=(120, 30)) as session:
        await session.press("2")
        table = session.app.screen.main_table()
        assert "filter that was kept is left out" in session.lines[-1]
        assert table.columns.hidden == {"id"}
        assert table.sort_column.id == "state"
        assert table.every_column


async def test_arrangements_are_saved_by_name(tmp_path: Path) -> None:
    async with open_console(keep=Keep(tmp_path, "c1"), size=(120, 30)) as session:
        await session.press("2")
        table = session.app.screen.main_table()
        await say(session, "filter flaky")
        await say(session, "save bad ones")
        assert "Saved as bad ones" in session.lines[-1]
        await say(session, "reset")
    async with open_console(keep=Keep(tmp_path, "c1"), size=(120, 30)) as session:
        await session.press("2")
        table = session.app.screen.main_table()
        await say(session, "load bad")
        assert "There is no saved arrangement 'bad'" in session.lines[-1]
        assert "bad ones" in session.lines[-1]
        await say(session, "load bad ones")
        assert table.filter_text == "flaky"
        await say(session, "forget bad ones")
        await say(session, "load bad ones")
        assert "none yet" in session.lines[-1]
        await say(session, "save " + "x" * 65)
        assert "1 to 64" in session.lines[-1]


async def test_columns_are_chosen() -> None:
    async with open_console(size=(80, 24)) as session:
        await session.press("2")
        table = session.app.screen.main_table()
        assert "WHY" not in session.lines[2]
        await session.press("O")
        lines = [line for line in session.lines if "[x]" in line]
        assert len(lines) == len(table.spec.columns)
        assert "where there is room" in session.line_with(" WHY ")
        await session.press("space", "G", "k", "space", "space", "enter")
        assert table.columns == Columns(frozenset({"state"}), frozenset({"why"}))
        assert "WHY" in session.lines[2]
        assert "STATE" not in session.lines[2]
        await session.press("O", "r", "escape")
        assert "WHY" in session.lines[2], "given up"
        await session.press("O", "r", "enter")
        assert table.columns == Columns()
        await session.press("O", *(["space", "j"] * len(table.spec.columns)), "enter")
        assert len(table.shown_columns()) == 1, "one stays"


async def test_a_pause_takes_in_what_came_just_before() -> None:
    async with open_console(size=(120, 30)) as session:
        await session.press("2")
        table = session.app.screen.main_table()
        session.app.view.put_task(fake.task(1, "render", fake.CANCELLED, ended_s=0.5, index=2000))
        table.pause(True)
        assert next(row.state for _, row in table.listing.items()) == fake.RUNNING
        assert table.listing.pending == set()


def changed(session: Session, key: str, *, reason: str) -> types_pb2.Task:
    task = types_pb2.Task()
    task.CopyFrom(session.app.view.tasks.get(key))
    task.reason, task.modified_index = reason, 5000
    return task


async def test_a_paused_table_stands_still() -> None:
    async with open_console(size=(120, 30)) as session:
        await session.press("2", "p")
        before = session.lines[3:-3]
        assert "paused 0 changed" in session.lines[1]
        for number in range(50, 55):
            session.source.push(fake.task(number, f"new{number}", fake.RUNNING, node="anvil", started_s=1))
        session.source.push(fake.task(4, "train", fake.CANCELLED, ended_s=0.5, index=2000))
        await session.wait(1)
        assert session.lines[3:-3] == before
        assert "paused 6 changed" in session.lines[1]
        table = session.app.screen.main_table()
        await session.press("j", "j", "v", "j")
        assert len(table.chosen()) == 2
        assert [line[2:] for line in session.lines[3:-3]] == [line[2:] for line in before], "but for the cursor"
        below = session.lines[-3:-1]
        session.source.push(changed(session, table.cursor_key, reason="it moved on"))
        await session.wait(1)
        await session.press("k", "j")
        assert session.lines[-3:-1] == below, "what is told below the table is of the same moment"
        await session.press("escape", "p")
        assert "paused" not in session.text
        assert "new54" in session.text
        await session.press("p", "slash", *"new", "enter")
        assert len(table.listing) == 5, "what is filtered is taken as it is then"


async def test_the_panel_of_a_paused_node_stands_still() -> None:
    async with open_console(size=(120, 30)) as session:
        await session.press("p")
        screen = session.app.screen
        assert isinstance(screen, NodesScreen)
        panel = session.lines[-5:-1]
        await session.wait(20)
        assert session.lines[-5:-1] == panel
        assert screen.stands_still()
        await session.press("p")
        assert "sampled" in session.text
        assert not screen.stands_still()
