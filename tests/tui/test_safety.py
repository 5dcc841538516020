"""What every action that changes the cluster has in common, for each key of the table that does."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import Session, open_console
from tests.tui.fake_letters import letters
from tests.tui.fake_source import FakeSource
from tests.tui.test_keys import OPENINGS, open_place
from tui.drawing.draw import plain
from tui.errors import ClusterError
from tui.keyboard.keys import Key
from tui.keyboard.keytable import KEYMAP
from tui.plans.base import TYPED_COUNT_ABOVE, Plan
from tui.screens.ask import AskScreen
from tui.screens.preview import PreviewScreen
from tui.screens.submit import SubmitScreen
from tui.verbs.root import root
from tui.widgets.choice import Choice

ANSWERS = {"priority": "9"}
"""By action, where not any text is an answer."""
NOT_HERE = {"submit", "drain", "undo", "edit", "remove"}
"""With a form, a sheet, an editor, or a row of their own; undo and edit are below."""


def changing() -> Iterator[Key]:
    for key in KEYMAP:
        if not key.changes or not key.keys or key.action in NOT_HERE or key.place not in OPENINGS:
            continue
        if key.place == "drain" or (key.place, key.action) == ("dag", "cancel"):
            continue  # the sheet has tests of its own, and the sample's DAG has nothing to cancel at its first task
        yield key


async def preview(session: Session, key: Key) -> PreviewScreen:
    """The preview that a key leads to where it works, after what it asks was answered."""
    await session.press(key.keys[0])
    await session.settle()
    if isinstance(session.app.screen, AskScreen):
        await session.press(*ANSWERS.get(key.action, "why"), "enter")
    screen = session.app.screen
    assert isinstance(screen, PreviewScreen), (key.place, key.action, session.text)
    return screen


def source_for(key: Key) -> FakeSource:
    """With something to act on under the cursor."""
    if key.place == "queue" and key.action == "priority":
        return FakeSource(tasks=[fake.task(1, "waits", fake.QUEUED)])
    if key.action == "uncordon":
        return FakeSource(nodes=[fake.node_view("anvil", state=types_pb2.NODE_STATE_CORDONED)])
    if key.place in ("queue", "task") and key.action == "retry":
        return FakeSource(tasks=[fake.task(1, "lint", fake.FAILED, started_s=9, ended_s=5, exit_code=1)])
    return FakeSource()


def parse(command: str) -> None:
    """Raises unless the command line takes it, all of its words meaning something."""
    words = shlex.split(command)
    commands: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            commands.append([])
        else:
            commands[-1].append(word)
    for one in commands:
        assert one[0] == "cortex"
        context = click.Context(root, info_name="cortex")
        group: click.Command = root
        rest = one[1:]
        while isinstance(group, click.Group):
            name, found, rest = group.resolve_command(context, rest)
            assert found is not None
            group = found
            if not isinstance(group, click.Group):
                group.make_context(name, rest, parent=context)


def assert_safe(plan: Plan) -> None:
    assert plan.objects, plan.title
    parse(plan.command)
    said = " ".join(plain(line) for line in plan.consequences).lower()
    assert "undo" in said, f"{plan.title}: {said}"
    assert (plan.typed_count == 0) == (plan.radius <= TYPED_COUNT_ABOVE)


@pytest.mark.parametrize("key", changing(), ids=lambda key: f"{key.place}-{key.action}")
async def test_a_change_is_previewed_exactly_and_made_by_one_key_only(key: Key) -> None:
    """Read-only it is refused. Else: exact objects, the same as a command line, a word on undoing it, the focus on
    doing nothing; and what was asked is named by its id.
    """
    async with open_console(source_for(key), (160, 40), read_only=True) as session:
        await open_place(session, key.place, read_only=True)
        depth = len(session.app.screen_stack)
        await session.press(key.keys[0])
        assert len(session.app.screen_stack) == depth
        assert "Read-only" in session.lines[-1]
        assert session.source.mutators == 0
        session.app.read_only = False
        screen = await preview(session, key)
        assert screen.plan.objects, f"nothing of the sample can be meant by {key.place} {key.action}"
        assert_safe(screen.plan)
        focused = session.app.focused
        assert isinstance(focused, Choice)
        assert focused.id == "keep"
        await session.press("enter")
        assert session.source.mutators == 0
        assert len(session.app.screen_stack) == depth
        await preview(session, key)
        await session.press("y")
        assert session.source.mutators == 1
        assert len(session.source.calls) == 1
        assert "Operation op-1." in session.lines[-1]


@pytest.mark.parametrize("place", OPENINGS)
async def test_each_changing_key_opens_a_preview_or_a_form(place: str) -> None:
    """Those that are not tested above."""
    known = [key.action for key in changing() if key.place == place]
    for key in KEYMAP:
        at = "nodes" if key.place == "app" else key.place
        if not key.changes or not key.keys or at != place or key.action in {"undo", "edit", *known}:
            continue
        # A console for each: some openings are toggles.
        async with open_console() as session:
            await open_place(session, place)
            await session.press(key.keys[0])
            assert isinstance(session.app.screen, PreviewScreen | SubmitScreen | AskScreen), key.action


async def test_undo_and_edit_are_as_safe(tmp_path: Path) -> None:
    async with open_console(FakeSource(tasks=letters(30)), (120, 40)) as session:

        async def edit(text: str, name: str) -> tuple[str, Path]:
            return text.replace("--part", "--all"), tmp_path / name

        session.app.edit = edit  # type: ignore[method-assign]
        session.app.forget_edit = lambda path: None  # type: ignore[method-assign]
        await session.press("4", "E")
        await session.until(lambda: isinstance(session.app.screen, PreviewScreen))
        assert_safe(session.app.screen.plan)  # type: ignore[attr-defined]
        await session.press("enter", "b", "y", "u")
        assert_safe(session.app.screen.plan)  # type: ignore[attr-defined]
        await session.press("enter")
        assert [call[0] for call in session.source.calls] == ["canary"]


async def test_the_radius_decides_what_must_be_typed() -> None:
    """Ten letters are one key, eleven want their number, and a canary is one key for however many."""
    for count, typed in ((10, False), (11, True)):
        async with open_console(FakeSource(tasks=letters(count, 1))) as session:
            await session.press("4", *(["t"] if count <= 20 else []), "r")
            assert ("to confirm" in session.text) is typed
            await session.press("escape", "b")
            assert "to confirm" not in session.text
            await session.press("y")
            assert session.source.calls[-1][0] == "canary"


async def test_a_command_with_many_ids_is_shown_short_and_is_whole() -> None:
    async with open_console(FakeSource(tasks=letters(30, 1))) as session:
        await session.press("4", "t", "asterisk", "X", *"old", "enter")
        screen = session.app.screen
        assert isinstance(screen, PreviewScreen)
        assert "and 28 more" in session.text
        parse(screen.plan.command)
        assert all(task in screen.plan.command for task in session.source.tasks)


def test_a_command_that_the_command_line_does_not_take_is_found() -> None:
    for wrong in ("cortex retry --all", "cortex revive x", "cortex cordon a b", "cortex cancel a and 3 more --x"):
        with pytest.raises((click.ClickException, ClusterError, AssertionError)):
            parse(wrong)
