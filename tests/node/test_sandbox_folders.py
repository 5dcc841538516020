"""Working directories, settings of shell tasks, and what the shell executor makes of both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Cause, EnvVar, TaskSpec
from cortex.v1.worker_pb2 import Assignment
from node.core.faults import Fault
from node.worker.executors.port import CannotPrepare, Setup
from node.worker.executors.shell import ShellExecutor
from node.worker.sandbox import options
from node.worker.sandbox.folders import real_folder
from node.worker.updates import Updates
from tests.node.sandbox_kit import NONE, STRICT, lines, needs_sandbox, sandboxes
from tests.node.supervisor_kit import supervised
from tests.node.worker_kit import assignment, key


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "project").mkdir(parents=True)
    return folder


def test_a_directory_below_a_root_is_taken_by_its_real_path(data: Path, root: Path) -> None:
    (root / "link").symlink_to("project")
    for cwd in (root, root / "project", root / "link", root / "project" / ".." / "project"):
        found = real_folder(str(cwd), data, [root], sandboxed=False)
        assert found == os.path.realpath(cwd)


def test_roots_may_themselves_be_links(data: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "named").symlink_to(root)
    assert real_folder(f"{tmp_path}/named/project", data, [tmp_path / "named"], sandboxed=False)
    assert real_folder(f"{root}/project", data, [tmp_path / "named"], sandboxed=False)


def test_what_leads_out_of_the_roots_is_refused(data: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "root-beside").mkdir()
    (root / "out").symlink_to("/etc")
    (root / "up").symlink_to("../root-beside")
    for cwd in ("/etc", root / "out", root / "up", root / ".." / "root-beside", tmp_path, tmp_path / "root-beside"):
        with pytest.raises(CannotPrepare, match=r"is outside of what this node allows .*Name one below"):
            real_folder(str(cwd), data, [root], sandboxed=False)


def test_the_daemons_folder_is_never_one(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    for cwd in (data, data / "work", tmp_path / "link", tmp_path / "link" / "output"):
        with pytest.raises(CannotPrepare, match="belongs to the daemon"):
            real_folder(str(cwd), data, [], sandboxed=False)
    assert real_folder(str(tmp_path), data, [], sandboxed=False) == os.path.realpath(tmp_path)


@pytest.mark.parametrize("cwd", ["/", "/usr", "/etc", "/tmp", "/proc/self", "/sys/kernel", "/var/.."])
def test_a_sandbox_makes_nothing_of_the_system_writable(data: Path, cwd: str) -> None:
    with pytest.raises(CannotPrepare, match="belongs to the system"):
        real_folder(cwd, data, [], sandboxed=True)
    assert real_folder(cwd, data, [], sandboxed=False)


async def test_a_link_that_is_turned_after_the_check_leads_nowhere(data: Path, root: Path, tmp_path: Path) -> None:
    turning = root / "turning"
    turning.symlink_to("project")
    setup = Setup(data, {"PATH": "/usr/bin:/bin"}, roots=(root,))
    command = ShellExecutor(setup).prepare(at(str(turning / "deep")))
    (root / "project" / "deep").mkdir()
    away = tmp_path / "away"
    (away / "deep").mkdir(parents=True)
    os.rename(root / "project", root / "former")
    (root / "project").symlink_to(away)
    async with supervised(tmp_path / "supervised") as watched:
        order = watched.order("pwd", cwd=command.cwd, limits=command.limits)
        watched.port.spawn([order])
        result = await watched.result(order.key)
    assert result.cause == Cause.CAUSE_CANNOT_START
    assert result.error.startswith(
        f"Working directory {root}/project/deep is now {away}/deep: a link to it changed"
    )


def at(cwd: str, **spec: object) -> Assignment:
    made = assignment(argv=[b"pwd"])
    made.spec.MergeFrom(TaskSpec(cwd=cwd, **spec))  # type: ignore[arg-type]
    return made


def test_an_executor_asks_for_nothing_where_nothing_is_configured(data: Path) -> None:
    command = ShellExecutor(Setup(data)).prepare(at(""))
    assert (command.cwd, command.limits) == ("", None)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"frob": 1}, "frob .* no such setting"),
        ({"pids": -1}, "pids .* -1 is no amount"),
        ({"memory_bytes": "1 GB"}, "memory_bytes .* '1 GB' is no amount"),
        ({"open_files": True}, "open_files .* True is no amount"),
        ({"user": "no-such-user-here"}, "user .*"),
        ({"user": "root"}, "user .*"),
    ],
)
def test_bad_settings(section: dict[str, object], words: str) -> None:
    with pytest.raises(Fault, match=rf"Setting {words}"):
        options.read(section)


def test_without_bubblewrap_the_levels_say_so(data: Path) -> None:
    executor = ShellExecutor(Setup(data, options={"bwrap": "/nowhere/bwrap"}))
    assert executor.probe().available, "level none needs none"
    offers = {each.level: (each.available, each.reason) for each in executor.sandboxes}
    why = "Bubblewrap (bwrap) is not installed. Install it and start the daemon again."
    assert offers == {1: (True, ""), 2: (False, why), 3: (False, why)}


def test_a_level_that_does_not_work_says_what_is_wrong(data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho bwrap: No permissions to create new namespace >&2\nexit 1\n")
    broken.chmod(0o755)
    executor = ShellExecutor(Setup(data, options={"bwrap": str(broken)}))
    executor.probe()
    assert not executor.sandboxes[1].available
    assert "No permissions to create new namespace" in executor.sandboxes[1].reason
    # One that lets everything through is found out, too.
    broken.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
    executor.probe()
    assert "it sees the processes of the machine" in executor.sandboxes[1].reason


@needs_sandbox
async def test_what_a_task_sets_itself_stays(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as here:
        spec = TaskSpec(sandbox=STRICT, env=[EnvVar(name="HOME", value=b"/mine")])
        env = here.levels.environment(spec, {b"HOME": b"/mine", b"PATH": b"/mine/bin:/usr/bin"})
        assert env[b"HOME"] == b"/mine"
        said = lines(await here.run(NONE, "echo $HOME", env={b"HOME": b"/any"}))
        assert said == ["/any"]


@needs_sandbox
async def test_a_command_of_a_workflow_updates_its_context(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as here:
        order = here.order(STRICT, "sh", "-c", 'echo "{}" > $CORTEX_CONTEXT_UPDATE')
        updates = Updates(tmp_path / "context")
        path, limits = updates.prepare(key(), order.limits)
        order.env = {**order.env, b"CORTEX_CONTEXT_UPDATE": path.encode()}
        order.limits = limits
        here.watched.port.spawn([order])
        assert (await here.end(order)).exit_code == 0
        assert updates.read(key()) == b"{}\n"
