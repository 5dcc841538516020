"""Drains by keys: what the sheet shows is what is carried out, and a plan that broke is never adapted silently."""

from __future__ import annotations

import asyncio
import re

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake
from tests.tui.console import check_golden, open_console
from tests.tui.drain_kit import BACKUP, RENDER, drained, moved, told
from tests.tui.fake_source import FakeSource
from tui.screens.drain import DrainScreen
from tui.screens.drain_progress import DrainProgressScreen
from tui.source import SourceError
from tui.tty.terminal import Terminal

COLOUR = re.compile(r"\x1b\[[\d;]*\b(3[0-8]|4[0-8])[;m]")
BROKEN = SourceError("The plan does not hold any more. Task x has nowhere to go.", "Rehearse again.", "wrong_state")


async def test_the_sheet_says_all_and_is_carried_out_by_its_plan() -> None:
    async with open_console(drained(), (120, 40)) as session:
        await session.press("D")
        for said in ("1 task lands elsewhere", "1 waits in the queue", "becomes a dead letter at the deadline",
                     "2 needed; 2 with it off: enough", "leadership is handed over", "about 12s", "1h at most",
                     "for 10s, before anything moves", "DEAD LETTER", "to cedar", "plan-1",
                     "$ cortex drain anvil --plan plan-1"):  # fmt: skip
            assert said in session.text, said
        assert "[ esc  do nothing ]" in session.text, "the focus is on doing nothing"
        assert session.source.mutators == 0
        await session.press("y")
        ((verb, request),) = session.source.calls
        assert verb == "drain_node"
        assert request == cluster_pb2.DrainRequest(node="anvil", plan_id="plan-1")
        assert isinstance(session.app.screen, DrainProgressScreen)


async def test_no_other_key_carries_a_drain_out() -> None:
    async with open_console(drained()) as session:
        for key in ("enter", "escape", "q", "Q"):
            await session.press("D", key)
            assert session.source.mutators == 0
            if key == "Q":
                break
            assert len(session.app.screen_stack) == 1


async def test_each_option_rehearses_anew() -> None:
    async with open_console(drained(), (100, 40)) as session:
        await session.press("D", "e", *"deadline", "enter", *["backspace"] * 4, *"0", "enter")
        assert "1s at least" in session.text, "an answer that makes no sense is not taken"
        await session.press("backspace", *"30m", "enter")
        assert "30m at most" in session.text
        await session.press("e", *"deadline", "enter", *["backspace"] * 4, *"none", "enter")
        await session.press("e", *"hold", "enter", "e", *"force", "enter", "e", *"cordoned", "enter")
        await session.press("e", *"parallel", "enter", *["backspace"] * 4, *"2", "enter")
        await session.press("m", *"new disk", "enter")
        last = session.source.rehearsals[-1]
        assert last == cluster_pb2.DrainRequest(
            node="anvil", no_deadline=True, hold=True, force=True, keep_cordoned=True, max_parallel=2,
            message="new disk",
        )  # fmt: skip
        assert len(session.source.rehearsals) == 8
        assert session.source.mutators == 0
        await session.press("y")
        (call,) = session.source.calls
        assert call[1] == cluster_pb2.DrainRequest(node="anvil", plan_id="plan-8"), "exactly what was shown last"


async def test_a_plan_that_broke_is_refused_and_shown_with_its_difference() -> None:
    async with open_console(drained(), (100, 40)) as session:
        await session.press("D")
        session.source.refuse_plan = BROKEN
        del session.source.rehearsal.moves[0]
        session.source.rehearsal.stuck.add(task=BACKUP, reason="No other node takes it: label x missing (3 nodes).")
        await session.press("y")
        assert session.source.calls == []
        assert "The plan does not hold any more" in session.text
        assert "has nowhere to go, was: lands on cedar" in session.line_with("other  backup")
        assert "--plan plan-2" in session.text
        assert isinstance(session.app.screen, DrainScreen), "nothing goes on without another yes"
        await session.press("y")
        assert session.source.calls[0][1] == cluster_pb2.DrainRequest(node="anvil", plan_id="plan-2")


async def test_a_lost_link_is_no_refusal_of_the_plan() -> None:
    async with open_console(drained(), (100, 40)) as session:
        session.source.refuse_plan = SourceError("No daemon answers.", "Start one.", "unreachable")
        await session.press("D", "y")
        assert "No daemon answers. Start one." in session.text
        assert len(session.source.rehearsals) == 1, "the plan may still hold"


async def test_too_few_voters_block_it_until_forced() -> None:
    async with open_console(drained(up_without=1), (100, 40)) as session:
        await session.press("D")
        assert "NOT ENOUGH" in session.text
        assert "y  drain" not in session.text
        await session.press("y")
        assert session.source.mutators == 0
        assert "choose force with e" in session.text
        await session.press("e", *"force", "enter")
        assert "take the cluster's majority with it" in session.text
        await session.press("y")
        assert len(session.source.calls) == 1


