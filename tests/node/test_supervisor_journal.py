"""The supervisor's journal where the disk refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.supervisor import journal
from node.supervisor.journal import Journal


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_rewrite_that_fails_leaves_nothing_open_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Journal(str(tmp_path), "boot")
    kept.mark("t1.1", 5)
    kept.flush()
    monkeypatch.setattr(journal, "_REWRITE_BYTES", 0)
    write_all = journal._write_all

    def full(fd: int, data: bytes) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".new"):
            raise OSError(28, "No space left on device")
        write_all(fd, data)

    monkeypatch.setattr(journal, "_write_all", full)
    before = descriptors()
    for number in range(10):
        kept.mark(f"t2.{number}", 6)
        kept.flush()  # what is to be written is written
    assert descriptors() == before
    assert os.listdir(tmp_path) == ["attempts"], "what is half made takes no room"
    every = {"t1.1", *(f"t2.{number}" for number in range(10))}
    # Nor does a full disk keep the next supervisor from its marks, which go on where the last whole record ends.
    with (tmp_path / "attempts").open("ab") as file:
        file.write(b"torn")
    later = Journal(str(tmp_path), "boot")
    later.mark("t3.1", 7)
    later.flush()
    monkeypatch.undo()
    assert set(Journal(str(tmp_path), "boot").marks) == {*every, "t3.1"}
