"""Daemons that cannot start: one sentence of cause, one of remedy, and no harm to what is there."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Cluster, free_ports
from tests.e2e.refusals import PATIENCE_S, cortex, environ, refused, until

pytestmark = pytest.mark.e2e

DAEMON = [sys.executable, "-m", "node.cli", "run"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("c"), voters=1)
    made.start()
    until(lambda: made.cortex("status").returncode == 0)
    yield made
    made.close()


def cortexd(*arguments: str, program: list[str] | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [*(program or DAEMON), *arguments]
    return subprocess.run(command, env=environ({}), capture_output=True, timeout=PATIENCE_S, check=False)


def flags(data: Path, port: int, secret: Path) -> list[str]:
    address = f"127.0.0.1:{port}"
    own = ["--id", "a", "--data", str(data), "--listen", address, "--voters", f"a={address}"]
    return [*own, "--secret-file", str(secret)]


def last_words(done: subprocess.CompletedProcess[bytes]) -> tuple[str, str]:
    """Cause and remedy below the daemon's log, which is JSON on every line."""
    lines = done.stderr.decode().splitlines()
    assert all(json.loads(line) for line in lines[:-2])
    done.stderr = "\n".join(lines[-2:]).encode()
    return refused(done)


def test_two_daemons_on_one_folder(cluster: Cluster) -> None:
    node = next(iter(cluster.nodes.values()))
    done = cortexd(*flags(node.data, free_ports(1)[0], cluster.secret))
    cause, remedy = last_words(done)
    assert (done.returncode, cause) == (1, f"Another cortexd already runs on the data folder {node.data}.")
    assert "--data" in remedy
    assert cluster.cortex("submit", "--wait", "--", "echo", "still here").stdout == b"still here\n"


def test_a_port_in_use(cluster: Cluster, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cortexd(*flags(tmp_path / "a", port, cluster.secret))
        cause, remedy = last_words(done)
        assert (done.returncode, cause) == (
            2,
            f"The address 127.0.0.1:{port} cannot be bound: address already in use.",
        )
        assert "--listen" in remedy


def test_a_cluster_whose_port_is_taken_is_unharmed(tmp_path: Path) -> None:
    data = tmp_path / "d"
    up = ["up", "--headless", "--no-sample", "--data", str(data)]
    try:
        assert cortex(*up, "--voters", "1", variables={}, folder=tmp_path).returncode == 0
        kept = cortex("submit", "--data", str(data), "--wait", "--", "echo", "kept", variables={}, folder=tmp_path)
        assert kept.stdout == b"kept\n"
        assert cortex("down", "--data", str(data), variables={}, folder=tmp_path).returncode == 0
        address = json.loads((data / "cluster.json").read_text())["nodes"][0]["address"]
        with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
            cause, remedy = refused(done := cortex(*up, variables={}, folder=tmp_path))
            assert (done.returncode, cause) == (1, f"Another program listens on {address} of n1.")
            assert "ss -ltnp" in remedy
        assert cortex(*up, variables={}, folder=tmp_path).returncode == 0
        listed = cortex("tasks", "--data", str(data), "--json", variables={}, folder=tmp_path)
        assert json.loads(listed.stdout)["total"] == 1
    finally:
        cortex("down", "--data", str(data), variables={}, folder=tmp_path)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        ("/dev/null/x", "cannot be written: Not a directory."),
        ("/proc/x", "cannot be written"),
        ("/" + "d" * 100, "its path is 6 bytes too long for the unix socket in it."),
    ],
)
def test_a_folder_that_cannot_be_used(cluster: Cluster, data: str, cause: str) -> None:
    done = cortexd(*flags(Path(data), free_ports(1)[0], cluster.secret))
    said, _ = last_words(done)
    assert done.returncode == 2
    assert cause in said


def test_a_daemon_without_raftos_names_the_command_that_brings_it(cluster: Cluster, tmp_path: Path) -> None:
    masked = "import sys; sys.modules['raftos'] = None; from node.cli import main; main()"
    program = [sys.executable, "-c", masked, "run"]
    done = cortexd(*flags(tmp_path / "a", free_ports(1)[0], cluster.secret), program=program)
    cause, remedy = refused(done)
    assert (done.returncode, remedy) == (1, "Run: pip install --no-deps raftos==0.2.6")
    assert "raftos is not installed" in cause
    assert not (tmp_path / "a").exists()
    assert cortexd("--help", program=program[:-1]).returncode == 0


@pytest.mark.parametrize(
    ("content", "mode", "cause"),
    [
        (None, 0o600, "cannot be read: No such file or directory."),
        (b"short", 0o600, "is not 32 or more characters."),
        (b"\xff" * 40, 0o600, "is not text."),
        (b"s" * 40, 0o644, "Others may read the cluster's secret"),
    ],
)
def test_a_secret_that_is_none(tmp_path: Path, content: bytes | None, mode: int, cause: str) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
        secret.chmod(mode)
    done = cortexd(*flags(tmp_path / "a", free_ports(1)[0], secret))
    said, remedy = refused(done)
    assert done.returncode == 2
    assert cause in said
    assert "chmod 600" in remedy
