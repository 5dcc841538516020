"""What a machine keeps in mind of attempts and their output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import StreamSummary, TaskResult
from cortex.v1.worker_pb2 import Assignment
from node.worker import output_index
from node.worker.output import STDERR, STDOUT, Kept, OutputStore
from node.worker.output_index import INDEX, OLD_INDEX
from node.worker.port import AttemptKey

TASKS = ["plain", "../../etc", 'quote"d', "", "x" * 300]


def write(store: OutputStore, key: AttemptKey, stream: str, data: bytes) -> Path:
    path = Path(store._path(key, stream))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def finish(store: OutputStore, task: str, fence: int, attempt: int, out: bytes, dropped: int = 0) -> Path:
    """An attempt that wrote `out`, and `dropped` bytes more that were not kept."""
    key, assignment = AttemptKey(task, fence), Assignment(run=1, attempt=attempt)
    store.begin(key, assignment, 5)
    path = write(store, key, STDOUT, out)
    summary = StreamSummary(total_bytes=len(out) + dropped, dropped_bytes=dropped)
    store.finish(key, assignment, TaskResult(stdout=summary, ended_at_us=fence * 1000))
    return path


@pytest.mark.parametrize("task", TASKS)
def test_attempts_are_listed_by_run_and_attempt(tmp_path: Path, task: str) -> None:
    store = OutputStore(tmp_path)
    finish(store, task, 7, 0, b"first", dropped=3)
    finish(store, task, 9, 1, b"second").unlink()
    finish(store, task + "x", 8, 0, b"another")
    store.begin(AttemptKey(task, 11), Assignment(run=2, attempt=0), 42)
    write(store, AttemptKey(task, 11), STDERR, b"so far")
    again = OutputStore(tmp_path)
    again.begin(AttemptKey(task, 11), Assignment(run=2, attempt=0), 42)
    for each in (store, again):
        assert each.attempts(task) == [
            Kept(7, 1, 0, False, 5, 0, 3, False, 7000),
            Kept(9, 1, 1, False, 6, 0, 0, True, 9000),
            Kept(11, 2, 0, True, 0, 6, 0, False, 42),
        ]


def test_one_that_was_lost_is_listed_by_what_its_files_have(tmp_path: Path) -> None:
    store = OutputStore(tmp_path)
    write(store, AttemptKey("t", 7), STDERR, b"last words")
    store.finish(AttemptKey("t", 7), Assignment(run=1), None)
    assert store.attempts("t") == [Kept(7, 1, 0, False, 0, 10, 0, False, 0)]


def test_one_that_wrote_nothing_leaves_nothing(tmp_path: Path) -> None:
    store = OutputStore(tmp_path)
    key = AttemptKey("t", 7)
    store.begin(key, Assignment(run=1), 5)
    store.finish(key, Assignment(run=1), TaskResult(exit_code=0))
    store.finish(AttemptKey("t", 8), Assignment(run=1), None)
    assert store.attempts("t") == []
    assert not list(tmp_path.iterdir())


def test_garbage_in_the_index_is_passed_over(tmp_path: Path) -> None:
    store = OutputStore(tmp_path)
    path = finish(store, "t", 7, 0, b"x")
    with (path.parent / INDEX).open("ab") as file:
        file.write(b'["t",1]\n["t",1,"x",3,4,5,6,7]\n\xff\n["t"')
    assert [kept.fence for kept in store.attempts("t")] == [7]


def test_old_lines_go_with_the_second_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_index, "GENERATION_BYTES", 100)
    store = OutputStore(tmp_path)
    folder = finish(store, "t", 1, 0, b"x").parent
    for fence in range(2, 200):
        finish(store, "t", fence, 0, b"x")
        store.trim(0)
    assert os.stat(folder / INDEX).st_size + os.stat(folder / OLD_INDEX).st_size < 400
    assert store.attempts("t")[-1].fence == 199


def test_what_began_long_ago_is_a_generation_of_its_own(tmp_path: Path) -> None:
    store = OutputStore(tmp_path, max_age_us=10_000_000)
    folder = finish(store, "t", 1, 0, b"x").parent
    store.trim(9_000_000)
    assert not (folder / OLD_INDEX).exists()
    store.trim(12_000_000)
    assert (folder / OLD_INDEX).exists()
    assert [kept.fence for kept in store.attempts("t")] == [1]
