"""The worker's session with a leader that the test plays, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from tests.node.fake_replica import VirtualClock
from tests.node.leader_kit import virtual
from tests.node.worker_kit import HERE, Kit, assignment, key, working

Scene = Callable[[Kit], Awaitable[None]]


def play(folder: Path, scene: Scene) -> None:
    """Run `scene` with a worker in virtual time."""

    async def main() -> None:
        async with working(folder) as kit:
            await scene(kit)

    virtual(main)


def now_s() -> float:
    return asyncio.get_running_loop().time()


def now_us() -> int:
    return VirtualClock().boot_us()


def test_hello_says_who_it_is(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.link.accept()
        assert side.hello.node.id == "n1"
        assert side.hello.node.incarnation not in ("", "i1")
        assert not side.hello.inventory
        assert side.hello.cluster_id == ""
        assert side.hello.boot_us == now_us()
        await side.welcome(cluster_id="c1")
        await side.next("sample")
        await side.stream.close()
        again = await kit.link.accept()
        assert again.hello.node.incarnation == side.hello.node.incarnation
        assert again.hello.cluster_id == "c1"

    play(tmp_path, scene)


def test_a_welcome_says_where_to_look_for_the_next_leader(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        assert kit.worker.voters == ()
        side = await kit.link.accept()
        await side.welcome(voters=["a:1", "b:1"])
        await side.next("sample")
        assert kit.worker.voters == ("a:1", "b:1")
        await side.stream.close()
        await (await kit.link.accept()).welcome(voters=["b:1"])
        await kit.until(lambda: kit.worker.voters == ("b:1",))

    play(tmp_path, scene)


def test_incarnation_lives_in_the_folder(tmp_path: Path) -> None:
    found: list[str] = []

    async def scene(kit: Kit) -> None:
        found.append((await kit.link.accept()).hello.node.incarnation)

    play(tmp_path / "a", scene)
    play(tmp_path / "a", scene)
    play(tmp_path / "b", scene)
    assert found[0] == found[1] != found[2]


def test_samples_heartbeats_and_renewals_keep_their_intervals(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        counts: dict[str, int] = {}

        async def read() -> None:
            while True:
                message = await side.stream.receive()
                kind = message.WhichOneof("kind")
                counts[kind] = counts.get(kind, 0) + 1
                if kind == "renewal":
                    await side.ack(message.renewal.number)

        task = asyncio.create_task(read())
        await asyncio.sleep(100.5)
        task.cancel()
        assert counts["sample"] == 101
        assert counts["heartbeat"] == 20
        assert counts["renewal"] in (9, 10)
        assert len(kit.link.tries) == 1

    play(tmp_path, scene)


def test_lease_of_an_assignment_counts_from_the_last_acknowledged_renewal(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        hello_us = side.hello.boot_us
        await asyncio.sleep(7)
        await side.assign(assignment())
        order = await kit.ordered(key())
        assert order.lease_end_us == hello_us + 30_000_000
        renewal = await side.next("renewal")
        assert renewal.sent_boot_us >= hello_us + 9_000_000
        assert list(renewal.fences) == [10]
        await asyncio.sleep(0.5)  # the time on the way must not lengthen the lease
        await side.ack(renewal.number)
        await kit.until(lambda: kit.supervisor.ends[key()] == renewal.sent_boot_us + 30_000_000)

    play(tmp_path, scene)


def test_unacknowledged_renewals_are_repeated_every_second(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session(acknowledged=False)
        renewals = [await side.next("renewal") for _ in range(4)]
        times = [renewal.sent_boot_us for renewal in renewals]
        assert [renewal.number for renewal in renewals] == [1, 2, 3, 4]
        assert all(900_000 <= b - a <= 1_100_000 for a, b in zip([side.hello.boot_us, *times], times, strict=False))
        await side.ack(4)
        assert (await side.next("renewal")).sent_boot_us - times[-1] >= 9_900_000

    play(tmp_path, scene)


def test_an_old_acknowledgement_counts_from_its_own_renewal(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment())
        await kit.ordered(key())
        first = await side.next("renewal")
        second = await side.next("renewal")
        await side.ack(first.number)
        await kit.until(lambda: kit.supervisor.ends[key()] == first.sent_boot_us + 30_000_000)
        await side.ack(second.number)
        await kit.until(lambda: kit.supervisor.ends[key()] == second.sent_boot_us + 30_000_000)
        await side.ack(first.number)
        await side.ack(999)
        await asyncio.sleep(0.1)
        assert kit.supervisor.ends[key()] == second.sent_boot_us + 30_000_000

    play(tmp_path, scene)


def test_an_acknowledgement_extends_only_what_its_renewal_named(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        renewal = await side.next("renewal")
        await side.assign(assignment())  # on its way when the renewal was sent: the leader has not counted it
        await kit.ordered(key())
        await side.ack(renewal.number)
        await asyncio.sleep(0.1)
        assert kit.supervisor.ends[key()] == side.hello.boot_us + 30_000_000

    play(tmp_path, scene)


def test_an_assignment_before_any_acknowledgement_waits_for_its_lease(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session(acknowledged=False)
        await side.assign(assignment())
        assert (await kit.ordered(key())).lease_end_us == 0
        await side.ack(0)
        renewal = await side.next("renewal")
        assert renewal.sent_boot_us - side.hello.boot_us < 500_000
        assert list(renewal.fences) == [10]
        await side.ack(renewal.number)
        await kit.until(lambda: kit.supervisor.ends[key()] == renewal.sent_boot_us + 30_000_000)

    play(tmp_path, scene)


def test_hold_has_no_lease_and_wait_its_own(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        hold = assignment("hold", 1, lease_ms=0, on_lost=t.ON_LOST_HOLD)
        wait = assignment("wait", 2, lease_ms=600_000, on_lost=t.ON_LOST_WAIT, wait_ms=600_000)
        await side.assign(hold, wait)
        await kit.ordered(key("hold", 1), key("wait", 2))
        assert kit.supervisor.ends[key("hold", 1)] == -1
        assert kit.supervisor.ends[key("wait", 2)] == side.hello.boot_us + 600_000_000
        renewal = await side.next("renewal")
        await side.ack(renewal.number)
        await kit.until(lambda: kit.supervisor.ends[key("wait", 2)] == renewal.sent_boot_us + 600_000_000)
        assert kit.supervisor.ends[key("hold", 1)] == -1

    play(tmp_path, scene)


def test_set_of_a_renewal_is_named_when_it_changed(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment("a", 1), assignment("b", 1), assignment("c", 2))
        await kit.ordered(key("a", 1), key("b", 1), key("c", 2))
        first = await side.next("renewal")
        assert list(first.fences) == [1, 2]
        second = await side.next("renewal")
        assert not second.fences
        assert second.set_version == first.set_version
        kit.supervisor.start_and_finish(key("c", 2))
        await side.reports(2)
        third = await side.next("renewal")
        assert list(third.fences) == [1]
        assert third.set_version != first.set_version

    play(tmp_path, scene)


def test_finds_the_leader_by_candidates_and_hints(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        kit.link.up = {"b", "c"}
        kit.candidates = ["a", "b"]
        side = await kit.link.accept()
        assert side.address == "b"
        await side.send(not_leader=w.NotLeader(leader="n3", address="c"))
        told_s = now_s()
        side = await kit.link.accept()
        assert side.address == "c"
        assert now_s() - told_s < 0.01
        await side.welcome()
        await side.next("sample")
        await side.send(not_leader=w.NotLeader(address="b"))  # deposed in the middle of a session
        side = await kit.link.accept()
        assert side.address == "b"

    play(tmp_path, scene)


def test_tries_grow_rarer_but_never_rarer_than_two_seconds(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        kit.link.up = set()
        await asyncio.sleep(60)
        times = [at for at, _ in kit.link.tries]
        gaps = [b - a for a, b in pairwise(times)]
        assert gaps[0] < 0.2
        assert 25 <= len(times) <= 80
        assert max(gaps) <= 2.0
        kit.link.up = {HERE}
        before_s = now_s()
        await kit.session()
        assert now_s() - before_s <= 2.0

    play(tmp_path, scene)


def test_hints_that_point_at_each_other_do_not_spin(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        kit.link.up = {"a", "b"}
        kit.candidates = ["a"]

        async def mislead() -> None:
            while True:
                side = await kit.link.accept()
                other = "b" if side.address == "a" else "a"
                await side.send(not_leader=w.NotLeader(address=other))

        task = asyncio.create_task(mislead())
        await asyncio.sleep(30)
        task.cancel()
        assert 20 < len(kit.link.tries) < 150

    play(tmp_path, scene)


def test_a_broken_session_is_replaced_quickly(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        for _ in range(10):
            side = await kit.session()
            await side.next("sample")
            await asyncio.sleep(3)
            broken_s = now_s()
            await side.stream.close()
            await kit.until(lambda s=broken_s: kit.link.tries[-1][0] >= s)  # type: ignore[misc]
            assert kit.link.tries[-1][0] - broken_s <= 0.2

    play(tmp_path, scene)


def test_a_silent_leader_is_left(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        await kit.session(beats=False)
        begun_s = now_s()
        await kit.session()
        assert 9 <= now_s() - begun_s <= 12

    play(tmp_path, scene)


def test_a_leader_that_never_welcomes_is_left(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        await kit.link.accept()
        await kit.session()

    play(tmp_path, scene)


def test_refusal_is_not_hammered(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.link.accept()
        await side.send(refused=w.Refused(reason="Its clock is wrong.", remedy="Set it."))
        refused_s = now_s()
        await kit.link.accept()
        assert now_s() - refused_s >= 9

    play(tmp_path, scene)


def test_another_cluster_gets_nothing(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.link.accept()
        await side.welcome(cluster_id="c1")
        await side.next("sample")
        await side.stream.close()
        side = await kit.link.accept()
        await side.welcome(cluster_id="c2")
        assert await side.within(0.0) == []
        await side.assign(assignment())
        await kit.link.accept()
        assert not kit.supervisor.orders

    play(tmp_path, scene)
