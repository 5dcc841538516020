"""keymap.toml: the operator's own keys, in what they do and in what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.command_line import CommandLine
from tests.tui.console import open_console
from tui.errors import ClusterError
from tui.keyboard.keyfile import canonical, load, merged, written
from tui.keyboard.keymap import key_of
from tui.keyboard.keytable import KEYMAP, PLACES
from tui.operator.preferences import Preferences

MINE = """
[app]
help = ["B", "?"]
queue = "0"
submit = []

[table]
down = ["J", "down"]

[queue]
cancel = ["X"]

[nodes]
remove = "Z"
"""


def test_what_is_printed_reads_back_to_the_table() -> None:
    assert merged(written(KEYMAP), "keymap.toml") == KEYMAP
    mine = merged(MINE, "keymap.toml")
    assert merged(written(mine), "keymap.toml") == mine


def test_names_of_actions_are_unique_in_their_place() -> None:
    for place in PLACES:
        names = [key.name for key in KEYMAP if key.place == place]
        assert len(names) == len(set(names)), place
        assert all(name.replace("_", "").isalnum() for name in names)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[app\n", "keymap.toml is not valid TOML"),
        ("\n[attic]\nx = 'y'", "line 2: there is no place 'attic'"),
        ("[queue]\n\ncancle = ['x']", "line 3: [queue] has no action 'cancle'. Did you mean cancel?"),
        ("[queue]\ncancel = ['ctrl-s']", "line 2: ctrl-s does not work everywhere"),
        ("[queue]\ncancel = ['f5']", "line 2: f5 does not work everywhere"),
        ("[queue]\ncancel = ['alt-x']", "line 2: alt-x does not work everywhere"),
        ("[queue]\ncancel = ['foo']", "line 2: there is no key 'foo'"),
        ("[queue]\ncancel = [5]", "line 2: keys are a text or a list"),
        ("[queue]\ncancel = ['j']", "line 2: queue: j is both cancel and down. Give [table] down another key"),
        ("[app]\nhelp = ['K']", "line 2: queue: K is both cancel and help"),
        ("[app]\nquit = []", "line 2: quit needs a key"),
        ("app = 3", "there is no place 'app'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ClusterError) as caught:
        merged(text, "keymap.toml")
    assert said in f"{caught.value.message} {caught.value.remedy}"
    assert caught.value.exit_code == 2


def test_names_of_keys() -> None:
    assert [canonical(name) for name in ("?", "esc", "ctrl-d", "-", "pgdn", " ", "é", '"', "Q")] == [
        "question_mark", "escape", "ctrl+d", "minus", "pagedown", "space", "é", "quotation_mark", "Q",
    ]  # fmt: skip
    assert [canonical(name) for name in ("", "qq", "hyper-x", "\x1b")] == [None] * 4


def test_a_file_is_read_once_and_its_absence_is_no_error(tmp_path: Path) -> None:
    assert load(tmp_path / "keymap.toml") == KEYMAP
    (tmp_path / "keymap.toml").write_text(MINE)
    assert key_of("queue", "cancel", load(tmp_path / "keymap.toml")) == "X"
    assert key_of("dag_rows", "down", load(tmp_path / "keymap.toml")) == "J", "as in tables"
    (tmp_path / "keymap.toml").write_text("#" * 200_000)
    with pytest.raises(ClusterError, match="more than"):
        load(tmp_path / "keymap.toml")
    with pytest.raises(ClusterError, match="cannot be read"):
        load(tmp_path)


async def test_the_console_does_and_shows_the_keys_of_the_file() -> None:
    mine = Preferences(keys=merged(MINE, "keymap.toml"))
    async with open_console(preferences=mine, size=(120, 40)) as session:
        assert "0 Queue" in session.lines[1]
        assert "B help" in session.lines[-1]
        await session.press("2")
        assert session.app.view_name == "nodes", "the former key is free"
        await session.press("S")
        assert len(session.app.screen_stack) == 1
        await session.press("0")
        assert session.app.view_name == "queue"
        assert "X cancel" in session.lines[-1]
        table = session.app.screen.main_table()
        await session.press("j")
        assert table.cursor == 0
        await session.press("J")
        assert table.cursor == 1
        await session.press("K")
        assert len(session.app.screen_stack) == 1
        await session.press("X")
        assert len(session.app.screen_stack) == 2, "the preview"
        await session.press("escape", "B")
        assert "Keys in Queue" in session.text
        assert "J down" in session.text
        await session.press("escape", "ctrl+p", *"cancel")
        assert session.line_with("Cancel the tasks.").split()[2:4] == ["X", "cancel"]
        await session.press("escape", "slash", *"HX0")
        assert table.filter_text == "HX0", "in a line of text they are letters"


async def test_the_command_line_prints_and_checks_it(tmp_path: Path) -> None:
    cortex = CommandLine(tmp_path)
    printed = await cortex("keymap")
    assert merged(printed.text, "keymap.toml") == KEYMAP
    file = tmp_path / ".config" / "cortex" / "keymap.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[queue]\ncancel = ['X']\n")
    assert key_of("queue", "cancel", merged((await cortex("keymap")).text, "keymap.toml")) == "X"
    assert (await cortex("keymap", "--default")).text == printed.text
    file.write_text("[queue]\ncancel = ['j']\n")
    for arguments in (("keymap",), ("console", "--demo", "small")):
        ran = await cortex(*arguments)
        assert ran.code == 2
        assert "keymap.toml, line 2: queue: j is both" in ran.err


async def test_an_action_without_a_key_can_be_given_one() -> None:
    mine = Preferences(keys=merged(MINE, "keymap.toml"))
    async with open_console(preferences=mine) as session:
        await session.press("G", "Z")
        assert len(session.app.screen_stack) == 2 or "online" in session.lines[-1]
