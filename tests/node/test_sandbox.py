"""What a command in a sandbox sees of its machine, and what it cannot do."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from cortex.v1.types_pb2 import Cause
from node.worker.executors.port import CannotPrepare
from tests.node.sandbox_kit import BOTH, DEFAULT, NONE, STRICT, lines, needs_sandbox, sandboxes

pytestmark = needs_sandbox


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A data folder that is not in /tmp, and that everybody could read."""
    if not os.access("/srv", os.W_OK):
        pytest.skip("needs to write /srv (run as root)")
    folder = Path(mkdtemp(prefix="cortex-test-", dir="/srv"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@BOTH
async def test_it_sees_nothing_of_the_daemon(open_place: Path, level: int) -> None:
    (open_place / "secret").write_text("the secret")
    async with sandboxes(open_place) as here:
        said = lines(await here.run(level, f"ls -A {open_place} {open_place}/work; cat {open_place}/secret || pwd"))
    own = str(open_place / "work" / "1")
    assert said == [f"{open_place}:", "work", "", f"{open_place}/work:", "1", own]


@BOTH
async def test_it_sees_nothing_of_the_daemons_beside_its_own(open_place: Path, level: int) -> None:
    (open_place / "cluster.json").write_text("{}")
    (open_place / "n2").mkdir()
    (open_place / "secret").write_text("the secret")
    async with sandboxes(open_place / "n1") as here:
        said = lines(await here.run(level, f"ls -A {open_place}; pwd"))
        assert said == ["n1", str(open_place / "n1" / "work" / "1")]
        with pytest.raises(CannotPrepare, match="belongs to the daemon"):
            here.order(level, "pwd", cwd=f"{open_place}/n2")


@BOTH
async def test_it_writes_nothing_but_its_own(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path / "data") as here:
        places = "/usr/x /etc/x /x /proc/x" + " /dev/x" * (
            os.geteuid() == 0
        )  # strict has its own /dev, of the user
        script = (
            f"for each in {places} own /tmp/cortex-own; do (echo x > $each) 2>/dev/null && echo $each; done; true"
        )
        assert lines(await here.run(level, script)) == ["own", "/tmp/cortex-own"]
    assert "cortex-own" not in os.listdir("/tmp"), "its /tmp is private"
    assert (tmp_path / "data" / "work" / "1" / "own").read_text() == "x\n"


@BOTH
async def test_it_has_no_rights_of_root(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        said = lines(await here.run(level, "id -u; id -G; cat /proc/self/status; echo $HOME; pwd"))
    assert said[0] != "0"
    assert "0" not in said[1].split()
    status = dict(line.split(":\t") for line in said if ":\t" in line)
    assert {int(status[each], 16) for each in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == ("2" if level == STRICT else "0")
    if os.geteuid() == 0:
        assert int(status["CapBnd"], 16) == 0
        assert said[-2] == said[-1], "its home is its working directory"


@BOTH
async def test_it_sees_no_other_process(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        said = lines(
            await here.run(level, "ls /proc | grep -c '^[0-9]'; ls -l /proc/self/fd | wc -l; echo /proc/*/environ")
        )
        assert int(said[0]) <= 6, "its init, its shell, and these"
        assert int(said[1]) == 5, "stdin, stdout, stderr and the folder that ls reads"
        other = here.begin(NONE, "sleep", "1000")
        pid = (await here.watched.started(other.key)).pid
        assert (await here.run(level, f"kill -0 {pid}")).exit_code == 1


@pytest.mark.parametrize(("level", "code"), [(DEFAULT, 0), (STRICT, 1)], ids=["default", "strict"])
async def test_only_strict_has_no_network(tmp_path: Path, level: int, code: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        script = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        async with sandboxes(tmp_path) as here:
            order = here.begin(level, "/usr/bin/python3", "-c", script)
            assert (await here.end(order)).exit_code == code


async def test_strict_has_only_usr(tmp_path: Path) -> None:
    async with sandboxes(tmp_path / "data") as here:
        said = lines(await here.run(STRICT, "ls /; ls /etc; ls -A /tmp"))
    assert set(said) <= {*os.listdir("/"), *os.listdir("/etc"), tmp_path.parts[2]}
    assert not {"home", "root", "sys", "run", "var", "opt", "shadow", "hostname"} & set(said)


@BOTH
async def test_processes_of_it_share_memory(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        script = "import multiprocessing; multiprocessing.Lock(); print('shared')"
        assert lines(await here.end(here.begin(level, "/usr/bin/python3", "-c", script))) == ["shared"]
    assert not [each for each in os.listdir("/dev/shm") if each.startswith("mp-")]


async def test_strict_refuses_system_calls_that_open_a_way_out(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as here:
        for script in ("unshare --user true", "unshare --net true", "dmesg"):
            result = await here.run(STRICT, script)
            assert result.exit_code != 0
            assert b"not permitted" in result.stderr.head, script
        threads = "import threading; t = threading.Thread(target=print, args=('up',)); t.start(); t.join()"
        assert lines(await here.end(here.begin(STRICT, "/usr/bin/python3", "-c", threads))) == ["up"]


@BOTH
async def test_a_command_that_is_not_there_cannot_start(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        result = await here.end(here.begin(level, "no-such-command"))
        assert (result.cause, result.error.split(" (")[0]) == (
            Cause.CAUSE_CANNOT_START,
            "Command no-such-command is not in PATH",
        )
        result = await here.run(level, "echo 'bwrap: this is mine' >&2; exit 3")
        assert result.cause == Cause.CAUSE_EXIT


async def test_a_command_that_strict_does_not_show_cannot_start(tmp_path: Path) -> None:
    outside = tmp_path / "tool"
    outside.write_text("#!/bin/sh\n")
    outside.chmod(0o755)
    async with sandboxes(tmp_path / "data") as here:
        result = await here.end(here.begin(STRICT, str(outside)))
    assert result.cause == Cause.CAUSE_CANNOT_START
    assert result.error.startswith("The command cannot start in its sandbox: ")


@BOTH
async def test_a_folder_of_its_own_is_used_again_if_nothing_is_left_in_it(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        for _ in range(2):
            assert lines(await here.run(level, "touch x; rm x; pwd")) == [str(tmp_path / "work" / "1")]
        await here.run(level, "echo result > x")
        assert lines(await here.run(level, "pwd")) == [str(tmp_path / "work" / "2")]
    assert (tmp_path / "work" / "1").stat().st_uid == os.geteuid()


@BOTH
async def test_a_named_directory_is_writable_and_nothing_beside_it(tmp_path: Path, level: int) -> None:
    project, beside = tmp_path / "project", tmp_path / "beside"
    for folder in (project, beside):
        folder.mkdir()
        folder.chmod(0o777)
    async with sandboxes(tmp_path / "data") as here:
        script = f"pwd; echo x > made; (echo x > {beside}/made) 2>/dev/null || echo refused"
        assert lines(await here.run(level, script, cwd=str(project))) == [str(project), "refused"]
    assert (project / "made").exists()
    assert not (beside / "made").exists()
