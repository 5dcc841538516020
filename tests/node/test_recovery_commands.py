"""What `cortexd snapshot`, `recover` and `repair` refuse, and that a refusal leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli import cli
from node.core.faults import Fault
from tests.node.test_recovery import THREE, entries_of, voter_folder

SECRET = "5" * 64


def refusal(*arguments: str) -> Fault:
    result = CliRunner().invoke(cli, arguments)
    assert isinstance(result.exception, Fault), (result.exception, result.output)
    return result.exception


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("snapshot", "inspect", "{}/none"), "cannot be read"),
        (("snapshot", "inspect", "{}/secret"), "cannot be used"),
        (("snapshot", "save", "{}/file", "--data", "{}/none"), "There is no folder"),
        (("snapshot", "save", "{}/file", "--data", "{}"), "holds no log"),
        (("snapshot", "restore", "{}/none", "--data", "{}/new", "--id", "n1", "--listen", "here"), "host:port"),
        (("snapshot", "restore", "{}/none", "--data", "{}/new", "--id", "a/b", "--listen", "127.0.0.1:1"), "a/b"),
        (("snapshot", "restore", "{}/none", "--data", "{}/new", "--id", "n1", "--listen", "127.0.0.1:1"), "secret"),
        (("recover", "--data", "{}/none", "--id", "n1"), "There is no folder"),
        (("recover", "--data", "{}", "--id", "n1"), "holds no log"),
        (("recover", "--data", "{}", "--id", "n1", "--listen", "10.0.0.1:7"), "TLS"),
        (("repair", "--data", "{}", "--id", "n1"), "holds no log"),
    ],
)
def test_what_is_refused_leaves_nothing(arguments: tuple[str, ...], cause: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    fault = refusal(*(argument.replace("{}", str(tmp_path)) for argument in arguments))
    assert cause in fault.message
    assert fault.remedy
    assert {file.name for file in tmp_path.iterdir()} <= {"secret", "lock"}


def test_a_secret_that_is_elsewhere_is_to_be_named(tmp_path: Path) -> None:
    fault = refusal("recover", "--data", str(tmp_path), "--id", "n1")
    assert f"The cluster's secret {tmp_path / 'secret'} cannot be read" in fault.message
    assert "with --secret-file" in fault.remedy


def test_the_environment_names_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEX_SECRET_FILE", str(tmp_path / "elsewhere"))
    assert str(tmp_path / "elsewhere") in refusal("repair", "--data", str(tmp_path), "--id", "n1").message


async def test_the_secret_of_a_cluster_that_up_made_is_found_and_named_for_the_start(tmp_path: Path) -> None:
    entries, _ = await entries_of(tmp_path / "made", 1)
    data = tmp_path / "n1"
    voter_folder(data, [replace(entries[0], membership=THREE.encode()), *entries[1:]], saved=1, snapshot=0)
    arguments = ("recover", "--data", str(data), "--id", "n1", "--yes")
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    assert "cannot be read" in refusal(*arguments).message
    (tmp_path / "cluster.json").write_text("{}")
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].endswith(f"--voters n1=a:1 --secret-file {tmp_path / 'secret'}")
