"""Every command of the README runs as printed, on a real cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.e2e.console_blocks import Shell, Step, agrees, other_commands, steps_of

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
README = (ROOT / "README.md").read_text()
PATIENCE_S = 60.0
LIVE = "--state queued --state assigned --state running"

# shown in the README, and run by: test_make.py, the test run itself, .ci/run
RUN_ELSEWHERE = {"make up", "make test", "pip install cortex_cluster-*.whl", "pip install --no-deps raftos==0.2.6"}


def test_every_command_of_the_readme_as_printed(tmp_path: Path) -> None:
    kept = ("HOME", "LANG", "USER", "TMPDIR")
    environ = {name: os.environ[name] for name in kept if name in os.environ}
    environ |= {"PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    environ |= {f"XDG_{name}_HOME": str(tmp_path / name.lower()) for name in ("CONFIG", "STATE", "DATA")}
    shell = Shell(tmp_path, environ)
    steps = steps_of(README)
    assert len(steps) > 10
    try:
        for step in steps:
            if step.command.startswith("cortex down"):
                until(shell, f"cortex tasks --json --data demo {LIVE}", lambda found: found["total"] == 0)
            shown = shell.run(step.command, PATIENCE_S)
            where = f"README.md:{step.line}: {step.command}\nexit {shown.status}, printed:\n{shown.text}"
            assert shown.status == 0 or step.may_fail, where
            assert agrees(step.expected, shown.text), f"{where}\nbut the README says:\n{step.expected}"
            if step.command.startswith("cortex up"):
                until(shell, "cortex status --json --data demo", all_there)
    finally:
        shell.close()
        for file in tmp_path.glob("*/cluster.json"):
            subprocess.run([BIN / "cortex", "down", "--data", file.parent], env=environ, check=False)


def until(shell: Shell, command: str, holds: Callable[[Any], bool]) -> None:
    """Wait, as no reader has to who types, until what a command prints is as the page supposes."""
    deadline = monotonic() + PATIENCE_S
    while not holds(json.loads((shown := shell.run(command, PATIENCE_S)).text)):
        assert monotonic() < deadline, shown.text


def all_there(status: Any) -> bool:
    return status["workers"] == 3 and all(voter["up"] for voter in status["voters"])


def test_other_commands_of_the_readme_are_run_elsewhere() -> None:
    assert set(other_commands(README)) == RUN_ELSEWHERE


@pytest.mark.parametrize(
    ("expected", "text", "same"),
    [
        ("hi\n", "hi\n", True),
        ("hi\n", "hi there\n", False),
        ("…\n", "", True),
        ("a…c\n", "a b\nb c \n", True),
        ("a…c\n", "a b\nb c d\n", False),
        ("(1.0)\n", "(1x0)\n", False),
        ("", "surprise\n", False),
    ],
)
def test_comparison(expected: str, text: str, same: bool) -> None:
    assert agrees(expected, text) is same


def test_shell_keeps_variables_and_status(tmp_path: Path) -> None:
    page = "```console\n$ a=1\n$ (exit 3)\n$ echo $? $a\n3 1\n$ cat\n$ echo 'x\n> y'\nx\ny\n$ printf z\nz\n```\n"
    steps = steps_of(page)
    assert [step.may_fail for step in steps] == [False, False, False, False, False, False]
    assert steps[4] == Step(7, "echo 'x\ny'", "x\ny\n")
    shell = Shell(tmp_path, {"PATH": os.environ["PATH"]})
    try:
        shown = [shell.run(step.command, PATIENCE_S) for step in steps]
    finally:
        shell.close()
    assert [part.status for part in shown] == [0, 3, 0, 0, 0, 0]
    assert all(agrees(step.expected, part.text) for step, part in zip(steps, shown, strict=True))


def test_shell_gives_up(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {"PATH": os.environ["PATH"]})
    with pytest.raises(TimeoutError, match="sleep"):
        shell.run("sleep 1000", 0.2)
