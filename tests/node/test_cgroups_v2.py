"""Control groups of version 2 by a real kernel: a user-mode Linux, as a machine has only one version."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BOOT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH={root} PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 groups /sys/fs/cgroup
{python} -S -s {root}/tests/node/cgroups_v2.py
{python} -S -c 'import ctypes; ctypes.CDLL(None).reboot({power_off})'
"""
OPTIONS = [
    "root=/dev/root",
    "rootfstype=hostfs",
    "rootflags=/",
    "ro",
    "mem=256M",
    "quiet",
    "con=null",
    "con0=null,fd:2",
    "con1=fd:0,fd:1",
]
POWER_OFF = 0x4321FEDC  # RB_POWER_OFF of linux/reboot.h
PATIENCE_S = 300.0

pytestmark = pytest.mark.skipif(
    shutil.which("linux.uml") is None or shutil.which("setpriv") is None,
    reason="needs a user-mode Linux (Debian: user-mode-linux) and setpriv",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was found by root, by a user to whom a group was given, and by one to whom none was."""
    boot = tmp_path_factory.mktemp("boot") / "init"
    boot.write_text(BOOT.format(root=ROOT, python=sys.executable, power_off=POWER_OFF))
    boot.chmod(0o755)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"
    with subprocess.Popen(
        ["linux.uml", *OPTIONS, f"init={boot}"],
        env={"PATH": "/usr/bin:/bin", "TMPDIR": memory, "HOME": str(boot.parent)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            said = process.communicate(timeout=PATIENCE_S)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    line = next((each for each in said.splitlines() if each.startswith("FOUND ")), "")
    assert line, said[-3000:]
    result: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
    return result


@pytest.mark.parametrize("who", ["root", "delegated"])
def test_the_kernel_takes_the_bounds_and_tells_what_was_used(found: dict[str, Any], who: str) -> None:
    seen = found[who]
    assert (seen["version"], seen["cpu"]) == (2, True)
    assert seen["files"] == {
        "memory.max": str(10_000_000 // 4096 * 4096),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "50",
        "cpu.max": "150000 100000",
        "cgroup.controllers": "cpu memory pids",
    }
    assert (seen["hog"], seen["hog was out of memory"]) == (-signal.SIGKILL, True)
    assert 5_000_000 < seen["hog's peak"] <= 10_000_000
    assert (seen["quiet"], seen["bomb was out of memory"]) == (0, False)


@pytest.mark.parametrize("who", ["root", "delegated"])
def test_what_is_left_is_killed_and_the_groups_go(found: dict[str, Any], who: str) -> None:
    seen = found[who]
    assert 0 < seen["bomb left"] < 5
    assert seen["removed while busy"] is False
    assert (seen["removed"], seen["left"]) == ([True, True, True], [])


def test_a_user_without_a_group_is_told_so(found: dict[str, Any]) -> None:
    why = "no control group can be made: Permission denied; have one delegated to the daemon's user"
    assert found["not delegated"] == {"version": 0, "reason": why, "cpu": False}


def test_the_files_look_as_the_tests_with_folders_have_them(found: dict[str, Any]) -> None:
    words = [line.split()[0] for line in found["root"]["read"]["memory.events"].splitlines()]
    assert words == ["low", "high", "max", "oom", "oom_kill", "oom_group_kill"]
    assert found["root"]["read"]["memory.peak"].strip().isdecimal()
