"""The feed: gap-free, bounded, and honest about what it no longer has."""

from __future__ import annotations

import asyncio

import pytest

from cortex.v1.types_pb2 import Node, Task, TaskSpec
from node.core.faults import Code, Fault
from node.core.model import Change, Table
from node.feed import Batch, Feed, Gone


def batch(index: int, changes: int = 1) -> Batch:
    rows = tuple(Change(Table.NODES, f"n{i}", None, Node(id=f"n{i}")) for i in range(changes))
    return Batch(index, index * 1000, rows)


def test_reader_sees_every_index_once() -> None:
    feed = Feed(after=10)
    for index in range(11, 40):
        feed.publish(batch(index))
    seen: list[int] = []
    position = 10
    while found := feed.after(position, limit=7):
        seen += [item.index for item in found]
        position = found[-1].index
    assert seen == list(range(11, 40))


def test_a_gap_is_refused() -> None:
    feed = Feed(after=0)
    feed.publish(batch(1))
    with pytest.raises(ValueError, match="batch 3 after 1"):
        feed.publish(batch(3))


def test_old_and_future_positions_are_gone() -> None:
    feed = Feed(after=0, capacity=100)
    for index in range(1, 4001):
        feed.publish(batch(index))
    with pytest.raises(Gone):
        feed.after(0)
    with pytest.raises(Gone):
        feed.after(4001)
    oldest = next(i for i in range(4000, 0, -1) if _gone(feed, i - 1))
    assert len(feed.after(oldest)) * 2 <= 100
    assert feed.after(4000) == []


def test_large_rows_count_by_their_size() -> None:
    feed = Feed(after=0, capacity=100)
    for index in range(1, 51):
        row = Task(id="t1", spec=TaskSpec(argv=[b"x" * 10_000]))
        feed.publish(Batch(index, index, (Change(Table.TASKS, "t1", None, row),)))
    oldest = next(i for i in range(50, 0, -1) if _gone(feed, i - 1))
    kept = feed.after(oldest)
    assert 0 < sum(row.new.ByteSize() for entry in kept for row in entry.changes if row.new) <= 100 * 1024
    assert len(kept) < 11


def _gone(feed: Feed, index: int) -> bool:
    try:
        feed.after(index)
    except Gone:
        return True
    return False


async def test_waiters_wake_and_leave_nothing_behind() -> None:
    feed = Feed(after=0)
    waiting = [asyncio.create_task(feed.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    feed.publish(batch(1))
    await asyncio.gather(*waiting[1:])
    assert feed._waiters == []


async def test_who_waits_for_a_feed_that_closes_is_told() -> None:
    feed = Feed(after=0)
    waiting = asyncio.create_task(feed.wait())
    await asyncio.sleep(0)
    feed.close()
    for wait in (waiting, feed.wait()):
        with pytest.raises(Fault) as refused:
            await wait
        assert refused.value.code == Code.NO_LEADER
