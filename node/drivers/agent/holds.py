"""What the model's API told one agent, for the others of this machine with the same account: come back later.

One file per program, account and model. A driver that is told so writes it; each driver looks at
it before it runs an agent, and the daemon before it starts a driver.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

LONGEST_S = 3600.0
"""However long the API asked for: after that one agent finds out anew for all."""
_FIRST_S = 10.0
_BACKOFF_CAP_S = 600.0
_REFUSED_S = 15.0
_FILES = 100
_READ_BYTES = 16 * 1024
_ERROR_CHARS = 700


@dataclass(frozen=True, slots=True)
class Hold:
    """Until when no other agent asks, and why."""

    cause: str  # see node.worker.exchange.CAUSES
    error: str  # what the one that was told failed with
    until_s: float  # unix time
    times: int  # in a row, without an answer between

    @property
    def words(self) -> str:
        return f"{self.error.rstrip('. ')}. An agent of its node was told so."

    @property
    def others_cause(self) -> str:
        """What those who were not told are put off for: an account may be good again in a moment."""
        return "infrastructure" if self.cause == "cannot_start" else self.cause

    @property
    def after_ms(self) -> int:
        """How long a task is put off for it."""
        return max(int((self.until_s - time.time()) * 1000), 1)


def active(path: str) -> Hold | None:
    """What holds agents back now. One small file is read."""
    hold = _read(path)
    # Nothing holds for longer than it may, whatever the clock did since.
    return hold if hold is not None and 0 < hold.until_s - time.time() <= LONGEST_S else None


def told(path: str, cause: str, error: str, after_ms: int) -> None:
    """An agent was told to come back after `after_ms` (0 = it was not said when), or is refused."""
    if not path:
        return  # a daemon of before made its order
    before, running = _read(path), active(path)
    if running is not None and running.cause == cause and not after_ms:
        return  # of those that asked at the same time, one was told before
    times = before.times + (running is None) if before is not None and before.cause == cause else 1
    backoff_s = min(_FIRST_S * 2 ** min(times - 1, 10), _BACKOFF_CAP_S)
    wait_s = _REFUSED_S if cause == "cannot_start" else min(after_ms / 1000 or backoff_s, LONGEST_S)
    until_s = time.time() + wait_s
    if running is not None and running.until_s > until_s:
        return
    part = f"{path}.{os.getpid()}.part"
    # It spares others a call; the task's own end does not hang on it.
    with suppress(OSError):
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(asdict(Hold(cause, error[:_ERROR_CHARS], until_s, times)), file)
        os.rename(part, path)
        _trim(Path(path).parent)


def answered(path: str) -> None:
    """An agent came to an end with the API: what is over is forgotten. What still holds was asked for."""
    if active(path) is None:
        with suppress(OSError):
            os.unlink(path)


def _read(path: str) -> Hold | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        try:
            found = json.loads(file.read(_READ_BYTES))
            return Hold(str(found["cause"]), str(found["error"]), float(found["until_s"]), int(found["times"]))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None


def _trim(folder: Path) -> None:
    """Models are names that anybody may make up: the oldest files go."""
    files = sorted(os.scandir(folder), key=lambda file: file.stat(follow_symlinks=False).st_mtime)
    for file in files[:-_FILES]:
        os.unlink(file.path)
