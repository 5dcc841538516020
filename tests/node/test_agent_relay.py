"""Messages for running sessions: through an inbox, and by an agent that goes on with one."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.drivers.agent.inbox import Inbox, InboxError, clear
from node.worker.executors.port import CannotPrepare
from node.worker.executors.relay import RelayExecutor
from node.worker.port import StopOrder
from tests.node.agent_kit import Machine, Run, assignment, machine, setup, steps
from tests.node.supervisor_kit import until


def boxes(tmp_path: Path, *sessions: str) -> Path:
    for session in sessions:
        (tmp_path / "inbox" / session).mkdir(parents=True)
    return tmp_path / "inbox"


async def taken(box: Path) -> dict[str, Any]:
    """The next message, as a session takes it."""
    await until(lambda: list((box / "in").glob("*.json")) if (box / "in").is_dir() else [])
    (message,) = (box / "in").glob("*.json")
    found = message.rename(box / "taken" / message.name)
    read = json.loads(found.read_text())
    assert isinstance(read, dict)
    return read


def answer(box: Path, identity: str, text: str) -> None:
    part = box / "out" / f".{identity}.part"
    part.write_text(text)
    part.rename(box / "out" / f"{identity}.json")


async def asked(here: Machine, box: Path, text: str) -> Run:
    """A message that is answered with `text`."""
    work = asyncio.create_task(here.run({"session": box.name, "message": "how far?"}, here.relay))
    message = await taken(box)
    assert (message["session"], message["message"], message["task"]) == (box.name, "how far?", "task")
    answer(box, message["id"], text)
    return await work


async def test_a_session_answers_by_its_inbox(tmp_path: Path) -> None:
    box = boxes(tmp_path, "s1") / "s1"
    async with machine(tmp_path, claude_relay={"inbox": str(box.parent)}) as here:
        run = await asked(here, box, '{"answer": "half way"}')
        assert (run.ended.cause, run.out, run.document) == (
            0,
            "half way\n",
            {"session_id": "s1", "result": "half way"},
        )
        refusal = await asked(here, box, '{"error": "not now"}')
        assert (refusal.cause, refusal.ended.error) == ("CAUSE_EXIT", "Session s1 refuses: not now")
        assert "is not {" in (await asked(here, box, "[]")).ended.error
        assert "more than 1 MiB" in (await asked(here, box, '"' + "x" * (1 << 20) + '"')).ended.error
        assert not [file for folder in ("in", "out") for file in (box / folder).iterdir()]


async def test_a_session_that_does_not_answer(tmp_path: Path) -> None:
    root = boxes(tmp_path, "deaf")
    async with machine(tmp_path, claude_relay={"inbox": str(root)}) as here:
        runs = await asyncio.gather(
            *(
                here.run({"session": session, "message": "how far?", "timeout_s": 1}, here.relay)
                for session in ("deaf", "nobody")
            )
        )
    assert [(run.cause, run.ended.error) for run in runs] == [
        ("CAUSE_TIMEOUT", "Session deaf did not take the message in 1 s."),
        ("CAUSE_NOT_FOUND", "There is no session nobody on this machine. Start it, or name another one."),
    ]
    assert not list((root / "deaf" / "in").iterdir())


def test_a_session_that_only_took_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = boxes(tmp_path, "mute") / "mute"
    waits: list[float] = []

    def take(_wait_s: float) -> None:
        waits.append(20.0)
        if len(waits) == 4:
            (box / "in" / "t-1.json").rename(box / "taken" / "t-1.json")

    clock = SimpleNamespace(sleep=take, monotonic=lambda: sum(waits), time=time.time)
    monkeypatch.setattr("node.drivers.agent.inbox.time", clock)
    said: list[str] = []
    with pytest.raises(InboxError, match="took the message and did not answer in 150 s") as caught:
        Inbox(str(box.parent), "mute").ask("t-1", {"message": "x"}, 150, said.append)
    assert caught.value.cause == "timeout"
    assert said == [
        "Session mute did not take the message in 60 s.",
        "Session mute took the message and did not answer in 120 s.",
    ]


def test_what_nobody_waits_for_any_more_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = boxes(tmp_path, "s1", "s2") / "s1"
    for folder in ("out", "taken"):
        (box / folder).mkdir()
        for number in range(130):
            (box / folder / f"t{number}-1.json").write_text("{}")
        (box / folder / ".t-1.part").write_text("")
        (box / folder / "README").write_text("theirs")
    clock = SimpleNamespace(now_s=time.time() + 1)
    monkeypatch.setattr("node.drivers.agent.inbox.time", SimpleNamespace(time=lambda: clock.now_s))

    def left(folder: str) -> int:
        clear(str(box.parent))
        return len(list((box / folder).iterdir()))

    assert (left("out"), left("taken")) == (132, 132), "somebody may wait for them"
    clock.now_s += 120
    assert (left("out"), left("taken")) == (101, 101)
    clock.now_s += 3600
    assert (left("out"), left("taken")) == (1, 101)
    clock.now_s += 2 * 86_400
    assert left("taken") == 1
    clear(str(tmp_path / "nowhere"))


async def test_a_message_is_withdrawn_with_its_task(tmp_path: Path) -> None:
    box = boxes(tmp_path, "s1") / "s1"
    async with machine(tmp_path, claude_relay={"inbox": str(box.parent)}) as here:
        order = here.order(here.relay, {"session": "s1", "message": "how far?"})
        here.watched.port.spawn([order])
        await until(lambda: list(box.glob("in/*.json")))
        here.watched.port.stop([StopOrder(order.key, 6, 30_000_000)])
        await here.watched.result(order.key)
        assert not list(box.glob("in/*.json"))


async def test_a_session_is_gone_on_with_by_its_agent(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        run = await here.run({"session": "abc-1", "message": steps("show argv")}, here.relay)
    assert run.ended.cause == 0
    assert run.document["session_id"] == "abc-1" or '"--resume", "abc-1"' in run.out


def test_an_inbox_that_is_not_there_is_not_offered(tmp_path: Path) -> None:
    offer = RelayExecutor(setup(tmp_path, inbox=str(tmp_path / "inbox"))).probe()
    assert (offer.available, "is no folder" in offer.reason) == (False, True)
    assert RelayExecutor(setup(tmp_path, inbox=str(boxes(tmp_path, "s1")))).probe().available


def test_a_machine_without_an_inbox_says_so(tmp_path: Path) -> None:
    with pytest.raises(CannotPrepare, match="has no inbox"):
        RelayExecutor(setup(tmp_path)).prepare(assignment({"session": "s", "message": "x", "mode": "inbox"}))
