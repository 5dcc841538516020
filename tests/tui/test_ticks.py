"""What a tick and a key leave undone: where nothing can have changed, and where nobody else is concerned."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock, patch

import pytest
from rich.segment import Segment
from textual import events
from textual.geometry import Region
from textual.timer import Timer

from cortex.v1 import cluster_pb2
from tests.tui import fake
from tests.tui.console import Session, open_console
from tests.tui.fake_source import FakeSource
from tui.operator.theme_list import THEMES
from tui.store.view import ClusterView
from tui.tty.driver import HeldKey
from tui.widgets.table import Table

LONG_AGO_S = -1e9


def nodes(count: int = 60) -> FakeSource:
    return FakeSource(nodes=[fake.node_view(f"n{n:03}", cpu=float(n), index=n + 1) for n in range(count)])


def ticks(session: Session) -> int:
    """How often one interval of the console's timer ticks: once or not at all."""
    app = session.app
    app.stirred_s = LONG_AGO_S
    with patch.object(app, "tick", wraps=app.tick) as ticked:
        app._tick_if_due()
        return ticked.call_count


def take(session: Session, samples: list[cluster_pb2.NodeView]) -> None:
    view = session.app.view
    view.fold(cluster_pb2.WatchReply(samples=samples, leader=view.leader), session.clock.now_s)


async def at_rest(session: Session) -> None:
    """Up to a tick behind which there is nothing to do."""
    session.app.clear_note()
    await session.until(lambda: not ticks(session))


async def test_a_tick_is_left_out_until_anything_can_have_changed() -> None:
    async with open_console(nodes()) as session:
        app = session.app
        await at_rest(session)
        take(session, [fake.node_view("n001", cpu=99.0, index=2)])
        assert (ticks(session), ticks(session)) == (1, 0), "a sample"
        app._tick_if_due()
        session.clock.now_s += 1.0
        take(session, [])
        assert (ticks(session), ticks(session)) == (1, 0), "a second"
        app.say("What is said goes away by itself.")
        assert (ticks(session), ticks(session)) == (1, 1), "a note"
        await at_rest(session)
        session.clock.now_s = int(session.clock.now_s) + 0.95
        assert ticks(session) == 0
        app.view.link.heard_s = session.clock.now_s - 1.79
        session.clock.now_s += 0.02
        assert ticks(session) == 1, "the link is lost within a second"


async def test_a_tick_is_never_left_out_behind_a_key_or_where_ages_are_told() -> None:
    async with open_console(nodes()) as session:
        app = session.app
        await at_rest(session)
        before_s = app.stirred_s
        await session.press("j")
        assert app.stirred_s > before_s
        # However long the key took.
        app.stirred_s = float("inf")
        app._ticked_for = app._decides()
        with patch.object(app, "tick") as ticked:
            app._tick_if_due()
            app._tick_if_due()
        assert ticked.call_count == 2, "what a key began may still go on"
        await at_rest(session)
        old = fake.node_view("n001", cpu=5.0, index=2)
        old.age_us = 8_000_000
        take(session, [old])
        assert (ticks(session), ticks(session)) == (1, 1), "the age under the cursor goes on between seconds"
        await session.press("2")
        assert (ticks(session), ticks(session)) == (1, 1), "another view says for itself when it stands still"


async def test_a_console_at_rest_is_woken_by_what_comes_and_by_time() -> None:
    source = nodes()
    async with open_console(source) as session:
        app = session.app
        await at_rest(session)
        with patch.object(app, "_ticker", Mock(spec=Timer)) as ticker:
            assert ticks(session) == 0
            ticker.pause.assert_called_once()
            assert app._alarm is not None, "time passes, too"
            source.push(fake.task(1, "new", fake.QUEUED, index=9000))
            await session.settle()
            ticker.resume.assert_called()
            assert app._alarm is None
            ticker.resume.reset_mock()
            await session.press("j")
            ticker.resume.assert_called()
        app.taking = True
        session.clock.now_s += 5.0
        assert ticks(session) == 0, "samples that are half taken in are not shown"
        app.taking = False
        assert ticks(session) == 1


