"""What commands left in working directories of their own goes by age and size, output with it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from node.supervisor.folders import Folders
from node.worker.port import HeldState
from node.worker.workspace import Workspace
from tests.node.fake_replica import VirtualClock
from tests.node.leader_kit import virtual
from tests.node.worker_kit import FakeSupervisor, assignment, held, key, working

DAY_US = 86_400_000_000


def leave(folder: Path, number: int, name: str, ended_us: int, size: int = 1) -> None:
    (folder / str(number)).mkdir(parents=True)
    (folder / str(number) / "left").write_bytes(b"x" * size)
    (folder / name).symlink_to(str(number))
    os.utime(folder / name, ns=(ended_us * 1000, ended_us * 1000), follow_symlinks=False)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_old_folders_go_and_others_stay(tmp_path: Path) -> None:
    leave(tmp_path, 1, "t1.5", 1 * DAY_US)
    leave(tmp_path, 2, "t2.6", 3 * DAY_US)
    (tmp_path / "3").mkdir()  # in use, or free
    (tmp_path / ".gone-9").mkdir()
    workspace = Workspace(tmp_path, max_age_us=7 * DAY_US, max_bytes=1 << 30)
    assert workspace.trim(9 * DAY_US) == 1
    assert names(tmp_path) == ["2", "3", "t2.6"]
    assert workspace.trim(9 * DAY_US) == 0


def test_the_oldest_go_beyond_the_size(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        leave(tmp_path, number, f"t{number}.5", number * DAY_US, size=100_000)
    Workspace(tmp_path, max_age_us=DAY_US * 100, max_bytes=250_000).trim(4 * DAY_US)
    assert names(tmp_path) == ["2", "3", "t2.5", "t3.5"]


def test_a_link_to_elsewhere_is_only_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    work = tmp_path / "work"
    work.mkdir()
    (work / "t1.5").symlink_to("../precious")
    os.utime(work / "t1.5", ns=(1, 1), follow_symlinks=False)
    leave(work, 1, "t2.5", 1)
    (work / "1" / "inner").symlink_to(precious)
    Workspace(work, max_age_us=1, max_bytes=1).trim(10 * DAY_US)
    assert names(work) == []
    assert names(precious) == ["file"]


def test_a_missing_folder_is_nothing_to_do(tmp_path: Path) -> None:
    assert Workspace(tmp_path / "none", max_age_us=1, max_bytes=1).trim(1) == 0


def test_what_a_killed_supervisor_left_gets_a_name(tmp_path: Path) -> None:
    first = Folders(str(tmp_path))
    dirty, clean = Path(first.take()), Path(first.take())
    (dirty / "left").touch()
    second = Folders(str(tmp_path))
    assert names(tmp_path) == [dirty.name, clean.name, f"unknown.{dirty.name}"]
    assert second.take() == str(clean)
    Folders(str(tmp_path))
    assert len(names(tmp_path)) == 3


def test_a_folder_that_something_came_into_last_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = Folders(str(tmp_path))
    taken = [folders.take() for _ in range(70)]

    def late(path: str) -> None:
        Path(path, "late").touch()
        raise OSError(errno.ENOTEMPTY, path)

    monkeypatch.setattr(os, "rmdir", late)
    for number, path in enumerate(taken):
        folders.give_back(path, f"t{number}.1")
    assert os.readlink(tmp_path / "t69.1") == Path(taken[69]).name


def test_a_restart_removes_what_is_old_but_nothing_of_what_runs(tmp_path: Path) -> None:
    clock_us = 1_750_000_000_000_000

    async def main() -> None:
        async with working(tmp_path) as kit:
            side = await kit.session()
            await side.assign(assignment(fence=10))
            await kit.ordered(key(fence=10))
        supervisor = FakeSupervisor([held(HeldState.RUNNING, fence=10)])
        for fence in (10, 11):
            path = tmp_path / "output" / f"{kit.worker.output.name(key(fence=fence))}.out"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
            old_us = clock_us - 8 * DAY_US
            os.utime(path, ns=(old_us * 1000, old_us * 1000))
        leave(tmp_path / "work", 1, "t0.3", clock_us - 8 * DAY_US)
        assert VirtualClock().wall_us() >= clock_us
        async with working(tmp_path, supervisor=supervisor) as kit:
            await kit.until(lambda: kit.worker.output.size("t1", 11, "out") == 0)
            await kit.until(lambda: names(tmp_path / "work") == [])
            assert kit.worker.output.read("t1", 10, "out", 0, 9) == b"x"

    virtual(main)
