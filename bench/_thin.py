"""A terminal behind a thin, long line: what the program writes waits for its turn, and is answered when it came."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType

from bench._pty import HEIGHT, WIDTH

ASK, ANSWER = b"\x1b[6n", b"\x1b[1;1R"
SYNC, HAS_SYNC = b"\x1b[?2026$p", b"\x1b[?2026;2$y"


class ThinTerminal:
    """`trip_s` is there and back. `waits_s`: of each chunk, until its last byte went."""

    def __init__(self, argv: Sequence[str], rate_bytes_per_s: float, trip_s: float) -> None:
        self._rate, self._trip_s = rate_bytes_per_s, trip_s
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (HEIGHT, WIDTH))
        environ = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
        }
        self._child = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=environ, start_new_session=True
        )
        os.close(slave)
        self._free_s = time.monotonic()
        self._answers: deque[tuple[float, bytes]] = deque()
        self._tail = b""
        self.waits_s: list[float] = []
        self.answers_s: list[float] = []
        self.written = 0

    def __enter__(self) -> ThinTerminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.wait()
        os.close(self._master)

    def run(self, length_s: float, keys_every_s: float) -> None:
        """Let it run, with a key from time to time."""
        end_s = time.monotonic() + length_s
        key_s = time.monotonic() + 3 * keys_every_s
        pressed_s: float | None = None
        while (now_s := time.monotonic()) < end_s:
            if now_s >= key_s:
                key_s, pressed_s = now_s + keys_every_s, now_s
                self._answers.append((now_s + self._trip_s / 2, b"j"))
            while self._answers and self._answers[0][0] <= now_s:
                os.write(self._master, self._answers.popleft()[1])
            if not select.select([self._master], [], [], 0.005)[0]:
                continue
            data = os.read(self._master, 1 << 16)
            self._take(data)
            if pressed_s is not None:
                self.answers_s.append(max(0.0, self._free_s - len(data) / self._rate - pressed_s))
                pressed_s = None

    def _take(self, data: bytes) -> None:
        now_s = time.monotonic()
        self._free_s = max(self._free_s, now_s) + len(data) / self._rate
        self.waits_s.append(self._free_s - now_s)
        self.written += len(data)
        seen, self._tail = self._tail + data, data[-3:]
        back_s = self._free_s + self._trip_s
        self._answers.extend([(back_s, ANSWER)] * seen.count(ASK))
        if SYNC in data:
            self._answers.append((back_s, HAS_SYNC))