async def test_a_drain_of_many_tasks_wants_their_number() -> None:
    source = FakeSource()
    source.rehearsal = types_pb2.DrainPlan(
        moves=[types_pb2.DrainMove(task=f"t{number}", to="cedar", reason="Best.") for number in range(12)],
        quorum=types_pb2.QuorumEffect(voters=3, up=3, needed=2, up_without=2, ok=True),
    )
    async with open_console(source, (100, 40)) as session:
        await session.press("D")
        assert "Type 12 to confirm" in session.text
        await session.press("y")
        assert source.calls == []
        await session.press("1", "2", "y")
        assert len(source.calls) == 1


async def test_a_rehearsal_that_fails_says_why() -> None:
    source = drained()

    async def refused(_request: cluster_pb2.DrainRequest) -> cluster_pb2.RehearseDrainReply:
        raise SourceError("Node anvil is drained already.", "`cortex uncordon anvil` lets it work again.")

    source.rehearse_drain = refused  # type: ignore[method-assign]
    async with open_console(source) as session:
        await session.press("D")
        assert "drained already" in session.text
        await session.press("y", "e", "escape")
        assert source.mutators == 0


async def test_a_long_sheet_is_scrolled_while_the_focus_stays_on_doing_nothing() -> None:
    source = drained()
    for number in range(40):
        source.rehearsal.moves.add(task=f"more{number}", to="cedar", reason="Best.")
    async with open_console(source) as session:
        await session.press("D")
        assert "more39" not in session.text
        await session.press("G")
        assert "more39" in session.text
        await session.press("g", "j", "k", "pagedown", "pageup", "ctrl+d", "ctrl+u")
        assert "quorum" in session.text
        assert "[ esc  do nothing ]" in session.text


async def test_a_slow_rehearsal_can_be_left() -> None:
    source = drained()
    asked, never = asyncio.Event(), asyncio.Event()

    async def slow(_request: cluster_pb2.DrainRequest) -> cluster_pb2.RehearseDrainReply:
        asked.set()
        await never.wait()
        raise AssertionError

    source.rehearse_drain = slow  # type: ignore[method-assign]
    async with open_console(source) as session:
        await session.press("D")
        await asked.wait()
        assert "Rehearsing" in session.text
        await session.press("y", "e", "escape")
        assert len(session.app.screen_stack) == 1
        assert source.mutators == 0


async def test_marked_nodes_have_a_sheet_each() -> None:
    async with open_console(drained(), (100, 40)) as session:
        await session.press("space", "space", "space", "D")
        assert "(1 of 3)" in session.text
        await session.press("y")
        assert "(2 of 3)" in session.text
        assert [request.node for request in session.source.rehearsals] == ["anvil", "birch"]
        await session.press("escape")
        assert "Not drained: this node and the 1 after it" in session.lines[-1]
        assert [call[1].node for call in session.source.calls] == ["anvil"]  # type: ignore[attr-defined]


async def test_removal_is_in_the_palette_and_previewed() -> None:
    async with open_console() as session:
        await session.press("G", "ctrl+p", *"remove", "enter")
        assert "Remove 1 node" in session.text
        assert "joins again only with a new data folder" in session.text
        await session.press("y")
        assert session.source.calls == [("remove_node", "elm")]
        await session.press("g", "ctrl+p", *"remove", "enter")
        assert "votes: drain it" in session.text
        assert "There is nothing to do" in session.text


async def test_names_from_outside_are_text() -> None:
    evil = "a\x1b[2Jb[red]"
    source = FakeSource(nodes=[fake.node_view(evil), fake.node_view("other")])
    source.tasks[RENDER].name = "x\x1b]52;c;aGk=\x07[/]"
    source.rehearsal = drained().rehearsal
    source.rehearsal.moves[0].to = evil
    async with open_console(source, (100, 40)) as session:
        await session.press("D")
        assert "[red]" in session.line_with("$ cortex drain")
        await session.press("y")
        assert not any("\x1b[2J" in text or "\x1b]52" in text for text in session.app.sent)


async def test_without_colour_and_beyond_ascii_a_drain_can_be_read() -> None:
    async with open_console(drained(), terminal=Terminal(ascii_only=True, no_color=True)) as session:
        for keys in (("D",), ("y",), ("escape", "2", "W")):
            await session.press(*keys)
            assert session.text.isascii()
            assert not [
                text for text in session.app.sent if re.search(r"\x1b\[[\d;]*(3[0-7]|38|4[0-7]|48)[;m]", text)
            ]


SIZES = {"80x24": (80, 24), "200x50": (200, 50)}


async def test_the_sheet_and_the_progress_look_as_recorded() -> None:
    for name, size in SIZES.items():
        async with open_console(drained(), size) as session:
            await session.press("D")
            check_golden(f"drain_{name}", session)
            await session.press("y")
            row = told(session, types_pb2.OPERATION_STATE_RUNNING, begun_at_us=fake.NOW_US + 10_000_000)
            session.source.push(row, moved(session, BACKUP, "cedar", fake.RUNNING), at_us=fake.NOW_US + 12_000_000)
            await session.settle()
            session.app.clear_note()
            await session.settle()
            check_golden(f"draining_{name}", session)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (20, 5), (40, 10), (300, 3)])
async def test_no_size_crashes_a_drain(size: tuple[int, int]) -> None:
    async with open_console(drained(), size) as session:
        await session.press(
            "D", "j", "G", "e", "escape", "y", "j", "W", "j", "escape", "d", "escape", "escape", "a"
        )
        await session.resize(80, 24)
        assert "anvil" in session.text
