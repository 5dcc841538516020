"""cortex up and down: folders, ports, daemons that end, that do not, and that never begin."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui.command_line import CommandLine
from tui.errors import ClusterError
from tui.link.target import from_folder
from tui.machine import local
from tui.machine.local import LocalCluster, free_ports
from tui.machine.process import arguments_of, descendants, is_alive
from tui.machine.ready import wait_for_supervisors, wait_until_joined, wait_until_led

# Stands for cortexd: tells its arguments and environment, starts a "supervisor" with a command, ends on TERM.
DAEMON = """
import json, os, signal, subprocess, sys, time
folder = sys.argv[sys.argv.index("--data") + 1]
if os.path.exists(folder + "/../fail"):
    print("cortexd: The address is in use.\\nChoose another.", file=sys.stderr)
    sys.exit(1)
shell = "trap 'exit 0' TERM; sleep 1000 & wait"
supervisor = subprocess.Popen(["sh", "-c", shell, "supervisor", "--data", folder], start_new_session=True)
if os.path.exists(folder + "/../deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(folder + "/supervisor.pid", "w").write(str(supervisor.pid))
open(folder + "/said", "w").write(json.dumps({"argv": sys.argv[1:], "env": sorted(os.environ)}))
while True:
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for a cluster of stand-ins; whatever still runs on it is killed in the end."""
    program = tmp_path / "daemon.py"
    program.write_text(DAEMON)
    monkeypatch.setattr(local, "cortexd", lambda: [sys.executable, str(program)])
    monkeypatch.setenv("CORTEX_DATA", "/elsewhere")
    data = tmp_path / "data"
    yield data
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and any(part.startswith(str(data)) for part in arguments_of(int(entry.name))):
            os.kill(int(entry.name), 9)


def begin(cluster: LocalCluster) -> list[str]:
    """Starts the stand-ins, each with a pipe to say what it was told."""
    for node in cluster.nodes:
        (cluster.folder / node.id).mkdir()
        os.mkfifo(cluster.folder / node.id / "said")
    return cluster.start()


def until(holds: Callable[[], object]) -> None:
    """Wait for what a process does that tells nobody."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def told(folder: Path, node: str) -> dict[str, list[str]]:
    """What the stand-in of a node says, once it runs."""
    pipe = os.open(folder / node / "said", os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(pipe) as said:
        assert select.select([said], [], [], 60)[0], "it did not start"
        document: dict[str, list[str]] = json.loads(said.read())
    return document


async def test_daemons_start_as_the_contract_says(folder: Path) -> None:
    cluster = LocalCluster.create(folder, 2, 1)
    assert begin(cluster) == ["n1", "n2", "n3"]
    addresses = [node.address for node in cluster.nodes]
    assert len(set(addresses)) == 3
    first, _, third = (told(folder, node) for node in ("n1", "n2", "n3"))
    voters = f"n1={addresses[0]},n2={addresses[1]}"
    secret = str(folder / "secret")
    data = str(folder / "n1")
    assert first["argv"] == [
        *(
            "run",
            "--id",
            "n1",
            "--data",
            data,
            "--listen",
            addresses[0],
            "--voters",
            voters,
            "--secret-file",
            secret,
        )
    ]
    assert third["argv"][7:] == [
        "--join",
        addresses[0],
        "--join",
        addresses[1],
        "--worker",
        "--secret-file",
        secret,
    ]
    assert not [name for name in first["env"] if name.startswith("CORTEX_")]
    for name in ("secret", "cluster.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert len((folder / "secret").read_text().strip()) == 64
    assert [target.node for target in from_folder(folder).targets] == ["n1", "n2", "n3"]
    # A process has no arguments yet for a moment after its start, so the first look may miss one.
    await wait_for_supervisors(cluster)
    nodes = json.loads((folder / "cluster.json").read_text())["nodes"]
    assert set(nodes[0]) == {"id", "address", "socket", "pid", "supervisor_pid", "role"}
    assert [node["role"] for node in nodes] == ["voter", "voter", "worker"]
    assert all(is_alive(node["supervisor_pid"]) for node in nodes)


def test_further_settings_are_those_of_the_cluster_s_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "cortexd.toml").touch()
    cluster = LocalCluster.create(folder, 1, 0)
    begin(cluster)
    argv = told(folder, "n1")["argv"]
    assert argv[argv.index("--config") + 1] == str(folder / "cortexd.toml")
    cluster.stop(keep_running=False, say=lambda _: None)


def test_down_ends_pools_unless_all_is_to_run_on(folder: Path) -> None:
    cluster = LocalCluster.create(folder, 1, 0)
    shell = "trap 'exit 0' TERM; echo; sleep 1000 & wait"
    host = subprocess.Popen(["sh", "-c", shell, "host", "--data", str(folder / "n1")], stdout=subprocess.PIPE)
    assert host.stdout is not None
    host.stdout.readline()
    cluster.stop(keep_running=True, say=lambda _: None)
    assert host.poll() is None
    cluster.stop(keep_running=False, say=lambda _: None)
    assert host.wait(30) == 0
    host.stdout.close()


def test_down_ends_daemons_and_supervisors(folder: Path) -> None:
    cluster = LocalCluster.create(folder, 2, 0)
    begin(cluster)
    for node in ("n1", "n2"):
        told(folder, node)
    supervisors = [int((folder / node / "supervisor.pid").read_text()) for node in ("n1", "n2")]
    again = LocalCluster.load(folder)
    assert again.any_runs()
    said: list[str] = []
    again.stop(keep_running=False, say=said.append)
    assert said == []
    assert not any(is_alive(pid) for pid in supervisors)
    assert [node.pid for node in LocalCluster.load(folder).nodes] == [None, None]
    assert not LocalCluster.load(folder).any_runs()


def test_down_finds_what_an_interrupted_start_left_unnamed(folder: Path) -> None:
    cluster = LocalCluster.create(folder, 1, 0)
    begin(cluster)
    told(folder, "n1")
    pid = cluster.nodes[0].pid
    assert pid is not None
    supervisor = int((folder / "n1" / "supervisor.pid").read_text())
    (folder / "n1" / "supervisor.pid").unlink()
    unnamed = LocalCluster(folder, [replace(cluster.nodes[0], pid=None)])
    unnamed.stop(keep_running=False, say=print)
    assert not is_alive(pid)
    assert not is_alive(supervisor)


def test_keep_running_leaves_the_supervisors(folder: Path) -> None:
    cluster = LocalCluster.create(folder, 1, 0)
    begin(cluster)
    told(folder, "n1")
    pid = int((folder / "n1" / "supervisor.pid").read_text())
    cluster.stop(keep_running=True, say=print)
    assert is_alive(pid)
    assert LocalCluster.load(folder).nodes[0].supervisor_pid == pid
    until(lambda: descendants(pid))
    LocalCluster.load(folder).stop(keep_running=False, say=print)
    assert not is_alive(pid)


def test_a_command_that_is_just_being_started_is_no_supervisor(folder: Path) -> None:
    cluster = LocalCluster.create(folder, 1, 0)
    program = "import os, time; os.fork() or print(flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", program, "supervisor", "--data", str(folder / "n1")],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as supervisor:
        assert supervisor.stdout is not None
        supervisor.stdout.readline()
        assert cluster._processes("supervisor") == [(supervisor.pid, "n1")]
        os.killpg(supervisor.pid, signal.SIGKILL)


def test_a_deaf_daemon_is_killed_and_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "DAEMONS_END_S", 1.0)
    cluster = LocalCluster.create(folder, 1, 0)
    (folder / "deaf").touch()
    begin(cluster)
    told(folder, "n1")
    said: list[str] = []
    cluster.stop(keep_running=False, say=said.append)
    assert len(said) == 1
    assert "did not stop in time" in said[0]


