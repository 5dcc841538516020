"""`make up`, as a newcomer types it: sample work, the console in a terminal, and a cluster that stays."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pyte
import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
VENV = Path(sys.executable).parents[1]
PATIENCE_S = 90.0


class Terminal:
    """A program in a pseudo-terminal, and what its screen shows."""

    def __init__(self, command: list[str], environ: dict[str, str], columns: int = 80, lines: int = 24) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._fd, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=child, stdout=child, stderr=child, start_new_session=True
        )
        os.close(child)

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def text(self) -> str:
        return "\n".join(self.screen.display)

    def until(self, condition: Callable[[str], bool]) -> None:
        """Read on until the screen fulfils the condition. Raises AssertionError with the screen."""
        deadline = monotonic() + PATIENCE_S
        while not condition(self.text()):
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - monotonic()))
            assert ready, f"waited in vain; the screen shows:\n{self.text()}"
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                data = b""
            assert data, f"the program ended; the screen shows:\n{self.text()}"
            self._stream.feed(data)

    def end(self) -> int:
        """Drain the screen until the program has ended; its exit status."""
        deadline = monotonic() + PATIENCE_S
        while select.select([self._fd], [], [], max(0.0, deadline - monotonic()))[0]:
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                break
            if not data:
                break
            self._stream.feed(data)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._fd)


def test_make_up(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    kept = ("HOME", "LANG", "USER", "PATH")
    environ = {name: os.environ[name] for name in kept if name in os.environ}
    environ |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "XDG_STATE_HOME": str(tmp_path / "state")}
    cortex = [str(VENV / "bin/cortex"), "--data", str(data)]
    # -o setup: the environment of this test is there already
    terminal = Terminal(["make", "-s", "-o", "setup", "up", f"VENV={VENV}", f"DATA={data}"], environ)
    try:
        terminal.until(lambda text: all(f"n{number}" in text for number in (1, 2, 3)))
        terminal.press("2")
        terminal.until(lambda text: "count-slow" in text)
        terminal.press("Q")
        assert terminal.end() == 0, terminal.text()
        assert "cortex down" in terminal.text()
        status = subprocess.run([*cortex, "--json", "status"], env=environ, capture_output=True, check=True)
        assert json.loads(status.stdout)["healthy"] is True
    finally:
        terminal.close()
        if (data / "cluster.json").exists():
            subprocess.run([*cortex, "down"], env=environ, check=True)
