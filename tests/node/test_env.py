"""What blocks runs in a thread of its own, in order; nobody waits for what is cancelled, and no thread is left."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from node.env import ThreadOffload


async def test_calls_keep_their_order_and_end_as_their_functions_do() -> None:
    offload, ran = ThreadOffload("test"), list[int]()
    await asyncio.gather(*(offload(lambda number=number: ran.append(number)) for number in range(100)))
    assert ran == list(range(100))
    assert len({await offload(threading.get_ident) for _ in range(3)} - {threading.get_ident()}) == 1

    def fail() -> None:
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        await offload(fail)


async def test_what_is_cancelled_before_its_turn_is_not_run() -> None:
    offload, gate, ran = ThreadOffload("test"), threading.Event(), list[str]()
    loop = asyncio.get_running_loop()
    first = loop.create_task(offload(gate.wait))
    second = loop.create_task(offload(lambda: ran.append("second")))
    third = loop.create_task(offload(lambda: ran.append("third")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    gate.set()
    assert await first
    await third
    assert ran == ["third"]


async def test_its_thread_ends_with_it_and_outlives_what_is_cancelled_while_it_runs() -> None:
    offload, begun, gate = ThreadOffload("test"), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        gate.wait()

    running = asyncio.get_running_loop().create_task(offload(wait))
    await asyncio.to_thread(begun.wait)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    gate.set()
    thread = await offload(threading.current_thread)
    del offload, running
    gc.collect()
    await asyncio.to_thread(thread.join, 60)
    assert not thread.is_alive()
