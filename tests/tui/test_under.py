"""Two lines on the row under the cursor; what tabs, banner and notes say where there is little room."""

from __future__ import annotations

from pathlib import Path

import pytest

from cortex.v1 import types_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.drain_kit import drained, told
from tests.tui.fake_letters import letters
from tests.tui.fake_source import FakeSource
from tests.tui.test_link import heartbeat
from tui.operator.keep import Keep
from tui.source import LinkState

LONG = "Its machine was not heard of for 35 s, and nobody knows whether the command still runs there or has ended."


async def test_a_task_says_its_whole_command_and_why() -> None:
    failed = fake.task(1, "job", fake.DEAD)
    failed.spec.shell_command = b"rsync --archive --delete /srv/media backup:/srv/media && sync"
    failed.result.stderr.head = b"[red]no space\x1b[0m left on device\n"
    async with open_console(FakeSource(tasks=[failed])) as session:
        for view in ("2", "4"):
            await session.press(view)
            assert session.lines[-3] == " $ rsync --archive --delete /srv/media backup:/srv/media && sync"
            assert session.lines[-2] == " [red]no space^[[0m left on device"
        await session.resize(80, 17)
        assert "$ rsync" not in session.text, "rows come first where there is little room"


async def test_an_event_says_all_of_its_detail() -> None:
    async with open_console() as session:
        await session.press("5")
        session.source.push(
            types_pb2.Event(
                id="7001-0", index=7001, at_us=fake.NOW_US, type=types_pb2.EVENT_TYPE_LOST, node="elm", detail=LONG
            )
        )
        await session.settle()
        assert " ".join(line.strip() for line in session.lines[-3:-1]) == LONG
        await session.press("j", "a")
        assert "by uid:1000" in session.lines[-2]


@pytest.mark.parametrize(
    ("width", "has"), [(130, "3 Workflows 0"), (80, "3 Flows   4 Dead 30"), (50, "3   4 30   5")]
)
async def test_tabs_are_named_as_long_as_there_is_room(width: int, has: str) -> None:
    async with open_console(FakeSource(tasks=letters(30)), (width, 24)) as session:
        await session.press("2", "asterisk")
        assert has in session.lines[1]
        assert width < 80 or "30 marked" in session.lines[1]


async def test_another_leader_is_said_and_the_first_one_is_not() -> None:
    async with open_console() as session:
        assert "leads now" not in session.lines[-1]
        for leader in ("", "birch"):
            session.source.put(heartbeat(session.source, leader=leader, term=5))
            await session.settle()
        assert "birch leads now; anvil did before." in session.lines[-1]


async def test_a_lost_daemon_is_named_as_its_node() -> None:
    async with open_console() as session:
        socket = "unix:/home/me/.local/share/cortex/n2/cortex.sock"
        session.source.put(LinkState(False, socket, f"No daemon answers at {socket}: no heartbeat."))
        await session.settle()
        assert session.lines[2].endswith("n2 does not answer.")
        session.source.put(LinkState(False, socket, "no heartbeat"))
        await session.settle()
        assert session.lines[2].endswith("n2: no heartbeat")


async def test_how_a_drain_ended_is_said_beside_what_was_foretold() -> None:
    async with open_console(drained()) as session:
        await session.press("D", "y")
        done = told(session, types_pb2.OPERATION_STATE_DONE, begun_at_us=fake.NOW_US + 10_000_000)
        done.counts.CopyFrom(types_pb2.OperationCounts(total=3, issued=3))
        done.drain.took_ms = 9000
        session.source.push(done)
        await session.settle()
        assert "anvil: drained: 3 of 3 tasks moved, empty after 9.0s, foretold 12" in session.lines[-1]
        assert "Empty after 9.0s" in session.text


async def test_who_undid_a_drain_is_said_in_a_sentence() -> None:
    async with open_console(drained()) as session:
        await session.press("D", "y")
        session.source.push(told(session, types_pb2.OPERATION_STATE_UNDONE, outcome="by uid:0"))
        await session.settle()
        assert "anvil: drain undone by uid:0." in session.lines[-1]
        assert "Undone by uid:0: nothing has moved" in session.text


async def test_why_a_node_is_cordoned_stands_below_the_nodes() -> None:
    async with open_console() as session:
        node = types_pb2.Node()
        node.CopyFrom(next(iter(session.app.view.nodes.values())).node)
        node.message, node.modified_index = "new disk", node.modified_index + 1000
        session.source.push(node)
        await session.settle()
        assert session.line_with("score").startswith(f" {node.id}  new disk  score")


async def test_who_comes_for_the_first_time_is_welcomed_once(tmp_path: Path) -> None:
    for said in (True, False):
        async with open_console(keep=Keep(tmp_path)) as session:
            welcome = " Welcome: 1 to 5 are the views, enter opens, esc goes back, ? helps, Q leaves."
            assert (session.lines[-1] == welcome) is said


async def test_help_is_read_to_its_end_at_80_columns() -> None:
    async with open_console() as session:
        await session.press("5", "?")
        assert "…" not in "\n".join(session.lines[1:-1])
        assert "and how." in session.text