async def test_a_daemon_that_ends_gives_its_own_words(folder: Path) -> None:
    cluster = LocalCluster.create(folder, 1, 0)
    (folder / "fail").touch()
    begin(cluster)

    async def no_status() -> object:
        raise ClusterError("unreachable", "Nobody there.", "")

    with pytest.raises(ClusterError) as caught:
        await wait_until_led(cluster, no_status)
    assert caught.value.message == "n1 ended: The address is in use. Choose another."
    assert caught.value.exit_code == 1


def test_a_large_log_is_put_aside_at_a_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_LOG_BYTES", 9)
    cluster = LocalCluster.create(folder, 2, 0)
    (folder / "fail").touch()
    for name, text in (("n1", "a" * 10), ("n2", "b" * 9)):
        (folder / name).mkdir()
        (folder / name / "cortexd.log").write_text(text)
        (folder / name / "cortexd.log.1").write_text("old")
    cluster.start()
    assert (folder / "n1" / "cortexd.log.1").read_text() == "a" * 10
    assert not (folder / "n1" / "cortexd.log").read_text().startswith("a")
    assert (folder / "n2" / "cortexd.log.1").read_text() == "old"
    assert (folder / "n2" / "cortexd.log").read_text().startswith("b" * 9)


async def test_no_leader_in_time(folder: Path) -> None:
    cluster = LocalCluster.create(folder, 1, 0)
    begin(cluster)

    async def no_status() -> object:
        raise ClusterError("no_leader", "There is no leader.", "")

    with pytest.raises(ClusterError, match="did not get ready within 0 s: There is no leader") as caught:
        await wait_until_led(cluster, no_status, timeout_s=0)
    assert caught.value.exit_code == 4


