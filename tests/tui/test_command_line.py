"""The line `:`: its words, what completes them, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.console import Session, open_console
from tui.keyboard.cmdline import CommandError, History, completions, find, longer, words
from tui.keyboard.keymap import reachable
from tui.keyboard.keytable import KEYMAP
from tui.operator.keep import Keep
from tui.screens.dag import DagScreen
from tui.screens.preview import PreviewScreen
from tui.widgets.commandbar import CommandBar


async def say(session: Session, line: str) -> None:
    await session.press("colon", *line, "enter")


def written(session: Session) -> str:
    return session.app.screen.query_one(CommandBar).input.value


def test_every_action_of_the_palette_is_a_word() -> None:
    for place in ("nodes", "queue", "dag", "task"):
        known = words(place, KEYMAP)
        offered = {key.name.replace("_", "-") for key in reachable(place) if key.palette}
        assert offered <= set(known)
        assert {"nodes", "dead-letters", "operations", "quit", "node", "task", "theme"} <= set(known)
    assert words("queue", KEYMAP)["cancel"].key is not None, "what is marked"
    assert words("nodes", KEYMAP)["cancel"].key is None, "only with a task behind it"
    assert words("nodes", KEYMAP)["cancel"].takes == "task"


def test_a_wrong_word_is_told_the_nearest() -> None:
    known = words("nodes", KEYMAP)
    for line, said in (
        ("wrkflows", "Did you mean :workflows?"),
        ("xyzzy", "There is no word 'xyzzy' here. Tab shows"),
        ("node", "Write :node NODE."),
        ("help me", ":help takes nothing behind it"),
    ):
        with pytest.raises(CommandError) as caught:
            find(line, known)
        assert said in str(caught.value)
    assert find(":q", known)[0].name == "quit"
    assert find("  Dead_Letters ", known)[0].name == "dead-letters"


def test_completion() -> None:
    known = words("queue", KEYMAP)
    values = {"node": ["anvil", "birch"], "filter": ["state", "name", "node"]}
    assert completions("dea", known, values.__getitem__) == ["dead-letters"]
    assert completions("node ", known, values.__getitem__) == ["node anvil", "node birch"]
    assert completions("node b", known, values.__getitem__) == ["node birch"]
    assert completions("filter state=x (n", known, values.__getitem__) == [
        "filter state=x (name", "filter state=x (node",
    ]  # fmt: skip
    assert completions("nonsense x", known, values.__getitem__) == []
    assert longer("n", ["next", "nexus"]) == "nex"
    assert longer("nex", ["next", "nexus"]) == "nex"
    assert longer("nex", []) == "nex"


def test_history() -> None:
    history = History()
    assert history.step(-1, "draft") == "draft"
    for line in ("one", "two", "two"):
        history.add(line)
    assert [history.step(-1, "draft") for _ in range(3)] == ["two", "one", "one"]
    assert [history.step(1, "one") for _ in range(2)] == ["two", "draft"]


async def test_goes_where_it_is_told() -> None:
    async with open_console(size=(120, 30)) as session:
        for line, view in (
            ("queue", "queue"),
            ("letters", "letters"),
            ("workflows", "workflows"),
            ("nodes", "nodes"),
        ):
            await say(session, line)
            assert session.app.view_name == view
        await say(session, "task render")
        assert "01jx00000001" in session.text
        await session.press("escape")
        await say(session, "node birch")
        assert len(session.app.screen_stack) == 2
        await session.press("escape", "3")
        key = session.app.screen.main_table().cursor_key
        await say(session, f"workflow {key}")
        assert isinstance(session.app.screen, DagScreen)
        await session.press("escape")
        await say(session, "task 01jx")
        assert "tasks are meant by '01jx'" in session.lines[-1]
        await say(session, "node nowhere")
        assert "No node 'nowhere' is known here" in session.lines[-1]
        await say(session, "wrkflows")
        assert "Did you mean :workflows?" in session.lines[-1]


async def test_filters_sorts_and_paints() -> None:
    async with open_console(size=(120, 30)) as session:
        await session.press("2")
        table = session.app.screen.main_table()
        await say(session, "filter state=dead_letter")
        assert len(table.listing) == 2
        await say(session, "filter state=")
        assert len(table.listing) == 2, "the former stays"
        assert "column" in session.lines[-1] or "state=" in session.lines[-1]
        await say(session, "sort name")
        assert table.sort_column.id == "name"
        await say(session, "sort colour")
        assert "There is no column 'colour'" in session.lines[-1]
        await say(session, "theme safe")
        assert session.app.theme == "cortex-safe"
        await say(session, "mark-all")
        assert len(table.marks) == 2


async def test_what_changes_the_cluster_is_previewed_or_refused() -> None:
    async with open_console(size=(120, 30)) as session:
        await say(session, "cordon birch")
        assert isinstance(session.app.screen, PreviewScreen)
        await session.press("escape")
        await say(session, "cancel render")
        assert isinstance(session.app.screen, PreviewScreen)
        await session.press("escape", "R")
        await say(session, "cordon birch")
        assert "Read-only" in session.lines[-1]
        await say(session, "submit")
        assert "Read-only" in session.lines[-1]
        assert session.source.mutators == 0


async def test_tab_completes_and_arrows_remember() -> None:
    async with open_console(size=(120, 30)) as session:
        await session.press("colon", *"dea", "tab")
        assert written(session) == "dead-letters "
        await session.press("enter", "colon", *"node ", "tab")
        assert written(session) == "node anvil"
        await session.press("tab")
        assert written(session) == "node birch"
        await session.press("shift+tab", "enter", "colon", "up", "up")
        assert written(session) == "dead-letters"
        await session.press("down")
        assert written(session) == "node anvil"
        await session.press("escape")
        assert not session.app.screen.query_one(CommandBar).display
        await session.press("colon", *"cor")
        assert "cordon" in session.lines[-1]


async def test_q_leaves() -> None:
    async with open_console() as session:
        await say(session, "q")
        await session.until(lambda: session.app.return_code == 0)


async def test_the_theme_is_kept(tmp_path: Path) -> None:
    async with open_console(keep=Keep(tmp_path)) as session:
        await say(session, "theme contrast")
    async with open_console(keep=Keep(tmp_path)) as session:
        assert session.app.theme == "cortex-contrast"
    (tmp_path / "console" / "choices.json").write_text("[")
    async with open_console(keep=Keep(tmp_path), size=(160, 24)) as session:
        assert "choices.json is damaged" in session.lines[-1]
        assert session.app.theme == "cortex-dark"
