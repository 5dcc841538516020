"""What may go wrong between the etcd engine and etcd: nothing acknowledged is lost, nobody leads too long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from node.consensus.etcd.keys import encode_head
from node.consensus.etcd.store import Operation, Outcome, Put, Unreachable
from node.consensus.port import NotLeader, OutcomeUnknown, Overloaded, ProposalError, Role, TooLarge
from tests import etcd_server
from tests.etcd_server import EtcdServers

if not etcd_server.installed():
    pytest.skip(etcd_server.MISSING, allow_module_level=True)

from tests.consensus.conformance.on_etcd import EtcdCluster, run_on_etcd
from tests.consensus.etcd_kit import client_of


@pytest.fixture
def three(tmp_path: Path) -> Iterator[EtcdServers]:
    servers = EtcdServers(tmp_path / "etcd", 3)
    try:
        servers.start()
        yield servers
    finally:
        servers.close()


def appends(then: Sequence[Operation]) -> bool:
    return any(isinstance(operation, Put) and operation.key.endswith(b"/head") for operation in then)


def test_etcds_leader_is_killed_under_load(three: EtcdServers) -> None:
    async def check(cluster: EtcdCluster) -> None:
        kept = [b"before"]
        await cluster.surely(b"before")
        killed = await asyncio.to_thread(three.leader)
        await asyncio.to_thread(three.kill, killed)
        for number in range(20):
            kept.append(b"p%d" % number)
            await cluster.surely(kept[-1])
        await asyncio.to_thread(three.start, killed)
        await cluster.settled()
        for member in cluster.members:
            # What ended with an unknown outcome was proposed again, as a second entry.
            assert set(member.payloads) == set(kept)

    run_on_etcd(three, check)


def test_all_of_etcd_is_killed_and_comes_back(three: EtcdServers) -> None:
    async def check(cluster: EtcdCluster) -> None:
        head = await cluster.settled()
        await cluster.surely(b"before")
        await asyncio.to_thread(three.kill)
        lost = cluster.propose(head, b"lost or late")
        await cluster.until(lambda: not head.leads, "it steps down")
        assert head.engine.leader is None
        with pytest.raises(NotLeader):
            await cluster.propose(head, b"refused")
        with pytest.raises(NotLeader):
            await head.engine.confirm()
        assert not lost.done() or isinstance(lost.exception(), OutcomeUnknown)
        await asyncio.to_thread(three.start)
        await cluster.settled()
        await cluster.surely(b"after")
        await asyncio.wait([lost])
        payloads = (await cluster.settled()).payloads
        assert b"refused" not in payloads
        assert set(payloads) - {b"lost or late"} == {b"before", b"after"}
        if lost.exception() is None:
            assert b"lost or late" in payloads

    run_on_etcd(three, check)


def test_a_leader_that_wakes_up_after_its_lease_knows_it_at_once(etcd: EtcdServers) -> None:
    """Asleep its timers stand still, the boot clock does not: no message and no timer is needed to notice."""

    async def check(cluster: EtcdCluster) -> None:
        head = await cluster.settled()
        cluster.clocks[head.id].ahead_us += 5_000_000
        assert head.engine.role is not Role.LEADER
        assert head.engine.leader is None
        with pytest.raises(NotLeader):
            await head.engine.propose(b"refused")
        with pytest.raises(NotLeader):
            await head.engine.confirm()
        await cluster.settled()
        assert b"refused" not in head.payloads

    run_on_etcd(etcd, check)


def test_a_lease_is_over_here_before_it_is_over_in_etcd(etcd: EtcdServers) -> None:
    async def check(cluster: EtcdCluster) -> None:
        head = await cluster.settled()
        others = [member for member in cluster.members if member is not head]
        cluster.isolate(head)

        def both() -> bool:
            assert not (head.leads and any(member.leads for member in others))
            return any(member.leads for member in others)

        await cluster.until(both, "another one leads")
        cluster.heal()
        await cluster.settled()

    run_on_etcd(etcd, check)


def test_an_answer_that_is_lost_commits_once(etcd: EtcdServers) -> None:
    async def check(cluster: EtcdCluster) -> None:
        head = await cluster.settled()
        lost = 0

        def lose(then: Sequence[Operation], outcome: Outcome) -> None:
            nonlocal lost
            if appends(then) and outcome.succeeded and lost % 2 == 0:
                lost += 1
                raise Unreachable("the answer is lost")
            lost += lost % 2

        cluster.clients[head.id].after = lose
        indexes = [await cluster.propose(head, b"p%d" % number) for number in range(10)]
        assert lost >= 10
        assert indexes == list(range(indexes[0], indexes[0] + 10))
        await cluster.everywhere(indexes[-1])
        assert head.payloads == [b"p%d" % number for number in range(10)]

    run_on_etcd(etcd, check)


def test_a_request_that_is_lost_is_sent_again(etcd: EtcdServers) -> None:
    async def check(cluster: EtcdCluster) -> None:
        head = await cluster.settled()
        asked = 0

        def lose(then: Sequence[Operation]) -> None:
            nonlocal asked
            asked += appends(then)
            if appends(then) and asked % 3:
                raise Unreachable("the request is lost")

        cluster.clients[head.id].before = lose
        for number in range(5):
            await cluster.propose(head, b"p%d" % number)
        assert head.payloads == [b"p%d" % number for number in range(5)]

    run_on_etcd(etcd, check)


def test_what_a_deposed_leader_still_sends_changes_nothing(etcd: EtcdServers) -> None:
    async def check(cluster: EtcdCluster) -> None:
        old = await cluster.settled()
        leading = old.engine._leading
        cluster.isolate(old)
        others = [member for member in cluster.members if member is not old]
        await cluster.settled(others)
        index = await cluster.surely(b"meanwhile", others)
        before = list(cluster.log)
        late = client_of(etcd)
        head = encode_head(leading.index + 1, leading.term)
        outcome = await late.transact([leading.own_key], [Put(f"{cluster.prefix}head".encode(), head)])
        await late.close()
        assert not outcome.succeeded
        cluster.heal()
        await cluster.settled()
        assert cluster.log[:index] == before[:index]

    run_on_etcd(etcd, check)


def test_a_restarted_leader_does_not_wait_for_its_own_lease(etcd: EtcdServers) -> None:
    """Its former life is over; with a lease of a minute nobody else could lead for so long."""

    async def check(cluster: EtcdCluster) -> None:
        (only,) = cluster.members
        term = only.engine.term
        cluster.isolate(only)
        await cluster.kill(only)
        cluster.heal()
        await cluster.boot(only)
        head = await cluster.settled()
        assert head.engine.term > term

    run_on_etcd(etcd, check, size=1, lease_s=60, call_timeout_s=0.5)


def test_history_that_a_member_watches_is_compacted_meanwhile(etcd: EtcdServers) -> None:
    async def check(cluster: EtcdCluster) -> None:
        head = await cluster.settled()
        away = next(member for member in cluster.members if member is not head)
        cluster.isolate(away)
        for number in range(10):
            await cluster.propose(head, b"p%d" % number)
        operator = client_of(etcd)
        await operator.compact((await operator.transact([], [])).revision)
        await operator.close()
        cluster.heal()
        await cluster.settled()
        assert away.payloads == head.payloads

    run_on_etcd(etcd, check)


def test_an_etcd_that_takes_less_than_we_send(tmp_path: Path) -> None:
    """What it does not take is refused, and does not keep smaller proposals from being committed."""
    servers = EtcdServers(tmp_path, options=("--max-request-bytes", "65536"))
    servers.start()

    async def check(cluster: EtcdCluster) -> None:
        head = await cluster.settled()
        small = [cluster.propose(head, b"small %d" % number) for number in range(5)]
        with pytest.raises(TooLarge):
            await cluster.propose(head, bytes(1_000_000))
        await asyncio.gather(*small)
        many = [cluster.propose(head, b"%d " % number + bytes(30_000)) for number in range(8)]
        await asyncio.gather(*many)
        assert len(head.payloads) == 13

    try:
        run_on_etcd(servers, check)
    finally:
        servers.close()


def test_an_etcd_without_space_acknowledges_nothing_and_is_used_again_when_it_has_some(tmp_path: Path) -> None:
    servers = EtcdServers(tmp_path, options=("--quota-backend-bytes", str(64 << 20)))
    servers.start()

    async def check(cluster: EtcdCluster) -> None:
        (only,) = cluster.members
        operator = client_of(servers)
        # Plenty, for etcd looks at the size only now and then, and may have more in it than its quota.
        for number in range(50):
            await operator.transact([], [Put(b"ballast/%d" % number, bytes(1_000_000))])
        await operator.close()
        kept = 0
        while True:
            proposed = cluster.propose(only, bytes(500_000))
            await asyncio.wait([proposed])
            if proposed.exception() is not None:
                break
            kept += 1
        assert isinstance(proposed.exception(), Overloaded)
        assert only.leads
        with pytest.raises(Overloaded, match="space"):
            await cluster.propose(only, b"refused")
        # The one that used up the last of it was committed, and acknowledged.
        assert only.payloads == [bytes(500_000)] * kept
        await asyncio.to_thread(etcd_server.make_room, servers.members[0], b"ballast")
        await cluster.propose(only, b"after")
        assert only.payloads[-1] == b"after"
        assert b"refused" not in only.payloads

    try:
        run_on_etcd(servers, check, size=1)
    finally:
        servers.close()


def test_two_clusters_do_not_share_a_prefix(etcd: EtcdServers) -> None:
    async def check(cluster: EtcdCluster) -> None:
        name = f"{cluster.prefix}cluster".encode()
        operator = client_of(etcd)
        await operator.transact([], [Put(name, b"another")])
        (only,) = cluster.members
        await cluster.kill(only)
        await cluster.boot(only)
        await cluster.until(lambda: bool(only.errors), "it refuses")
        assert "Another cluster" in str(only.errors.pop())
        assert isinstance(only.engine.leader, type(None))
        await operator.transact([], [Put(name, b"conformance")])
        await operator.close()

    run_on_etcd(etcd, check, size=1)


def test_a_log_that_was_put_back_is_not_gone_on_with(etcd: EtcdServers) -> None:
    """As by an etcd that was restored from a backup: what was applied here is not in it."""

    async def check(cluster: EtcdCluster) -> None:
        (only,) = cluster.members
        await cluster.surely(b"p")
        cluster.isolate(only)
        operator = client_of(etcd)
        await operator.transact([], [Put(f"{cluster.prefix}head".encode(), encode_head(1, 1))])
        await operator.close()
        cluster.heal()
        await cluster.until(lambda: bool(only.errors), "it stops")
        assert "restored from a backup" in only.errors.pop().remedy  # type: ignore[attr-defined]

    run_on_etcd(etcd, check, size=1)


def test_outcomes_under_a_link_that_comes_and_goes(etcd: EtcdServers) -> None:
    async def check(cluster: EtcdCluster) -> None:
        outcomes: dict[bytes, asyncio.Task[int]] = {}
        for turn in range(3):
            head = await cluster.settled()
            for number in range(20):
                data = b"%d %d" % (turn, number)
                outcomes[data] = cluster.propose(cluster.members[number % 3], data)
            await asyncio.sleep(0)
            cluster.isolate(head)
            await cluster.settled([member for member in cluster.members if member is not head])
            cluster.heal()
        await asyncio.wait(outcomes.values())
        last = (await cluster.settled()).payloads
        assert len(last) == len(set(last))
        for data, task in outcomes.items():
            error = task.exception()
            if error is None:
                assert data in last
            else:
                assert isinstance(error, ProposalError)
                assert isinstance(error, OutcomeUnknown) or data not in last

    run_on_etcd(etcd, check, proposal_timeout_s=3.0)
