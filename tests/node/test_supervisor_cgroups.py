"""Control groups: version 2 in a folder that looks like one, version 1 as well, and for real where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from node.supervisor.cgroups import Cgroups
from tests.node.sandbox_kit import needs_groups

V2 = "0::/system.slice/cortexd.service/daemon\n"


def machine(tmp_path: Path, own: str, *, controllers: str = "cpuset cpu io memory pids") -> tuple[Path, Path]:
    """A root of groups and a proc, for a process that is in the groups `own`."""
    root, proc = tmp_path / "cgroup", tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(own)
    service = root / "system.slice" / "cortexd.service"
    (service / "daemon").mkdir(parents=True)
    (service / "cgroup.controllers").write_text(controllers + "\n")
    return root, proc


def made(tmp_path: Path, own: str = V2, **there: str) -> tuple[Cgroups, Path]:
    root, proc = machine(tmp_path, own, **there)
    return Cgroups("abc", str(root), str(proc)), root / "system.slice" / "cortexd.service"


def test_version_2_is_delegated_beside_the_daemons_own_group(tmp_path: Path) -> None:
    groups, service = made(tmp_path)
    assert (groups.version, groups.reason) == (2, "")
    assert (service / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (service / "cortex-abc" / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"


def test_version_2_bounds_an_attempt_and_reads_what_it_used(tmp_path: Path) -> None:
    groups, service = made(tmp_path)
    box = groups.make("task.7", cpu=True)
    assert box is not None
    folder = service / "cortex-abc" / "task.7"
    box.enter()
    assert (folder / "cgroup.procs").read_text() == "0"
    box.leave()
    assert (service / "daemon" / "cgroup.procs").read_text() == "0"
    (folder / "memory.swap.max").touch()
    (folder / "memory.oom.group").touch()
    box.bound(64_000_000, 100, 1500)
    found = {path.name: path.read_text() for path in folder.iterdir() if path.name != "cgroup.procs"}
    assert found == {
        "memory.max": "64000000",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "100",
        "cpu.max": "150000 100000",
    }
    (folder / "memory.peak").write_text("1234\n")
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 0\noom_kill 0\noom_group_kill 0\n")
    assert (box.peak_bytes(), box.out_of_memory()) == (1234, False)
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 1\n")
    assert box.out_of_memory()


def test_version_2_kills_all_at_once_where_the_kernel_can(tmp_path: Path) -> None:
    groups, service = made(tmp_path)
    box = groups.make("task.7", cpu=False)
    assert box is not None
    folder = service / "cortex-abc" / "task.7"
    (folder / "cgroup.kill").touch()
    box.kill()
    assert (folder / "cgroup.kill").read_text() == "1"


def test_version_2_kills_one_by_one_where_it_cannot(tmp_path: Path) -> None:
    groups, service = made(tmp_path)
    box = groups.make("task.7", cpu=False)
    assert box is not None
    with subprocess.Popen(["sleep", "1000"]) as process:
        (service / "cortex-abc" / "task.7" / "cgroup.procs").write_text(f"{process.pid}\n")
        box.kill()
        assert process.wait() == -9


def test_a_folder_of_groups_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    groups, service = made(tmp_path)
    shutil.rmtree(service / "cortex-abc")
    box = groups.make("task.7", cpu=False)
    assert box is not None
    box.bound(64_000_000, 100, 0)
    assert (service / "cortex-abc" / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (service / "cortex-abc" / "task.7" / "memory.max").exists()


def test_what_is_not_empty_is_removed_later(tmp_path: Path) -> None:
    groups, service = made(tmp_path)
    box = groups.make("task.7", cpu=False)
    assert box is not None
    left = service / "cortex-abc" / "task.7" / "still.there"
    left.touch()
    groups.remove(box)
    assert left.exists()
    left.unlink()
    groups.sweep()
    assert not left.parent.exists()


def test_what_an_earlier_supervisor_left_is_removed(tmp_path: Path) -> None:
    groups, service = made(tmp_path)
    groups.make("task.7", cpu=False)
    again = Cgroups("abc", str(tmp_path / "cgroup"), str(tmp_path / "proc"))
    again.clear()
    assert not (service / "cortex-abc" / "task.7").exists()


def test_without_delegation_there_are_none_and_it_is_said(tmp_path: Path) -> None:
    groups, _ = made(tmp_path, controllers="cpu io")
    assert groups.version == 0
    assert groups.reason == "the controllers memory and pids are not delegated to this daemon"
    assert groups.make("task.7", cpu=False) is None


def test_version_1_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    own = "3:memory:/docker/x\n2:pids:/\n1:cpu:/\n0::/\n"
    root, proc = machine(tmp_path, own)
    for path in ("memory/docker/x", "pids", "cpu"):
        (root / path).mkdir(parents=True)
    groups = Cgroups("abc", str(root), str(proc))
    assert groups.version == 1
    box = groups.make("task.7", cpu=True)
    assert box is not None
    box.bound(64_000_000, 100, 500)
    memory = root / "memory" / "docker" / "x" / "cortex-abc" / "task.7"
    assert (memory / "memory.limit_in_bytes").read_text() == "64000000"
    assert (root / "pids" / "cortex-abc" / "task.7" / "pids.max").read_text() == "100"
    assert (root / "cpu" / "cortex-abc" / "task.7" / "cpu.cfs_quota_us").read_text() == "50000"
    (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert box.out_of_memory()


def test_version_1_bounds_what_it_may_where_cores_are_not_delegated(tmp_path: Path) -> None:
    root, proc = machine(tmp_path, "3:memory:/u\n2:pids:/u\n1:cpu:/\n0::/\n")
    for path in ("memory/u", "pids/u", "cpu"):
        (root / path).mkdir(parents=True)
    (root / "cpu" / "cortex-abc").touch()  # no folder can be made there
    groups = Cgroups("abc", str(root), str(proc))
    assert (groups.version, groups.bounds_cpu) == (1, False)
    box = groups.make("task.7", cpu=True)
    assert box is not None
    box.bound(64_000_000, 100, 500)
    assert (root / "pids" / "u" / "cortex-abc" / "task.7" / "pids.max").read_text() == "100"


def test_a_group_that_cannot_be_entered_is_none(tmp_path: Path) -> None:
    groups, service = made(tmp_path)
    (service / "cortex-abc" / "trial" / "cgroup.procs").mkdir(parents=True)
    groups.try_out()
    assert (groups.version, groups.reason) == (0, "no control group can be entered: Is a directory")
    assert groups.make("task.7", cpu=False) is None


@needs_groups
def test_a_group_is_entered_and_left_for_real() -> None:
    groups = Cgroups(f"test-{os.getpid()}")
    before = Path("/proc/self/cgroup").read_text()
    box = groups.make("task.7", cpu=True)
    assert box is not None
    try:
        box.enter()
        assert "task.7" in Path("/proc/self/cgroup").read_text()
        assert os.getpid() in box.pids()
    finally:
        box.leave()
        assert Path("/proc/self/cgroup").read_text() == before
        assert box.remove()
        groups.close()


@pytest.mark.parametrize("text", ["", "nonsense", "0::/nowhere\n"])
def test_what_cannot_be_read_is_no_group(tmp_path: Path, text: str) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(text)
    assert Cgroups("abc", str(tmp_path / "none"), str(tmp_path)).version == 0
