"""The working directory is opened once: whoever swaps a part of its path afterwards gains nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Cause
from node.worker.sandbox import arguments
from tests.node.sandbox_kit import BOTH, NONE, lines, needs_sandbox, sandboxes

pytestmark = needs_sandbox
needs_descriptors = pytest.mark.skipif(
    not arguments.takes_descriptors("bwrap"), reason="needs a bubblewrap that knows --bind-fd (0.10, or patched)"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory below one that can be renamed."""
    folder = tmp_path / "root" / "sub" / "project"
    folder.mkdir(parents=True)
    (tmp_path / "away" / "project").mkdir(parents=True)
    for each in (folder, tmp_path / "away" / "project"):
        each.chmod(0o777)
    return folder


def swap(project: Path) -> str:
    """Commands of a shell that put a link to another directory into the path of `project`."""
    root = project.parents[1]
    return f"mv {root}/sub {root}/former && ln -s {root.parent}/away {root}/sub\n"


def standing_in(tmp_path: Path, script: str, *, older: bool = False) -> str:
    """A program that does something and goes on as bubblewrap, or as a release of it that binds paths only."""
    real = shutil.which("bwrap")
    options = f"{real} --help | grep -v -e -fd; exit 0" if older else f"exec {real} --help"
    program = tmp_path / "bwrap"
    program.write_text(f'#!/bin/sh\n[ "$1" != --help ] || {{ {options}; }}\n{script}exec {real} "$@"\n')
    program.chmod(0o755)
    return str(program)


@needs_descriptors
@BOTH
async def test_a_swap_behind_the_check_changes_nothing(tmp_path: Path, project: Path, level: int) -> None:
    bwrap = standing_in(tmp_path, swap(project))
    async with sandboxes(tmp_path / "data", bwrap=bwrap) as here:
        assert lines(await here.run(level, "pwd; echo x > made", cwd=str(project))) == [str(project)]
    assert os.listdir(tmp_path / "away" / "project") == []
    assert os.listdir(tmp_path / "root" / "former" / "project") == ["made"], "the one that was checked"


@BOTH
async def test_a_swap_behind_the_check_is_seen(tmp_path: Path, project: Path, level: int) -> None:
    bwrap = standing_in(tmp_path, swap(project), older=True)
    async with sandboxes(tmp_path / "data", bwrap=bwrap) as here:
        result = await here.run(level, "pwd; echo x > made", cwd=str(project))
    assert (result.cause, result.stdout.total_bytes) == (Cause.CAUSE_CANNOT_START, 0), result
    assert "its working directory became another one while it began. Name a" in result.error
    for folder in ("away", "root/former"):
        assert os.listdir(tmp_path / folder / "project") == []


@BOTH
async def test_an_older_bubblewrap_runs_all_the_same(tmp_path: Path, project: Path, level: int) -> None:
    bwrap = standing_in(tmp_path, "", older=True)
    async with sandboxes(tmp_path / "data", bwrap=bwrap, open_files=100) as here:
        script = "pwd; ls /proc/self/fd | wc -l; ulimit -n"
        assert lines(await here.run(level, script, cwd=str(project))) == [str(project), "4", "100"]
        assert lines(await here.run(level, "pwd")) == [str(tmp_path / "data" / "work" / "1")]


@pytest.mark.parametrize("gone", [False, True], ids=["link", "removed"])
async def test_a_swap_before_the_start_is_refused(tmp_path: Path, project: Path, gone: bool) -> None:
    async with sandboxes(tmp_path / "data") as here:
        order = here.order(NONE, "pwd", cwd=str(project))
        project.parent.rename(tmp_path / "root" / "former")
        if not gone:
            project.parent.symlink_to(tmp_path / "away")
        here.watched.port.spawn([order])
        result = await here.end(order)
    assert result.cause == Cause.CAUSE_CANNOT_START
    assert ("does not exist on this node" if gone else "a link to it changed meanwhile") in result.error
