"""The worker's store of output: names, reading, following, retention."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cortex.v1.worker_pb2 import Assignment
from node.worker.output import STDERR, STDOUT, OutputStore
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
