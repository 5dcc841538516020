"""The key table: no conflicts, and no key that changes the cluster by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.widgets import Input

from tests.tui.console import Session, open_console
from tests.tui.fake_source import FakeSource
from tui.chrome import help_groups
from tui.keyboard.keymap import bindings, check, reachable, shown_keys
from tui.keyboard.keys import FORBIDDEN, Key, KeyConflict
from tui.keyboard.keytable import KEYMAP, PLACES
from tui.screens.cause import CauseScreen
from tui.screens.dialog import Dialog
from tui.tty.driver import HeldKey

OPENINGS: dict[str, tuple[str, ...]] = {
    "nodes": ("1",),
    "queue": ("2",),
    "workflows": ("3",),
    "dag": ("3", "enter"),
    "layers": ("3", "enter", "m"),
    "letters": ("4",),
    "events": ("5",),
    "cause": ("4", "t", "enter"),
    "operations": ("L",),
    "operation": ("L", "enter"),
    "task": ("2", "enter"),
    "node": ("1", "enter"),
    "output": ("2", "o"),
    "why": ("2", "W"),
    "heat": ("1", "m"),
    "approvals": ("1", "a"),
    "drain": ("1", "D"),
}
LEAVES = {"Q", "ctrl+c"}


async def open_place(session: Session, place: str, *, read_only: bool = False) -> None:
    """Go where the keys of a place work, whatever was pressed before."""
    session.app.read_only = read_only
    await session.press(*OPENINGS.get(place, ("1",)))
    if place == "cause" and not isinstance(session.app.screen, CauseScreen):
        await leave(session)
        await session.press("t", "enter")  # it stays as it was chosen last time


def own_keys(place: str) -> list[Key]:
    """Those of the place and its widgets, without those of everywhere."""
    return [key for key in reachable(place) if key.place != "app"]


async def leave(session: Session) -> None:
    """Close every screen above the view."""
    while len(session.app.screen_stack) > 1:
        await session.app.pop_screen()
        await session.settle()
    if session.app.in_past:
        await session.press("T")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some keys write a file where the console was started."""
    monkeypatch.chdir(tmp_path)


def test_the_table_has_no_conflicts() -> None:
    check()


def test_conflicts_are_found() -> None:
    clash = Key("queue", ("c",), "cordon", "x", "x")
    check((*KEYMAP, clash))
    with pytest.raises(KeyConflict, match="queue: K"):
        check((*KEYMAP, replace(clash, keys=("K",))))
    with pytest.raises(KeyConflict, match="queue: j"):
        check((*KEYMAP, replace(clash, keys=("j",))))
    with pytest.raises(KeyConflict, match="queue: /"):
        check((*KEYMAP, replace(clash, keys=("slash",))))
    with pytest.raises(KeyConflict, match="ctrl\\+s"):
        check((*KEYMAP, replace(clash, keys=("ctrl+s",))))
    with pytest.raises(KeyConflict, match="no place"):
        check((*KEYMAP, replace(clash, place="attic")))


def test_keys_that_break_over_ssh_are_not_used() -> None:
    used = {name for key in KEYMAP for name in key.keys}
    assert not used & FORBIDDEN
    assert not [name for name in used if name.startswith(("alt+", "f1"))]


def test_bindings_and_help_come_from_the_table() -> None:
    for place in PLACES:
        made = [binding for binding in bindings(place) if isinstance(binding, Binding)]
        assert [binding.action for binding in made] == [
            key.action for key in KEYMAP if key.place == place and key.keys
        ]
    for place, screen in PLACES.items():
        listed = [key for _, keys in help_groups(place, reachable(place)) for key in keys]
        own = [key for key in KEYMAP if key.place == place]
        assert all(key in listed for key in own)
        assert screen.title
    assert shown_keys(KEYMAP[0]) == "?"


