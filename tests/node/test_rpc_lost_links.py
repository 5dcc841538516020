"""Another daemon was asked and did not answer: nobody says that nothing changed when something may have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import Message
from grpc import ChannelConnectivity

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import raft_pb2
from node.config import Config
from node.consensus.membership import Membership
from node.consensus.port import NotLeader, OutcomeUnknown, Role
from node.core.faults import Code, Fault
from node.env import Env
from node.feed import Batch, Feed
from node.link import Caller, LinkClosed
from node.replica import Replica
from node.rpc import watch
from node.rpc.link import GrpcLink
from node.rpc.members import MemberCalls
from node.rpc.proxy import Proxy
from node.store.store import Store
from node.voter import Voter

CALLER = Caller("uid:0")
CHANGE = pb.CancelTaskRequest(ids=["t"], mutation=pb.Mutation(client="c", request_id="r"))


class DeadLink:
    """Takes every request and never answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def call(self, address: str, method: str, request: Message, timeout_s: float, caller: Caller) -> Message:
        self.asked.append(address)
        raise LinkClosed(address)


def service_with(link: DeadLink) -> MemberCalls:
    replica = SimpleNamespace(serving=False, leader="n2", state=SimpleNamespace(nodes={}))
    parts: Any = SimpleNamespace(replica=replica, node_id="n1", address_of=lambda _id: "there:1", link=link)
    return MemberCalls(parts)


async def test_a_transfer_whose_answer_is_lost_may_have_happened() -> None:
    with pytest.raises(Fault, match="not known") as caught:
        await service_with(DeadLink()).transfer_leader(pb.TransferLeaderRequest(), CALLER)
    assert caught.value.code == Code.OUTCOME_UNKNOWN


async def test_a_read_whose_answer_is_lost_changed_nothing() -> None:
    link = DeadLink()
    request = pb.SubmitRequest(dry_run=True, task=pb.TaskRequest())
    with pytest.raises(Fault, match="nothing was changed"):
        await service_with(link)._ask_leader("Submit", request, pb.SubmitReply, CALLER)
    assert link.asked == ["there:1"]


async def test_a_rehearsal_whose_answer_is_lost_changed_nothing_but_a_drain_may_have() -> None:
    request = pb.DrainRequest(node="n1", mutation=pb.Mutation(request_id="r"))
    for method, reply, code in (
        ("RehearseDrain", pb.RehearseDrainReply, Code.NO_LEADER),
        ("DrainNode", pb.DrainNodeReply, Code.OUTCOME_UNKNOWN),
    ):
        with pytest.raises(Fault) as caught:
            await service_with(DeadLink())._ask_leader(method, request, reply, CALLER)
        assert caught.value.code == code


async def test_a_worker_passes_a_change_to_every_voter_and_says_that_it_may_have_happened() -> None:
    link: Any = DeadLink()
    proxy = Proxy(link, lambda: ["a:1", "b:1"])
    with pytest.raises(Fault) as caught:
        await proxy.call("CancelTask", CHANGE, CALLER)
    assert (caught.value.code, link.asked) == (Code.OUTCOME_UNKNOWN, ["a:1", "b:1"])
    with pytest.raises(Fault) as caught:
        await proxy.call("Status", pb.StatusRequest(), CALLER)
    assert caught.value.code == Code.NO_LEADER


async def test_a_worker_does_not_transfer_the_leadership_twice() -> None:
    link: Any = DeadLink()
    with pytest.raises(Fault) as caught:
        await Proxy(link, lambda: ["a:1", "b:1"]).call("TransferLeader", pb.TransferLeaderRequest(), CALLER)
    assert (caught.value.code, link.asked) == (Code.OUTCOME_UNKNOWN, ["a:1"])


class FirstUnknown:
    """An engine that loses its lead after the first proposal."""

    def __init__(self) -> None:
        self.proposals = 0

    async def propose(self, _data: bytes) -> None:
        self.proposals += 1
        raise OutcomeUnknown if self.proposals == 1 else NotLeader


async def test_a_proposal_that_may_be_in_the_log_is_never_called_undone(tmp_path: Path) -> None:
    store = Store(":memory:")
    store.open()
    replica = Replica(Env.real(tmp_path), "n1", store, stop=pytest.fail)
    engine: Any = FirstUnknown()
    replica.attach(engine)
    with pytest.raises(Fault) as caught:
        await replica.execute([], client="c", request_id="r", timeout_s=1.5)
    assert caught.value.code == Code.OUTCOME_UNKNOWN
    assert engine.proposals > 1
    store.close()


def watcher_on(feed: Feed) -> watch.Watcher:
    state = SimpleNamespace(settings={})
    replica: Any = SimpleNamespace(feed=feed, leader="n1", term=3, now_us=lambda: 1, state=state)
    return watch.Watcher(replica, SimpleNamespace())  # type: ignore[arg-type]


async def first_change(replies: AsyncIterator[pb.WatchReply]) -> pb.WatchReply:
    async for reply in replies:
        assert reply.heartbeat or reply.index > 7
        if not reply.heartbeat:
            return reply
    raise AssertionError("the watch ended")


async def test_a_daemon_that_lags_lets_its_watcher_wait() -> None:
    feed = Feed(after=4)
    replies = watcher_on(feed).watch(pb.WatchRequest(after_index=7), CALLER)
    beat = await anext(replies)
    assert (beat.heartbeat, beat.index) == (True, 7)
    change = asyncio.create_task(first_change(replies))
    for index in (5, 6, 7, 8):
        await asyncio.sleep(0)
        feed.publish(Batch(index, index, ()))
    assert (await asyncio.wait_for(change, 60)).index == 8


async def test_a_position_that_this_log_never_reaches_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "CATCH_UP_S", 0.05)
    replies = watcher_on(Feed(after=4)).watch(pb.WatchRequest(after_index=7), CALLER)
    with pytest.raises(Fault) as caught:
        await first_change(replies)
    assert caught.value.code == Code.GONE


async def test_what_is_open_to_a_member_that_left_is_closed(tmp_path: Path) -> None:
    store = Store(":memory:")
    store.open()
    link, judge = GrpcLink("secret"), SimpleNamespace()
    config = Config(id="n1", data=tmp_path, listen="127.0.0.1:1", voters={"n1": "127.0.0.1:1"})
    voter = Voter(config, Env.real(tmp_path), link, judge, "c", store, pytest.fail)  # type: ignore[arg-type]
    voter.on_left = link.forget
    for members in ({"n1": "127.0.0.1:1", "n2": "127.0.0.1:2", "n3": "127.0.0.1:3"}, {"n1": "127.0.0.1:1"}):
        engine: Any = SimpleNamespace(membership=Membership.of_voters(members), role=Role.FOLLOWER, leader=None)
        voter.engine = engine
        voter.replica.attach(engine)
        for address in ("127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4") if len(members) > 1 else ():
            link.send_raft(address, raft_pb2.RaftMessage(to="n"))
        writers, channels = list(link._peers.values()), list(link._channels.values())
        voter.replica.role_changed()
    assert (list(link._peers), list(link._channels)) == (["127.0.0.1:4"], ["127.0.0.1:4"])
    async with asyncio.timeout(60):
        await asyncio.gather(*link._closing)
    assert [writer._task.cancelled() for writer in writers] == [True, True, False]
    assert [channel.get_state() is ChannelConnectivity.SHUTDOWN for channel in channels] == [True, True, False]
    await link.close()
    store.close()