async def test_it_rests_for_a_second_and_no_longer_than_the_link_counts_as_heard() -> None:
    async with open_console(nodes()) as session:
        app, link, now_s = session.app, session.app.view.link, session.clock.now_s
        app._ticked_s = now_s
        rests: list[float] = []
        for heard_s in (now_s, now_s - 1.0, now_s - 1.79, now_s - 60.0):
            link.heard_s = heard_s
            with patch.object(asyncio.get_running_loop(), "call_later") as later:
                app._rest(Mock(spec=Timer))
            rests.append(later.call_args.args[0])
        assert rests == pytest.approx([1.1, 0.82, 0.03, 1.1])
        app._alarm = None


async def test_samples_that_come_while_the_console_closes_are_shown_nowhere() -> None:
    async with open_console(nodes()) as session:
        app = session.app
    assert not app.screen_stack
    sample = fake.node_view("n001", cpu=99.0, index=2)
    await app._take(cluster_pb2.WatchReply(samples=[sample], leader="n000"), app.view)
    assert not app.taking


async def test_a_key_that_moves_asks_nobody_but_its_view() -> None:
    async with open_console(nodes()) as session:
        app, table = session.app, session.app.screen.query_one("#rows", Table)
        with patch.object(app, "_check_bindings", wraps=app._check_bindings) as asked:
            await session.press("j", "pagedown", "k")
            moved = table.cursor
            for count in (3, 1):
                held: events.Key = HeldKey("j", "j", count)
                held.set_sender(app)
                app.post_message(held)
                await session.settle()
            assert not [call for call in asked.call_args_list if not call.kwargs.get("priority")]
            assert (moved > 10, table.cursor) == (True, moved + 4)
            assert table.cursor_key in session.text, "and it is shown"
            await session.press("g")
            assert [call for call in asked.call_args_list if not call.kwargs.get("priority")]
            assert table.cursor == 0


async def test_lines_that_were_prepared_are_not_made_again() -> None:
    async with open_console(nodes(), (160, 40)) as session:
        app, table = session.app, session.app.screen.query_one("#rows", Table)
        again = [fake.node_view(f"n{n:03}", cpu=100.0 - n, index=n + 1) for n in range(60)]
        session.clock.now_s += 1.0
        take(session, again)
        app.fresh_drawing()
        for _ in table.preparing():
            pass
        drawn, composed = table.kept.drawn, table.kept.composed
        app.tick()
        await session.settle()
        assert table.kept.drawn == drawn
        assert table.kept.composed - composed == 1, "the row under the cursor, which looks different"
        assert "100%" in session.line_with("n000")


def test_samples_taken_at_once_are_as_those_taken_one_by_one() -> None:
    at_once, singly = ClusterView(), ClusterView()
    seconds = ((1.0, "n000"), (2.0, "n000"), (3.2, "n001"), (9.0, "n001"), (10.0, ""), (11.0, "n002"))
    for number, (now_s, leader) in enumerate(seconds):
        samples = [
            fake.node_view(f"n{n:03}", cpu=float(n + number), index=n * (number > 2), leader=n == 1)
            for n in range(number % 2, 9)
        ]
        if number == 4:
            samples[0].ClearField("resources")
        at_once.nodes.take(samples, now_s, leader, led=True)
        for sample in samples:
            singly.nodes._sample(sample, now_s, leader, led=True)
        assert {row.node.id: row for row in at_once.nodes.values()} == {
            row.node.id: row for row in singly.nodes.values()
        }


async def test_lines_prepared_between_a_change_of_the_theme_and_its_paint_are_of_the_new_one() -> None:
    async with open_console(nodes(), (160, 40)) as session:
        app, table = session.app, session.app.screen.query_one("#rows", Table)
        restyle = app.restyle

        def prepare() -> None:
            restyle()
            prepared.extend(table.preparing())

        def painted() -> list[list[Segment]]:
            return [list(strip) for strip in table.render_lines(Region(0, 0, *table.size))]

        prepared: list[None] = []
        with patch.object(app, "restyle", prepare):
            app.theme = THEMES["light"].name
            await session.until(lambda: prepared)
        first = painted()
        table.redraw()
        assert painted() == first