def test_every_action_of_the_table_exists() -> None:
    from tui.app import Console
    from tui.screens.approvals import ApprovalsScreen
    from tui.screens.columns import ColumnsScreen
    from tui.screens.dag import DagScreen
    from tui.screens.differences import DifferencesScreen
    from tui.screens.drain import DrainScreen
    from tui.screens.drain_progress import DrainProgressScreen
    from tui.screens.events import EventsScreen
    from tui.screens.help import HelpScreen
    from tui.screens.letters import LettersScreen
    from tui.screens.node import NodeScreen
    from tui.screens.nodes import NodesScreen
    from tui.screens.operations import OperationScreen, OperationsScreen
    from tui.screens.preview import PreviewScreen
    from tui.screens.queue import QueueScreen
    from tui.screens.task import TaskScreen
    from tui.screens.why import WhyScreen
    from tui.screens.workflows import WorkflowsScreen
    from tui.widgets.choice import Choice
    from tui.widgets.dag_canvas import DagCanvas
    from tui.widgets.dag_table import DagTable
    from tui.widgets.facts import Facts
    from tui.widgets.heatfield import HeatField
    from tui.widgets.output import OutputPane
    from tui.widgets.table import Table

    owners: dict[str, list[type]] = {
        "app": [Console],
        "table": [Table],
        "output": [OutputPane, Facts],
        "nodes": [NodesScreen],
        "queue": [QueueScreen],
        "workflows": [WorkflowsScreen],
        "dag": [DagScreen],
        "dag_rows": [DagTable],
        "dag_layers": [DagCanvas],
        "letters": [LettersScreen],
        "cause": [CauseScreen],
        "operations": [OperationsScreen],
        "operation": [OperationScreen],
        "events": [EventsScreen],
        "task": [TaskScreen],
        "node": [NodeScreen],
        "draining": [DrainProgressScreen],
        "why": [WhyScreen],
        "approvals": [ApprovalsScreen],
        "differences": [DifferencesScreen],
        "heat": [HeatField],
        "drain": [DrainScreen],
        "preview": [PreviewScreen],
        "help": [HelpScreen],
        "columns": [ColumnsScreen],
        "choice": [Choice],
        "replay": [Console],
    }
    for key in KEYMAP:
        name = key.action.partition("(")[0]
        for owner in owners[key.place]:
            assert hasattr(owner, f"action_{name}"), f"{owner.__name__} lacks {name}"


@pytest.mark.parametrize("place", OPENINGS)
async def test_no_key_changes_anything_without_a_preview(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every key, then enter: only a preview that is confirmed may build a mutator.

    The nodes get every key there is; those of everywhere are not tried again elsewhere, as they open a place each.
    """
    monkeypatch.chdir(tmp_path)  # for what is exported
    source = FakeSource()
    async with open_console(source) as session:
        keys = KEYMAP if place == "nodes" else own_keys("dag" if place == "layers" else place)
        names = sorted({name for key in keys for name in key.keys} - LEAVES - {"y"})
        opened = None
        for name in names:
            # Opening a place costs many times what a key does: it is opened anew only when a key has left it.
            if session.app.screen is not opened or session.app.in_past:
                await leave(session)
                await open_place(session, place)
                opened = session.app.screen
            await session.press(name)
            if isinstance(session.app.screen, Dialog):
                await session.press("enter")
            assert source.mutators == 0, f"{name} in {place} built a mutator"
            assert source.calls == []
            if isinstance(session.app.focused, Input):
                await session.press("escape")


async def test_read_only_builds_no_mutator_and_says_why() -> None:
    async with open_console(read_only=True) as session:
        for opening, keys in (("1", "cCD"), ("2", "Kr"), ("3", "Kr"), ("4", "r")):
            await session.press(opening)
            for key in (*keys, "S"):
                await session.press(key)
                assert len(session.app.screen_stack) == 1
                assert "Read-only" in session.lines[-1]
        assert "read-only" in session.lines[0]
        assert session.source.mutators == 0
        await session.press("R", "1", "c")
        assert len(session.app.screen_stack) == 2


async def test_views_back_and_forth() -> None:
    async with open_console() as session:
        await session.press("2", "5", "minus")
        assert session.app.view_name == "queue"
        await session.press("minus")
        assert session.app.view_name == "events"
        await session.press("2", "enter", "1", "2")
        assert len(session.app.screen_stack) == 2, "a view is as it was left"
        await session.press("escape")
        assert len(session.app.screen_stack) == 1
        await session.press("q")
        assert "Press Q to quit" in session.lines[-1]


async def test_help_lists_the_keys_and_fields_of_its_view() -> None:
    async with open_console(size=(120, 60)) as session:
        await session.press("2", "question_mark")
        assert "Keys in Queue" in session.text
        assert "Cancel the tasks." in session.text
        await session.press("G")
        assert "priority" in session.text
        await session.press("escape")
        assert "Keys in Queue" not in session.text


async def test_palette_runs_what_is_chosen() -> None:
    async with open_console() as session:
        await session.press("ctrl+p", *"dead", "enter")
        assert session.app.view_name == "letters"
        await session.press("ctrl+p", *"nothing at all", "enter")
        assert len(session.app.screen_stack) == 1


async def test_quit_by_control_c_from_anywhere() -> None:
    for opening in ((), ("2", "K"), ("S",), ("slash",)):
        async with open_console() as session:
            await session.press(*opening)
            await session.press("ctrl+c")
            assert session.app.return_code == 0
            assert session.app.return_value == 0


async def test_a_held_key_moves_as_often_as_it_came() -> None:
    async with open_console() as session:
        await session.press("2")
        held = HeldKey("j", "j", 4)
        held.set_sender(session.app)
        session.app.post_message(held)
        await session.settle()
        assert session.lines[1].rstrip().endswith("5/10")
