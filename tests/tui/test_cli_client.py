"""ClusterClient: one request id over all retries, fail-over, watches and output that resume."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as types
from tests.tui.conftest import SECRET
from tests.tui.fake_cluster import FakeCluster, Refusal
from tests.tui.fake_daemon import FakeDaemon
from tui.errors import Late
from tui.link.client import ClusterClient, ClusterError, Link, Target
from tui.link.cluster_source import ClusterSource
from tui.source import LinkState, SourceError

TASK = pb.TaskRequest(spec=types.TaskSpec(argv=[b"true"]))


@pytest.fixture
async def pair(cluster: FakeCluster) -> AsyncIterator[tuple[FakeDaemon, FakeDaemon]]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(FakeDaemon(cluster, node="n1"))
        second = await stack.enter_async_context(FakeDaemon(cluster, node="n2"))
        yield first, second


def client_of(*daemons: FakeDaemon, links: list[Link] | None = None) -> ClusterClient:
    targets = [Target(daemon.address, daemon.node) for daemon in daemons]
    return ClusterClient(targets, SECRET, on_link=links.append if links is not None else None)


def requests(cluster: FakeCluster, method: str) -> list[pb.SubmitRequest]:
    return [request for name, request in cluster.calls if name == method]


async def test_a_lost_answer_is_asked_again_under_the_same_id(
    cluster: FakeCluster, pair: tuple[FakeDaemon, FakeDaemon]
) -> None:
    cluster.lost_replies["Submit"] = 3
    async with client_of(*pair) as client:
        reply = await client.submit(TASK)
        other = await client.submit(TASK)
    assert list(cluster.tasks) == [reply.id, other.id]
    ids = [(request.mutation.client, request.mutation.request_id) for request in requests(cluster, "Submit")]
    assert len(ids) == 5
    assert len(set(ids)) == 2
    assert len({client for client, _ in ids}) == 1
    assert client.min_index == other.index


async def test_the_next_address_answers(cluster: FakeCluster, pair: tuple[FakeDaemon, FakeDaemon]) -> None:
    await pair[0].stop()
    async with client_of(*pair) as client:
        assert (await client.status()).node == "n2"
        assert client.link.up


async def test_no_leader_is_waited_for(cluster: FakeCluster, daemon: FakeDaemon) -> None:
    cluster.refuse["Submit"] = Refusal("no_leader", "There is no leader.")
    async with client_of(daemon) as client:
        call = asyncio.create_task(client.submit(TASK))
        await cluster.called("Submit", 2)
        del cluster.refuse["Submit"]
        assert (await call).id in cluster.tasks


async def test_an_unknown_outcome_is_said(cluster: FakeCluster, daemon: FakeDaemon) -> None:
    cluster.lost_replies["Submit"] = 10**6
    async with ClusterClient([daemon.address], SECRET, timeout_s=3.0) as client:
        with pytest.raises(ClusterError) as caught:
            await client.submit(TASK)
    assert (caught.value.code, caught.value.exit_code) == ("outcome_unknown", 4)
    assert len(cluster.tasks) == 1


async def test_what_is_refused_to_the_end_is_not_asked_when_there_is_no_time_for_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[float] = []

    async def refused(_target: Target, _method: str, _request: object, timeout_s: float) -> None:
        given.append(timeout_s)
        raise ClusterError("no_leader", "There is no leader.", "Wait.")

    async with ClusterClient(["127.0.0.1:1"], SECRET, timeout_s=0.8) as client:
        monkeypatch.setattr(client, "_attempt", refused)
        with pytest.raises(ClusterError, match="There is no leader"):
            await client.submit(TASK)
    assert min(given) > 0.19


async def test_an_unknown_outcome_is_said_once(cluster: FakeCluster, daemon: FakeDaemon) -> None:
    told = "The cluster did not confirm the change in time; it may still happen."
    cluster.refuse["Submit"] = Refusal("outcome_unknown", told)
    async with ClusterClient([daemon.address], SECRET, timeout_s=2.0) as client:
        with pytest.raises(ClusterError) as caught:
            await client.submit(TASK)
    assert (caught.value.code, caught.value.message) == ("outcome_unknown", told)


async def test_a_refusal_is_not_repeated(cluster: FakeCluster, pair: tuple[FakeDaemon, FakeDaemon]) -> None:
    async with client_of(*pair) as client:
        with pytest.raises(ClusterError) as caught:
            await client.get_task("none")
    assert (caught.value.code, caught.value.remedy) == ("not_found", "List the tasks with `cortex tasks`.")
    assert len(cluster.calls) == 1


@pytest.mark.parametrize("code", ["deadline", "outcome_unknown"])
async def test_leadership_that_stays_is_not_handed_over_again(
    code: str, cluster: FakeCluster, pair: tuple[FakeDaemon, FakeDaemon]
) -> None:
    cluster.refuse["TransferLeader"] = Refusal(code, "n2 did not take over in time; n1 leads on.")
    async with client_of(*pair) as client:
        with pytest.raises(ClusterError) as caught:
            await client.transfer_leader("n2")
    assert caught.value.message == "n2 did not take over in time; n1 leads on."
    assert len(cluster.calls) == 1


async def test_what_a_daemon_said_is_told_though_another_one_says_nothing(
    cluster: FakeCluster, pair: tuple[FakeDaemon, FakeDaemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def answer(target: Target, method: str, *_: object) -> None:
        asked.append(target.node)
        if target.node == "n1":
            raise ClusterError("overloaded", "32 long reads are under way here.", "Try again in a second.")
        raise Late(target.address, method)

    async with client_of(*pair) as client:
        client._timeout_s = 1.0
        monkeypatch.setattr(client, "_attempt", answer)
        with pytest.raises(ClusterError) as caught:
            await client.status()
    assert caught.value.message == "32 long reads are under way here."
    assert {"n1", "n2"} == set(asked)


async def test_writes_go_to_the_known_leader(cluster: FakeCluster, pair: tuple[FakeDaemon, FakeDaemon]) -> None:
    cluster.leader = "n2"
    async with client_of(*pair) as client:
        await client.status()
        await pair[0].stop()
        cluster.calls.clear()
        await client.submit(TASK)
    assert [name for name, _ in cluster.calls] == ["Submit"]


async def test_a_message_over_4_mib_says_so(daemon: FakeDaemon) -> None:
    big = pb.TaskRequest(spec=types.TaskSpec(argv=[b"x" * 5 * 2**20]))
    async with client_of(daemon) as client:
        with pytest.raises(ClusterError, match="MB, so nothing was sent") as caught:
            await client.submit(big)
    assert caught.value.code == "too_large"


async def test_nobody_there(tmp_path: object) -> None:
    links: list[Link] = []
    async with ClusterClient(["127.0.0.1:1", f"unix:{tmp_path}/none"], on_link=links.append) as client:
        with pytest.raises(ClusterError, match=r"No daemon answers at any of 127\.0\.0\.1:1, unix:") as caught:
            await client.list_nodes()
    assert caught.value.exit_code == 4
    assert [link.up for link in links] == [False]


async def test_watch_begins_with_a_snapshot_and_goes_on(cluster: FakeCluster, daemon: FakeDaemon) -> None:
    cluster.add_task("t0")
    async with client_of(daemon) as client, aclosing(client.watch(events=True)) as replies:
        first = await anext(replies)
        assert (first.snapshot_begin, first.snapshot_end) == (True, True)
        assert [change.WhichOneof("row") for change in first.changes] == ["node", "node", "task"]
        cluster.start("t0")
        kinds = []
        while "event" not in kinds:
            kinds += [change.WhichOneof("row") for change in (await anext(replies)).changes]
        assert client.leader == "n1"


async def test_watch_resumes_after_the_last_index(
    cluster: FakeCluster, pair: tuple[FakeDaemon, FakeDaemon]
) -> None:
    links: list[Link] = []
    async with client_of(*pair, links=links) as client, aclosing(client.watch()) as replies:
        await anext(replies)
        cluster.add_task("t0")
        while not (await anext(replies)).changes:
            pass
        await pair[0].stop()
        cluster.add_task("t1")
        seen = []
        while not seen:
            seen = [change.task.id for change in (await anext(replies)).changes]
        assert seen == ["t1"]
    again = [request for name, request in cluster.calls if name == "Watch"][-1]
    assert again.after_index == cluster.tasks["t0"].modified_index
    assert not again.snapshot
    assert [link.up for link in links] == [True, False, True]
    assert links[1].since <= links[2].since


async def test_watch_too_old_begins_anew(cluster: FakeCluster, daemon: FakeDaemon) -> None:
    cluster.add_task("t0")
    cluster.forget()
    async with client_of(daemon) as client, aclosing(client.watch(5)) as replies:
        assert (await anext(replies)).snapshot_begin


async def test_a_silent_watch_is_given_up(cluster: FakeCluster, pair: tuple[FakeDaemon, FakeDaemon]) -> None:
    links: list[Link] = []
    async with client_of(*pair, links=links) as client, aclosing(client.watch()) as replies:
        await anext(replies)
        cluster.heartbeats = False
        waiting = asyncio.create_task(anext(replies))
        await cluster.called("Watch", 2)
        cluster.add_task("t0")
        while not (await waiting).changes:
            waiting = asyncio.create_task(anext(replies))
        assert any(not link.up and link.reason == "no heartbeat" for link in links)
        assert client.link.up


async def test_watch_gives_up_when_asked_to(daemon: FakeDaemon) -> None:
    await daemon.stop()
    async with client_of(daemon) as client:
        with pytest.raises(ClusterError) as caught:
            await anext(client.watch(7, patience_s=0.2))
    assert caught.value.code == "unreachable"


async def test_output_resumes_at_the_byte(cluster: FakeCluster, daemon: FakeDaemon) -> None:
    cluster.add_task("t0")
    cluster.start("t0")
    cluster.write("t0", b"abc", b"12")
    got = {pb.STREAM_KIND_STDOUT: b"", pb.STREAM_KIND_STDERR: b""}
    async with client_of(daemon) as client:
        async for reply in client.output("t0", follow=True, patience_s=30):
            if not reply.data:
                continue
            assert reply.offset == len(got[reply.stream])
            got[reply.stream] += reply.data
            if list(got.values()) == [b"abc", b"12"]:
                await daemon.stop()
                cluster.write("t0", b"def", b"34")
                await daemon.start()
                cluster.finish("t0")
    assert list(got.values()) == [b"abcdef", b"1234"]


async def test_the_consoles_source_tells_link_changes_in_its_stream(
    cluster: FakeCluster, daemon: FakeDaemon
) -> None:
    async with client_of(daemon) as client:
        source = ClusterSource(client, "lab")
        async with aclosing(source.watch()) as items:
            first = await anext(items)
            assert isinstance(first, LinkState)
            assert first.up
            assert isinstance(await anext(items), pb.WatchReply)
            await daemon.stop()
            states: list[LinkState] = []
            while not states:
                item = await anext(items)
                states += [item] if isinstance(item, LinkState) else []
            assert not states[0].up
            await daemon.start()
            while states[-1].up is False:
                item = await anext(items)
                states += [item] if isinstance(item, LinkState) else []
        with pytest.raises(SourceError, match="There is no task"):
            await source.get_task("none")
