"""Copies, exports and ranges: what an operator takes out of the console."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path

import pytest

from tests.tui.console import open_console
from tui.operator.keep import Keep
from tui.tty.clipboard import MAX_BASE64_BYTES, osc52, wrapped
from tui.tty.terminal import Terminal


def copied(escape: str) -> str:
    """What a terminal would have in its clipboard."""
    assert escape.startswith("\x1b]52;c;")
    assert escape.endswith("\x07")
    return base64.b64decode(escape[7:-1]).decode()


def test_osc52_reaches_the_terminal_through_multiplexers() -> None:
    plain = osc52("grüß")
    assert copied(plain) == "grüß"
    through_tmux = osc52("grüß", "tmux")
    assert through_tmux.startswith(plain), "for set-clipboard"
    inner = through_tmux.removeprefix(plain).removeprefix("\x1bPtmux;").removesuffix("\x1b\\")
    assert inner.replace("\x1b\x1b", "\x1b") == plain, "for allow-passthrough"
    pieces = osc52("x" * 900, "screen").split("\x1b\\")[:-1]
    assert len(pieces) > 3
    assert all(piece.startswith("\x1bP") and len(piece) <= 254 for piece in pieces)
    assert copied("".join(piece.removeprefix("\x1bP") for piece in pieces)) == "x" * 900
    assert osc52("x" * MAX_BASE64_BYTES) == ""
    assert wrapped("a", "") == "a"


async def test_copies_the_id_and_the_marked_rows() -> None:
    async with open_console() as session:
        await session.press("2", "y")
        assert copied(session.app.escapes[-1]) == "01jx00000002"
        assert "Copied 01jx00000002" in session.lines[-1]
        await session.press("space", "space", "Y")
        lines = [line.split("\t") for line in copied(session.app.escapes[-1]).splitlines()]
        assert lines[0][:4] == ["STATE", "PRI", "NAME", "COMMAND"]
        assert (
            lines[1][:4] == ["running", "5", "backup", "restic backup /srv --tag nightly"]
            or lines[1][2] == "render"
        )
        assert len(lines) == 3
        assert "Copied 2 rows" in session.lines[-1]
        await session.press("escape", "enter", "y")
        assert copied(session.app.escapes[-1]).startswith("01jx")


async def test_what_no_clipboard_takes_goes_into_a_file(tmp_path: Path) -> None:
    async with open_console(size=(160, 24), terminal=Terminal(clipboard=False), keep=Keep(tmp_path)) as session:
        await session.press("1", "asterisk", "Y")
        assert session.app.escapes == []
        assert "no clipboard" in session.lines[-1]
        (path,) = (tmp_path / "console" / "copies").iterdir()
        assert str(path) in session.lines[-1]
        assert [line.split("\t")[0] for line in path.read_text().splitlines()] == [
            "NODE", "anvil", "birch", "cedar", "dune", "elm",
        ]  # fmt: skip
    async with open_console(size=(160, 24), terminal=Terminal(clipboard=False)) as session:
        await session.press("Y")
        assert "XDG_STATE_HOME" in session.lines[-1]


async def test_a_range_is_marked_by_moving() -> None:
    async with open_console() as session:
        table = session.app.screen.query_one("#rows")
        await session.press("j", "v", "j", "j", "k")
        assert table.chosen() == ["birch", "cedar"]
        await session.press("v", "G", "space")
        assert table.chosen() == ["birch", "cedar", "elm"]
        await session.press("g", "v", "j", "escape")
        assert table.marks == set()
        await session.press("j")
        assert table.marks == set(), "escape ended the range"


async def test_exports_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a short name leaves room for what is said of it
    async with open_console(size=(120, 30)) as session:
        await session.press("2", "slash", *"flaky or fetch", "enter", "x")
        await session.press("ctrl+u", *"dead.csv", "enter")
        await session.until(lambda: "Wrote 2 rows" in session.lines[-1])
        rows = list(csv.DictReader((tmp_path / "dead.csv").open()))
        assert [row["NAME"] for row in rows] == ["flaky", "fetch"]
        assert rows[0]["STATE"] == "dead_letter"
        await session.press("x", "ctrl+u", *"dead.csv", "enter")
        await session.until(lambda: "exists already" in session.text)
        await session.press("ctrl+u", *"dead.txt", "enter")
        await session.until(lambda: "does not end in" in session.text)
        await session.press("ctrl+u", *"none/dead.json", "enter")
        assert "There is no folder" in session.text
        await session.press("ctrl+u", *"dead.json", "enter")
        await session.until(lambda: (tmp_path / "dead.json").exists())
        document = json.loads((tmp_path / "dead.json").read_text())
        assert [row["id"] for row in document] == ["01jx00000009", "01jx00000010"]
        assert document[0]["attempt"] == 3
        await session.press("x", "ctrl+u", *"dead.svg", "enter")
        await session.until(lambda: (tmp_path / "dead.svg").exists())
        assert "flaky" in (tmp_path / "dead.svg").read_text()


async def test_a_full_disk_is_a_sentence() -> None:
    async with open_console(size=(120, 30)) as session:
        session.app.export(Path("/proc/nothing.csv"))
        await session.until(lambda: "cannot be written" in session.lines[-1])
