"""Daemon and supervisor of different releases: what both know is done, and nothing with less than was asked for."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Cause
from node.supervisor import wire
from node.worker.port import AttemptKey, Connected, Disconnected, Finished, HeldState, Limits, Started
from node.worker.translation import event_of, order_values
from tests.node.supervisor_kit import PATIENCE_S, Watched, supervised
from tests.node.test_supervisor_handover import daemon, folder_of, release

SPEAKS = f"OLDEST, NEWEST = {wire.OLDEST}, {wire.NEWEST}"


@pytest.mark.parametrize(
    ("oldest", "newest", "agreed"),
    [
        (wire.OLDEST, wire.NEWEST, wire.NEWEST),
        (wire.OLDEST, wire.OLDEST, wire.OLDEST),
        (wire.NEWEST, wire.NEWEST + 5, wire.NEWEST),
        (1, wire.OLDEST, wire.OLDEST),
        (wire.NEWEST + 1, wire.NEWEST + 2, 0),
        (1, wire.OLDEST - 1, 0),
    ],
)
def test_the_newest_version_that_both_speak_is_spoken(oldest: int, newest: int, agreed: int) -> None:
    assert wire.common(oldest, newest) == agreed


def test_a_greeting_without_a_newest_version_names_the_only_one() -> None:
    assert wire.versions({"protocol": "2"}) == (2, 2)
    assert wire.versions({"protocol": "2", "newest": "7"}) == (2, 7)
    for words in ({"protocol": "x"}, {"protocol": "2", "newest": "-1"}):
        with pytest.raises(wire.ProtocolError):
            wire.versions(words)


async def test_a_supervisor_of_the_oldest_version_does_what_it_knows_and_nothing_else(tmp_path: Path) -> None:
    old = release(tmp_path / "old", SPEAKS, f"OLDEST, NEWEST = {wire.OLDEST}, {wire.OLDEST}")
    async with folder_of(tmp_path) as data:
        async with daemon(data, old) as first:
            pid = first.port.pid
        async with daemon(data) as watched:
            assert (await watched.run("sh", "-c", "echo on; exit 3")).exit_code == 3
            result = await watched.run("true", limits=Limits(pids=10))
            assert (result.cause, result.started_us) == (Cause.CAUSE_CANNOT_START, 0)
            assert "older release" in result.error
            assert (await watched.run("true")).cause == 0
            assert (watched.port.pid, watched.last(Disconnected)) == (pid, None)
        assert (data / "supervisor/log").read_text() == ""


@asynccontextmanager
async def raw(data: Path, version: int) -> AsyncIterator[Wire]:
    """A daemon that speaks `version`, word by word."""
    sock = socket.socket(socket.AF_UNIX)
    fd = os.open(data / "supervisor", os.O_RDONLY)
    sock.connect(f"/proc/self/fd/{fd}/{wire.SOCKET}")
    os.close(fd)
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    writer.write(wire.hello("cortexd", {"protocol": str(version)}))
    await reader.readexactly(int.from_bytes(await reader.readexactly(4), "little"))
    yield Wire(reader, writer)
    writer.close()


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._heard: list[tuple[object, ...]] = []

    def say(self, *messages: tuple[object, ...]) -> None:
        self._writer.write(wire.pack(list(messages)))

    async def hear(self, kind: str, key: str = "") -> tuple[object, ...]:
        """The next message of `kind`, about `key` if one is given."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for message in self._heard:
                    if message[0] == kind and (not key or message[1] == key):
                        return message
                size = int.from_bytes(await self._reader.readexactly(4), "little")
                self._heard += wire.unpack(await self._reader.readexactly(size))


async def test_a_daemon_of_the_oldest_version_gets_what_it_knows(tmp_path: Path) -> None:
    async with supervised(tmp_path) as watched:
        order = order_values(watched.order("true"))
        assert len(order) == wire.ORDER_BASE
        await watched.port.close()
        async with raw(tmp_path, wire.OLDEST) as old:
            old.say(("spawn", [order]))
            _, _, result = await old.hear("ended", str(order[0]))
            assert len(result) == wire.RESULT_BASE  # type: ignore[arg-type]
        async with raw(tmp_path, wire.OLDEST) as old:
            _, ((key, state, _, _, result),) = await old.hear("inventory")  # type: ignore[misc]
            assert (key, state, len(result)) == (order[0], wire.ENDED, wire.RESULT_BASE)