async def test_it_has_begun_when_its_nodes_can_be_asked_for(folder: Path) -> None:
    cluster = LocalCluster.create(folder, 1, 1)
    begin(cluster)
    ids = [node.id for node in cluster.nodes]
    asked = 0

    async def nodes() -> cluster_pb2.ListNodesReply:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ClusterError("no_leader", "There is no leader.", "")
        views = [
            cluster_pb2.NodeView(node=types_pb2.Node(id=node_id, online=asked > 2)) for node_id in ids[: asked - 1]
        ]
        return cluster_pb2.ListNodesReply(nodes=views)

    assert await wait_until_joined(cluster, nodes) == []
    assert asked == 3
    asked = 1
    assert await wait_until_joined(cluster, nodes, timeout_s=0) == ids


async def test_a_node_that_ends_before_it_joined_is_not_waited_for(folder: Path) -> None:
    cluster = LocalCluster.create(folder, 1, 1)
    (folder / "fail").touch()
    begin(cluster)

    async def nobody() -> cluster_pb2.ListNodesReply:
        return cluster_pb2.ListNodesReply()

    with pytest.raises(ClusterError, match="ended: The address is in use"):
        await wait_until_joined(cluster, nobody)


def test_a_port_in_use_is_named(folder: Path) -> None:
    cluster = LocalCluster.create(folder, 2, 0)
    host, port = cluster.nodes[1].address.split(":")
    with socket.socket() as other:
        other.bind((host, int(port)))
        other.listen()
        with pytest.raises(ClusterError, match=f"Another program listens on {host}:{port} of n2"):
            cluster.start()
    assert not cluster.any_runs()


def test_another_programs_pid_is_not_ours(folder: Path) -> None:
    cluster = LocalCluster.create(folder, 1, 0)
    document = json.loads((folder / "cluster.json").read_text())
    document["nodes"][0].update(pid=os.getpid(), supervisor_pid=os.getpid())
    (folder / "cluster.json").write_text(json.dumps(document))
    cluster = LocalCluster.load(folder)
    assert not cluster.any_runs()
    cluster.stop(keep_running=False, say=print)


def test_a_folder_too_long_for_sockets(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="too long"):
        LocalCluster.create(tmp_path / ("x" * 120), 3, 0)


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child.pid)
    assert arguments_of(child.pid) == []
    child.wait()


async def test_up_and_down_for_real(tmp_path: Path) -> None:
    cortex = CommandLine(tmp_path)
    data = str(tmp_path / "lab")
    up = await cortex("up", "--headless", "--no-sample", "--voters", "1", "--data", data)
    try:
        assert up.code == 0, up.err
        ran = await cortex("submit", "--wait", "--", "sh", "-c", "echo hi; exit 7")
        assert (ran.code, ran.out) == (7, b"hi\n")
        assert (await cortex("status", "--json")).document["leader"] == "n1"
        again = await cortex("up", "--headless", "--data", data)
        assert "already" in again.text
        more = await cortex("up", "--headless", "--voters", "3", "--data", data)
        assert (more.code, more.err.splitlines()[0]) == (2, f"cortex: The cluster in {data} has 1 voter, not 3.")
    finally:
        down = await cortex("down", "--data", data)
    assert (down.code, down.text) == (0, "ended n1\n")
    assert (await cortex("down", "--data", data)).text == f"no daemon was running in {data}\n"
    assert (await cortex("status")).err.startswith("cortex: No cluster is named.")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("up", "--data", "lab"), 2, "The console needs a terminal."),
        (("up", "--headless", "--data", "/proc/lab"), 1, "The data folder /proc/lab cannot be written"),
        (("up", "--headless", "--data", "/etc"), 2, "/etc is in use by something else than a cluster."),
        (("up", "--headless", "--voters", "0"), 2, "Invalid value for '--voters': 0 is not in the range"),
        (("down", "--data", "lab"), 4, ""),
        (("down", "--cluster", "h:1"), 2, "down ends daemons of this machine."),
    ],
)
async def test_bad_input(tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    ran = await CommandLine(tmp_path)(*arguments)
    assert ran.code == code
    assert ran.err.startswith(f"cortex: {sentence}")
    assert ran.err.count("\n") == 2


def test_the_folder_of_a_stopped_daemon_is_no_place_for_a_new_cluster(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with pytest.raises(ClusterError, match="does not run") as caught:
        from_folder(tmp_path)
    assert "systemctl start cortexd" in caught.value.remedy


def test_a_folder_of_another_user_is_said_to_be_one(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    # As root a permission does not count: the child looks as nobody.
    program = (
        "import os, sys; from pathlib import Path; from tui.errors import ClusterError\n"
        "from tui.link.target import from_folder\n"
        "os.geteuid() or os.seteuid(65534)\n"
        "try: from_folder(Path(sys.argv[1]))\n"
        "except ClusterError as error: print(error.message, error.remedy)\n"
    )
    shown = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith(f"{folder} must not be read by this user. Run this as the daemon's user")
