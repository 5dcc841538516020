"""What outlives the processes of an attempt: no end is reported before it is gone. In virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.worker.executors.port import Command, Offer, Untraceable
from node.worker.output import OutputStore
from node.worker.port import AttemptKey, HeldState, Started
from tests.node.leader_kit import virtual
from tests.node.worker_kit import BOOT, FakeSupervisor, Kit, assignment, held, key, verdict, working

CONTAINER = t.TASK_TYPE_CONTAINER
ORDER = b'{"where": "here"}'


class Yard:
    """An executor that leaves something; `stuck` is why it cannot be removed."""

    def __init__(self, stuck: str = "", trouble: type[Exception] = RuntimeError) -> None:
        self.stuck = stuck
        self.trouble = trouble
        self.asked: list[AttemptKey] = []
        self.removed: list[AttemptKey] = []
        self.orders: set[bytes] = set()
        self.held: list[Collection[AttemptKey]] = []

    @property
    def type(self) -> t.TaskType.ValueType:
        return CONTAINER

    def probe(self) -> Offer:
        return Offer(True)

    def prepare(self, assignment: w.Assignment) -> Command:
        return Command([b"driver"], {}, "", ORDER)

    def adopt(self, held: Collection[AttemptKey]) -> None:
        self.held.append(held)
        if self.stuck:
            raise RuntimeError(self.stuck)

    def remove(self, key: AttemptKey, order: bytes) -> None:
        self.asked.append(key)
        self.orders.add(order)
        if self.stuck:
            raise self.trouble(self.stuck)
        self.removed.append(key)


def play(
    folder: Path,
    yard: Yard,
    scene: Callable[[Kit], Coroutine[None, None, None]],
    supervisor: FakeSupervisor | None = None,
) -> None:
    async def main() -> None:
        async with working(folder, executors=[yard], supervisor=supervisor) as kit:
            await scene(kit)

    virtual(main)


def contained(task: str = "t1") -> w.Assignment:
    return assignment(task, type=CONTAINER, argv=[])


def say(folder: Path, said: dict[str, object]) -> None:
    """The verdict of t1's driver."""
    place = folder / "exchange" / OutputStore.name(key()).replace("/", "-")
    (place / "verdict.json").write_text(json.dumps(said))


def test_an_end_without_a_word_of_its_driver_waits_for_the_removal(tmp_path: Path) -> None:
    yard = Yard("the engine is away")

    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(contained())
        await kit.ordered(key())
        kit.supervisor.start_and_finish(key())
        assert await side.reports() == [("started", key())]
        await kit.until(lambda: len(yard.asked) > 2)
        yard.stuck = ""
        assert await side.reports() == [("ended", key())]
        assert (yard.removed, yard.orders) == ([key()], {ORDER})

    play(tmp_path, yard, scene)


def test_what_ended_in_order_is_reported_at_once(tmp_path: Path) -> None:
    yard = Yard()

    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(contained())
        await kit.ordered(key())
        say(tmp_path, {"cause": ""})
        kit.supervisor.start_and_finish(key())
        assert await side.reports(2) == [("started", key()), ("ended", key())]
        assert yard.asked == []

    play(tmp_path, yard, scene)


def test_a_driver_can_say_that_it_left_something(tmp_path: Path) -> None:
    yard = Yard()

    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(contained())
        await kit.ordered(key())
        say(tmp_path, {"cause": "", "left": True})
        kit.supervisor.start_and_finish(key())
        assert await side.reports(2) == [("started", key()), ("ended", key())]
        assert yard.removed == [key()]

    play(tmp_path, yard, scene)


def test_a_shell_task_is_nobodys_leftover(tmp_path: Path) -> None:
    yard = Yard("never asked")

    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment())
        await kit.ordered(key())
        kit.supervisor.start_and_finish(key())
        assert await side.reports(2) == [("started", key()), ("ended", key())]
        assert yard.asked == []

    play(tmp_path, yard, scene)


def test_what_stays_for_a_minute_is_told_once(tmp_path: Path) -> None:
    yard = Yard("the engine is away")

    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(contained())
        await kit.ordered(key())
        kit.supervisor.start_and_finish(key())
        await side.reports(1)
        batch = await side.next("reports")
        (report,) = batch.reports
        assert report.unkillable.reason == "What it left is not removed: the engine is away"
        await side.send(reports_ack=w.ReportsAck(number=batch.number))
        asked = len(yard.asked)
        await kit.until(lambda: len(yard.asked) > asked + 3)
        yard.stuck = ""
        assert await side.reports() == [("ended", key())]

    play(tmp_path, yard, scene)


def test_what_no_way_leads_to_any_more_is_given_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.worker.leftovers._UNTRACEABLE_S", 20.0)
    yard = Yard("its cluster is not known any more", Untraceable)

    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(contained())
        await kit.ordered(key())
        kit.supervisor.start_and_finish(key())
        assert await side.reports(2) == [("started", key()), ("ended", key())]
        assert (len(yard.asked), yard.removed) == (6, [])  # after 31 s

    play(tmp_path, yard, scene)


def test_a_loss_waits_for_the_removal_but_after_a_reboot(tmp_path: Path) -> None:
    async def accept(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(contained())
        await kit.ordered(key())
        await kit.until(lambda: kit.worker.runner.ledger.contents.accepted)

    for boot, removed in ((BOOT, [key()]), ("boot-2", [])):
        folder = tmp_path / boot
        play(folder, Yard(), accept)
        yard = Yard()

        async def scene(kit: Kit) -> None:
            side = await kit.link.accept()
            await side.welcome(verdicts=[verdict(w.VERDICT_KIND_KEEP)])
            assert await side.reports() == [("lost", key())]

        play(folder, yard, scene, FakeSupervisor([held(HeldState.LOST)], boot))
        assert yard.removed == removed


def test_after_a_start_all_but_what_lives_is_removed(tmp_path: Path) -> None:
    yard = Yard("not yet")

    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await kit.until(lambda: len(yard.held) > 1)
        yard.stuck = ""
        (alive,) = {id(each): each for each in yard.held}.values()
        assert list(alive) == []
        await side.assign(contained(), assignment("other"))
        await kit.ordered(key())
        assert key() in alive
        assert list(alive) == [key()]
        say(tmp_path, {})
        kit.supervisor.start_and_finish(key())
        await side.reports(2)
        assert key() not in alive

    play(tmp_path, yard, scene)


def test_what_nobody_waits_for_is_removed_after_its_kill(tmp_path: Path) -> None:
    yard = Yard()

    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(contained())
        await kit.ordered(key())
        kit.supervisor.emit(Started(key(), 7, 5))
        await side.reports(1)
        began_s = asyncio.get_running_loop().time()
        kit.worker.runner.judge([verdict(w.VERDICT_KIND_KILL)])
        await kit.until(lambda: yard.removed)
        assert asyncio.get_running_loop().time() >= began_s + 5
        assert kit.supervisor.forgotten == [key()]
        assert yard.orders == {ORDER}

    play(tmp_path, yard, scene)