async def test_an_order_with_more_than_is_known_is_refused_alone(tmp_path: Path) -> None:
    async with supervised(tmp_path) as watched:
        orders = [watched.order("true") for _ in range(3)]
        await watched.port.close()
        whole = [*order_values(orders[0]), *wire.ORDER_DEFAULTS.values()]
        longer, limited = (*whole, 1), (*order_values(orders[1])[: wire.ORDER_BASE], {"gravity": 1})
        plain = order_values(orders[2])
        async with raw(tmp_path, wire.NEWEST) as new:
            new.say(("spawn", [longer, limited, plain]))
            for order in (longer, limited):
                _, _, result = await new.hear("ended", str(order[0]))
                assert result[0] == Cause.CAUSE_CANNOT_START  # type: ignore[index]
                assert "older release" in result[1]  # type: ignore[index]
            _, _, result = await new.hear("ended", str(plain[0]))
            assert result[0] == 0  # type: ignore[index]
            new.say(("spawn", [longer]), ("recall", [longer[0]]))
            assert (await new.hear("recalled"))[2] is False
        again = Watched(tmp_path)
        held = {item.key: item.state for item in (await again.start()).attempts}
        assert held == {order.key: HeldState.ENDED for order in orders}
        await again.port.close()


async def test_what_a_newer_daemon_says_beside_is_passed_over(tmp_path: Path) -> None:
    async with supervised(tmp_path) as watched:
        order = watched.order("sleep", "1000")
        watched.port.spawn([order])
        await watched.started(order.key)
        await watched.port.close()
        async with raw(tmp_path, wire.NEWEST) as new:
            key = str(order.key)
            new.say(("sing", 1), ("configure", {}, 1 << 20, "more"), ("renew", [(key, -1, -1, "more")], "more"))
            new.say(("stop", [(key, Cause.CAUSE_CANCEL, 0, "more")], "more"))
            _, _, result = await new.hear("ended", key)
            assert result[0] == Cause.CAUSE_CANCEL  # type: ignore[index]
        assert "message 'sing' is not known" in (tmp_path / "supervisor/log").read_text()


async def test_nonsense_harms_nobody(tmp_path: Path) -> None:
    nonsense = [("spawn", [(1, 2)]), ("stop",), ("renew", 5), ("what", 1), ("spawn", None), ("spawn", [()])]
    nonsense += [("hand_over", *rest) for rest in ((), (None,), ([],), ([5],), (["/"],))]  # type: ignore[misc]
    async with supervised(tmp_path) as watched:
        await watched.port.close()
        for number, message in enumerate(nonsense):
            async with raw(tmp_path, wire.NEWEST) as new:
                new.say(message, ("recall", [f"t.{number}"]))
                await new.hear("recalled", f"t.{number}")
        again = Watched(tmp_path)
        await again.start()
        assert (await again.run("true")).cause == 0
        log = (tmp_path / "supervisor/log").read_text()
        assert (log.count("is not known"), log.count("not understood"), log.count("this program goes on: ")) == (
            1,
            6,
            4,
        )
        await again.port.close()


def test_what_a_newer_supervisor_says_beside_is_passed_over() -> None:
    stream = (0, 0, b"", b"", b"")
    result = (0, "", 3, 0, 1, 2, 1, 1, 1, 1, stream, stream)
    assert event_of(("sing", 1), {}) is None
    assert event_of(("started", "t.1", 5, 6, "more"), {}) == Started(AttemptKey("t", 1), 5, 6)
    connected = event_of(("inventory", [("t.1", "ended", 0, 0, result, "more")], "more"), {"boot": "b", "pid": "7"})
    assert isinstance(connected, Connected)
    shorter = event_of(("ended", "t.1", result), {})
    longer = event_of(("ended", "t.1", (*result, *range(90))), {})
    assert isinstance(shorter, Finished)
    assert isinstance(longer, Finished)
    assert shorter.result == connected.attempts[0].result
    assert (longer.result.exit_code, longer.result.stdout) == (3, shorter.result.stdout)
