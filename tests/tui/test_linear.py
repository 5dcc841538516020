"""The console as a conversation: plain lines, and nothing is done but by typing what would be done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from cortex.v1 import cluster_pb2
from tests.tui import fake
from tests.tui.console import Clock
from tests.tui.fake_source import FakeSource
from tui.linear.conversation import Linear
from tui.replay.recording import RecordedSource, Recording, ReplayedSource
from tui.source import LinkState


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(0)


class Talk:
    """Types lines, one after the other, and keeps what is said."""

    def __init__(self, source: FakeSource | None = None, **options: bool) -> None:
        self.source, self.said = source or FakeSource(), list[str]()
        self._typed: asyncio.Queue[str | None] = asyncio.Queue()
        self.linear = Linear(self.source, self.said.append, self._lines(), Clock(), **options)

    async def _lines(self) -> AsyncIterator[str]:
        while (line := await self._typed.get()) is not None:
            yield line

    async def __aenter__(self) -> Talk:
        self._task = asyncio.create_task(self.linear.run())
        await until(lambda: self.linear.view.ready and self.source.history_asked)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._typed.put_nowait("quit")
        async with asyncio.timeout(60):
            await self._task

    async def say(self, line: str, answer: str) -> list[str]:
        """What is said to a line, up to what has `answer` in it."""
        before = len(self.said)
        self._typed.put_nowait(line)
        await until(lambda: any(answer in one for one in self.said[before:]))
        return self.said[before:]


async def test_lists_and_details_are_plain_lines() -> None:
    async with Talk() as talk:
        lines = await talk.say("nodes", "2: ")
        assert any(line.startswith("1: ") and "anvil" in line for line in lines)
        await talk.say("open 1", "state: ")
        await talk.say("queue state=running", "running")
        await talk.say("queue nothing=1", "no field")
        await talk.say("open 900", "no line 900")
        await talk.say("dance", "no word dance")
        assert all(line.isascii() and line.isprintable() for line in talk.said)


async def test_what_is_read_out_is_words_and_says_why() -> None:
    source = FakeSource()
    source.whys["01jx00000001"] = cluster_pb2.WhyReply(
        task=source.tasks["01jx00000001"],
        nodes=[
            cluster_pb2.NodeVerdict(node="cedar", reason="cordoned", flip="uncordon cedar"),
            cluster_pb2.NodeVerdict(node="anvil", eligible=True, score=61.5, terms=fake.terms(30, 40, 50, 5, 1)),
        ],
    )
    async with Talk(source) as talk:
        nodes = await talk.say("nodes", "anvil")
        assert [line for line in nodes if line.endswith("leads")] == [
            "1: anvil, active, voter, 31.7, 72%, 61%, 1+0, leads"
        ]
        await talk.say("why 1", "List them first")
        await talk.say("queue state=queued", "1: queued, ")
        letters = await talk.say("letters", "1: ")
        assert all(line.count(",") >= 3 for line in letters if line.startswith("1: ")), "and why"
        await talk.say("queue render", "1: ")
        said = await talk.say("why 1", "cedar")
        assert said[0] == "anvil would take it."
        assert said[1].startswith("anvil, 61.5 points: cpu ")
        assert said[2] == "cedar, no: cordoned. Unless: uncordon cedar."


async def test_nothing_is_done_but_by_its_words() -> None:
    async with Talk() as talk:
        await talk.say("queue state=running", "1: ")
        await talk.say("cancel 1", "type: cancel 1")
        await talk.say("y", "Nothing was done")
        assert talk.source.mutators == 0
        await talk.say("cancel 1", "type: cancel 1")
        await talk.say("cancel 1", "ancel")
        await until(lambda: talk.source.mutators != 0)
        await talk.say("cordon 1", "for lines of nodes")


async def test_read_only() -> None:
    async with Talk(read_only=True) as talk:
        await talk.say("queue", "1: ")
        await talk.say("cancel 1", "Read-only")
        assert talk.source.mutators == 0


async def test_what_changes_is_said() -> None:
    async with Talk() as talk:
        await talk.say("status", "anvil leads")
        talk.source.put(LinkState(False, "10.0.0.1:7400", "connection refused"))
        await until(lambda: not (talk.linear.view.link.connected))
        talk.linear.tell_news()
        assert talk.said[-1] == "The link is lost. connection refused"
        talk.source.push(fake.task(77, "after", fake.RUNNING, started_s=1, index=7000))
        await until(lambda: talk.linear.view.link.connected)
        talk.linear.tell_news()
        assert talk.said[-1] == "The link is there."


async def test_a_recording_is_read_out_and_cannot_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "night.rec"
    recording, source = Recording(path), FakeSource()
    wrapped: Any = RecordedSource(source, recording)
    async with Talk(wrapped) as talk:
        await talk.say("queue", "1: ")
    recording.close()
    played: Any = ReplayedSource(path, speed=1000.0)
    played.history_asked = True
    async with Talk(played, read_only=True) as talk:
        await talk.say("queue render", "render")
        await talk.say("cancel 1", "Read-only")
        talk.linear.tell_news()
        assert any("recording" in line for line in talk.said)
