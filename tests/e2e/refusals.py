"""How a refusal is told, and the command line of somebody whose home is a folder of the test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


def until(check: object) -> None:
    deadline = monotonic() + PATIENCE_S
    while not check():  # type: ignore[operator]
        assert monotonic() < deadline


def refused(done: subprocess.CompletedProcess[bytes]) -> tuple[str, str]:
    """Cause and remedy. There is nothing else, above all no traceback and no escape sequence."""
    text = done.stderr.decode()
    lines = text.splitlines()
    assert len(lines) == 2, text
    assert lines[0].startswith(("cortex: ", "cortexd: ")), text
    assert lines[1].strip(), text
    assert "\x1b" not in text
    assert len(text) < 1000, text
    return lines[0].partition(": ")[2], lines[1]


def environ(variables: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CORTEX_", "XDG_"))}
    return {**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}", **variables}


def cortex(*arguments: str, variables: dict[str, str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    """The command line of somebody whose home is `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "tui.cli", *arguments],
        env={**environ(variables), "HOME": str(folder)},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
