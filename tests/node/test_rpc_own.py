"""A daemon's session with itself: order, back-pressure, and its end from either side."""

from __future__ import annotations

import asyncio

import pytest

from cortex.v1 import worker_pb2
from node.link import LeaderStream, LinkClosed
from node.rpc.own import OwnSessions

_WAIT_S = 60


def beat(number: int) -> worker_pb2.WorkerMessage:
    return worker_pb2.WorkerMessage(heartbeat=worker_pb2.Heartbeat(boot_us=number))


async def test_messages_come_in_order_and_a_sender_that_is_far_ahead_waits() -> None:
    go = asyncio.Event()
    heard: list[int] = []

    async def leader(stream: LeaderStream) -> None:
        await go.wait()
        while True:
            message = await stream.receive()
            heard.append(message.heartbeat.boot_us)
            await stream.send(worker_pb2.LeaderMessage(heartbeat=worker_pb2.Heartbeat(boot_us=len(heard))))

    sessions = OwnSessions(leader)
    stream = sessions.open()

    async def send_all() -> None:
        for number in range(100):
            await stream.send(beat(number))

    sending = asyncio.create_task(send_all())
    for _ in range(200):
        await asyncio.sleep(0)
    assert not sending.done()
    go.set()
    async with asyncio.timeout(_WAIT_S):
        for number in range(100):
            assert (await stream.receive()).heartbeat.boot_us == number + 1
        await sending
    assert heard == list(range(100))
    await sessions.close()


async def test_what_was_sent_before_the_leader_ended_is_still_read() -> None:
    async def leader(stream: LeaderStream) -> None:
        await stream.send(worker_pb2.LeaderMessage(not_leader=worker_pb2.NotLeader(leader="n2")))

    sessions = OwnSessions(leader)
    stream = sessions.open()
    async with asyncio.timeout(_WAIT_S):
        assert (await stream.receive()).not_leader.leader == "n2"
        with pytest.raises(LinkClosed):
            await stream.receive()
        with pytest.raises(LinkClosed):
            await stream.send(beat(1))
    await sessions.close()


async def test_a_worker_that_closes_ends_the_leaders_side() -> None:
    ended = asyncio.Event()

    async def leader(stream: LeaderStream) -> None:
        try:
            await stream.receive()
        except LinkClosed:
            ended.set()

    sessions = OwnSessions(leader)
    stream = sessions.open()
    await asyncio.sleep(0)
    await stream.close()
    async with asyncio.timeout(_WAIT_S):
        await ended.wait()
    await sessions.close()
