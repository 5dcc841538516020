"""The worker's store of output: names, reading, following, retention."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cortex.v1.worker_pb2 import Assignment
from node.worker.output import STDERR, STDOUT, OutputStore
from node.worker.output_watch import CHUNK_BYTES
from node.worker.port import AttemptKey
from tests.node.leader_kit import virtual

KEY = AttemptKey("task", 7)
BEGIN = {STDOUT: 0, STDERR: 0}


def write(folder: Path, key: AttemptKey, stream: str, data: bytes) -> Path:
    path = folder / f"{OutputStore.name(key)}.{stream}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)
    return path


@pytest.mark.parametrize("task", ["../../etc/passwd", "a/b", "", "x" * 300, "ä\n\x1b[31m", ".", "..", "-rf", "a.b"])
def test_names_stay_in_the_folder(tmp_path: Path, task: str) -> None:
    name = OutputStore.name(AttemptKey(task, 1))
    shard, _, rest = name.partition("/")
    assert len(shard) == 2
    assert rest.isprintable()
    assert "/" not in rest
    assert len(rest) < 100
    assert not rest.startswith(".")
    assert name != OutputStore.name(AttemptKey(task, 2))
    assert name != OutputStore.name(AttemptKey(task + "x", 1))


def test_reads_by_offset(tmp_path: Path) -> None:
    store = OutputStore(tmp_path)
    assert store.read("task", 7, STDOUT, 0, 10) == b""
    write(tmp_path, KEY, STDOUT, b"0123456789")
    write(tmp_path, KEY, STDERR, b"e")
    assert store.read("task", 7, STDOUT, 3, 4) == b"3456"
    assert store.read("task", 7, STDOUT, 10, 4) == b""
    assert store.read("task", 7, STDOUT, 0, 1 << 40) == b"0123456789"
    assert store.size("task", 7, STDOUT) == 10
    assert store.read("task", 7, STDERR, 0, 4) == b"e"
    assert store.read("task", 8, STDOUT, 0, 4) == b""
    with pytest.raises(ValueError, match="no stream"):
        store.read("task", 7, "../x", 0, 1)


def test_does_not_follow_links(tmp_path: Path) -> None:
    path = write(tmp_path, KEY, STDOUT, b"")
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(OSError):  # noqa: PT011
        OutputStore(tmp_path).read("task", 7, STDOUT, 0, 10)


def follow(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    virtual(main)


def test_wait_returns_when_there_is_more(tmp_path: Path) -> None:
    async def scene() -> None:
        store = OutputStore(tmp_path)
        store.begin(KEY, Assignment(), 0)
        write(tmp_path, KEY, STDOUT, b"abc")
        assert await store.wait("task", 7, BEGIN) is False
        waiting = asyncio.create_task(store.wait("task", 7, {STDOUT: 3, STDERR: 0}))
        await asyncio.sleep(5)
        assert not waiting.done()
        write(tmp_path, KEY, STDERR, b"x")
        before = asyncio.get_running_loop().time()
        assert await waiting is False
        assert asyncio.get_running_loop().time() - before <= 0.3

    follow(scene)


def test_wait_returns_at_once_at_the_end(tmp_path: Path) -> None:
    async def scene() -> None:
        store = OutputStore(tmp_path)
        store.begin(KEY, Assignment(), 0)
        assert not store.ended("task", 7)
        waiting = [asyncio.create_task(store.wait("task", 7, BEGIN)) for _ in range(3)]
        await asyncio.sleep(5)
        before = asyncio.get_running_loop().time()
        store.end(KEY)
        assert await asyncio.gather(*waiting) == [True] * 3
        assert asyncio.get_running_loop().time() == before
        assert store.ended("task", 7)
        assert await store.wait("task", 7, BEGIN) is True
        assert await store.wait("never", 1, BEGIN) is True

    follow(scene)


def test_following_looks_rarely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        store = OutputStore(tmp_path)
        store.begin(KEY, Assignment(), 0)
        looks = 0
        size = OutputStore.size

        def counted(self: OutputStore, task: str, fence: int, stream: str) -> int:
            nonlocal looks
            looks += 1
            return size(self, task, fence, stream)

        monkeypatch.setattr(OutputStore, "size", counted)
        waiting = asyncio.create_task(store.wait("task", 7, BEGIN))
        await asyncio.sleep(60)
        waiting.cancel()
        assert looks < 60 * 2 * 5

    follow(scene)


def test_trim_by_age_and_size_spares_what_lives(tmp_path: Path) -> None:
    store = OutputStore(tmp_path, max_age_us=100_000_000, max_bytes=30_000)
    now_us = 1_000_000_000_000
    paths = {}
    for number, age_s in enumerate((500, 400, 50, 40, 30)):
        key = AttemptKey(f"t{number}", 1)
        paths[number] = write(tmp_path, key, STDOUT, b"x" * 12_288)
        at_s = now_us / 1e6 - age_s
        os.utime(paths[number], (at_s, at_s))
    store.begin(AttemptKey("t0", 1), Assignment(), 0)
    assert store.trim(now_us) == 2
    assert {number for number, path in paths.items() if path.exists()} == {0, 3, 4}
    store.end(AttemptKey("t0", 1))
    assert store.trim(now_us) == 1
    assert not paths[0].exists()


def test_trim_of_nothing(tmp_path: Path) -> None:
    assert OutputStore(tmp_path / "never made").trim(0) == 0


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, *names: str) -> Iterator[Counter[str]]:
    """How often these methods of the store are called."""
    calls: Counter[str] = Counter()
    for name in names:
        original = getattr(OutputStore, name)

        def call(self: OutputStore, *args: object, name: str = name, original: Any = original) -> object:
            calls[name] += 1
            return original(self, *args)

        monkeypatch.setattr(OutputStore, name, call)
    yield calls


async def followed(store: OutputStore) -> bytes:
    """All that one follower of stdout gets, and that it gets it in bounded pieces."""
    got = b""
    while True:
        ended = store.ended(*KEY)
        while data := store.chunk(*KEY, STDOUT, len(got)):
            assert len(data) <= CHUNK_BYTES
            got += data
        if ended:
            return got
        await store.wait(*KEY, {STDOUT: len(got)})


def test_many_followers_cost_about_as_much_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {}

    async def scene(followers: int) -> None:
        store = OutputStore(tmp_path / str(followers))
        store.begin(KEY, Assignment(), 0)
        with counted(monkeypatch, "size", "read") as calls:
            following = [asyncio.create_task(followed(store)) for _ in range(followers)]
            for step in range(100):
                write(tmp_path / str(followers), KEY, STDOUT, b"%03d\n" % step * 100)
                await asyncio.sleep(0.05)
            costs[followers] = calls.copy()
            store.end(KEY)
            assert set(await asyncio.gather(*following)) == {
                b"".join(b"%03d\n" % step * 100 for step in range(100))
            }

    for followers in (1, 200):
        follow(lambda followers=followers: scene(followers))  # type: ignore[misc]
    assert costs[200]["read"] <= 2 * costs[1]["read"]
    assert costs[200]["size"] <= 2 * costs[1]["size"]


def test_one_that_joins_late_gets_what_was_before(tmp_path: Path) -> None:
    async def scene() -> None:
        store = OutputStore(tmp_path)
        store.begin(KEY, Assignment(), 0)
        first = asyncio.create_task(followed(store))
        write(tmp_path, KEY, STDOUT, b"x" * 200_000)
        await asyncio.sleep(5)
        late = asyncio.create_task(followed(store))
        await asyncio.sleep(5)
        write(tmp_path, KEY, STDOUT, b"y")
        store.end(KEY)
        assert [len(got) for got in await asyncio.gather(first, late)] == [200_001, 200_001]

    follow(scene)


def test_nobody_looks_when_nobody_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        store = OutputStore(tmp_path)
        store.begin(KEY, Assignment(), 0)
        following = asyncio.create_task(followed(store))
        await asyncio.sleep(5)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        with counted(monkeypatch, "size", "read") as calls:
            await asyncio.sleep(60)
        assert not calls

    follow(scene)


def test_one_task_takes_no_more_than_its_part(tmp_path: Path) -> None:
    store = OutputStore(tmp_path, max_bytes=1 << 30, max_task_bytes=30_000)
    now_us = 1_000_000_000_000
    for fence in range(1, 6):
        path = write(tmp_path, AttemptKey("greedy", fence), STDOUT, b"x" * 12_288)
        at_s = now_us / 1e6 - 100 + fence
        os.utime(path, (at_s, at_s))
    modest = write(tmp_path, AttemptKey("modest", 1), STDOUT, b"x" * 12_288)
    os.utime(modest, (now_us / 1e6 - 1000,) * 2)
    assert store.trim(now_us) == 3
    assert [bool(store.size("greedy", fence, STDOUT)) for fence in range(1, 6)] == [False, False, False, True, True]
    assert modest.exists()


def test_much_output_asks_for_a_trim(tmp_path: Path) -> None:
    store = OutputStore(tmp_path, max_bytes=1000)
    write(tmp_path, KEY, STDOUT, b"x" * 60)
    store.finish(KEY, Assignment(), None)
    assert store.grown.is_set()
