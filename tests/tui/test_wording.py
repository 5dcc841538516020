"""Sentences that name a key name the one that the operator has."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.drain_kit import drained
from tests.tui.fake_letters import letters as many_letters
from tests.tui.fake_source import FakeSource
from tui.columns.base import Draw
from tui.drawing.draw import UNICODE, plain
from tui.keyboard.keys import Key
from tui.keyboard.keytable import KEYMAP, PLACES
from tui.keyboard.wording import filled, shipped, wording
from tui.operator.preferences import Preferences
from tui.plans import letters, nodes, operations, tasks, workflows
from tui.plans.base import Plan
from tui.store.view import ClusterView

TUI = Path(__file__).parents[2] / "tui"
NAMED = re.compile(
    r"(?<![\w'%<>{/-])(?:[b-zB-HJ-Z]|esc|tab|ctrl-\w|pgup|pgdn)(?![\w'=.%>:/}-]|\. ?\w)"
    r"|\b[Pp]ress [^{\s]+\b|(?<=[:;] )[^\w\s{`'\"] \w"
)
EXEMPT = {
    # file: why what looks like a key there is none that can be rebound
    "keyboard/keytable.py": "the table itself", "keyboard/keyfile.py": "reads key names",
    "keyboard/keys.py": "the forbidden ones", "keyboard/wording.py": "spells key names",
    "tty/driver.py": "bytes of the terminal", "tty/clipboard.py": "escape sequences",
    "screens/submit.py": "a dialog of fields, whose keys are fixed",
    "screens/choose.py": "a dialog of a line, whose keys are fixed",
    "widgets/commandbar.py": "a line, whose keys are fixed", "widgets/filterbar.py": "a line, whose keys are fixed",
}  # fmt: skip
NO_KEY = (
    ", or esc to do nothing.",  # of a dialog with one line, whose keys are fixed
    "It begins 10 s after", "It takes effect 10 s after", " s ago", " of the last 10 s", "At most N tasks",
    "after 10 s to undo", " s; until then `cortex", "s wait", "s are meant by", "a or (b !c)", "[x] ",
    "s out to start", "CPU 60 S", "There is nothing to ", "Look, then press it again.", "for i in $(",
    "it is no {over", " in flight, r ", "/s w ",
)  # fmt: skip


def sentences() -> Iterator[tuple[str, int, str]]:
    """Every text in tui/ that a person may read, with where it is; the verbs are of the command line."""
    for path in sorted(TUI.rglob("*.py")):
        name = str(path.relative_to(TUI))
        if name in EXEMPT or name.startswith(("verbs/", "dag/")):
            continue
        tree = ast.parse(path.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                yield name, node.lineno, node.value


def test_what_is_exempt_is_there() -> None:
    assert [name for name in EXEMPT if not (TUI / name).is_file()] == []


def test_no_sentence_spells_a_key() -> None:
    found = [
        f"tui/{name}:{line}: {text!r}"
        for name, line, text in sentences()
        if " " in text.strip() and "\\" not in text and NAMED.search(text) and not text.startswith(NO_KEY)
        and not any(part in text for part in NO_KEY)
    ]  # fmt: skip
    assert not found, "say it with wording.filled() or Draw.word: " + "\n".join(found)


def test_every_word_that_is_filled_in_has_its_action() -> None:
    known = {(key.place, key.name) for key in KEYMAP}
    for name, line, text in sentences():
        for place, action in re.findall(r"\{(\w+)\.([\w()-]+)\}", text):
            assert (place, action) in known, f"tui/{name}:{line}"
    calls = re.compile(r"word\(\\?[\"'](\w+)\\?[\"'], \\?[\"']([\w()-]+)\\?[\"']\)")
    for path in TUI.rglob("*.py"):
        for place, action in calls.findall(path.read_text()):
            assert (place, action) in known or path.name == "wording.py", f"{path.name}: {place} {action}"


def rebound() -> tuple[Key, ...]:
    """Every action on other keys: letters of an alphabet that the console does not use, one for each."""
    letter = (chr(code) for code in range(0x100, 0x590) if unicodedata.category(chr(code)) in ("Lu", "Ll"))
    return tuple(replace(key, keys=tuple(next(letter) for _ in key.keys)) for key in KEYMAP)


def test_each_plan_names_the_keys_that_there_are() -> None:
    view = ClusterView()
    for reply in FakeSource().snapshot():
        view.fold(reply, 1000.0)
    for task in fake.sample_tasks():
        view.put_task(task)
    running = {row.id: row for row in view.operations.values()}
    told: list[list[str]] = []
    for word in (shipped, wording(rebound())):
        draw = Draw(fake.NOW_US, 1000.0, UNICODE, view, word)
        dead = [task.id for task in view.tasks.values() if task.state == fake.DEAD]
        plans: list[Plan] = [
            letters.discard(draw, dead, "old"),
            letters.retry_causes(draw, [], {}),
            letters.canary(draw, []),
            letters.discard_causes(draw, [], {}, "old"),
            nodes.cordon(draw, ["anvil"]),
            nodes.uncordon(draw, ["dune"]),
            operations.undo(
                draw, next(key for key, row in running.items() if row.state == types_pb2.OPERATION_STATE_RUNNING)
            ),
            tasks.set_priority(draw, ["01jx00000004"], 7),
            workflows.cancel(draw, [row.id for row in view.workflows.values()]),
        ]
        told.append([" ".join(map(plain, (*plan.consequences, *plan.left_out))) for plan in plans])
    for before, after in zip(*told, strict=True):
        assert before != after
        assert any(ord(letter) >= 0x100 and letter.isalpha() for letter in after)


SEEN: tuple[tuple[tuple[tuple[str, str], ...], str], ...] = (
    # actions by place and name, and what is said then
    ((("app", "close"),), "Press {app.quit} to quit"),
    ((("app", "read_only"),), "until {app.read_only} is pressed again"),
    ((("app", "undo"),), "{app.operations} lists all operations"),
    ((("app", "past_hold"),), "{app.time_travel} goes there"),
    ((("nodes", "cordon"),), "[ {preview.give_up}  do nothing ]"),
    ((("nodes", "cordon"),), "{preview.confirm}  cordon 1 node"),
    ((("nodes", "cordon"),), "{preview.reason}  say why"),
    ((("nodes", "drain"),), "[ {drain.give_up}  do nothing ]"),
    ((("nodes", "drain"),), "{drain.options} changes"),
    ((("nodes", "drain"),), "later {nodes.uncordon} ends it"),
    ((("app", "read_only"), ("nodes", "cordon")), "Read-only: {app.read_only} turns it off"),
    ((("app", "time_travel"),), "{app.time_travel} now"),
    (
        (("app", "time_travel"), ("nodes", "cordon")),
        "This is the past: {app.time_travel} or {app.step_back} returns",
    ),
)


@pytest.mark.parametrize(("actions", "sentence"), SEEN)
async def test_the_console_names_the_keys_that_there_are(
    actions: tuple[tuple[str, str], ...], sentence: str
) -> None:
    keys = rebound()
    by_name = {(key.place, key.name): key.keys[0] for key in keys if key.keys}
    async with open_console(drained(), (140, 40), preferences=Preferences(keys=keys)) as session:
        for place, name in actions:
            await session.press(by_name[place, name])
        await session.until(lambda: filled(sentence, wording(keys)) in session.text)
        assert filled(sentence, shipped) not in session.text


async def test_of_causes_too() -> None:
    keys = rebound()
    by_name = {(key.place, key.name): key.keys[0] for key in keys if key.keys}
    source = FakeSource(tasks=many_letters(10, 2))
    async with open_console(source, (140, 40), preferences=Preferences(keys=keys)) as session:
        await session.press(by_name["app", "dead_letters"])
        await session.press(by_name["letters", "canary"])
        said = "until then {app.undo} undoes it", "{operations.stop} in the operations ({app.operations}) stops it"
        await session.until(lambda: all(filled(one, wording(keys)) in session.text for one in said))


def test_where_there_is_no_key_the_line_has_a_word() -> None:
    assert wording(())("app", "undo") == ":undo"
    assert set(PLACES) >= {key.place for key in KEYMAP}
