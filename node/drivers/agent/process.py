"""Runs an agent CLI: a prompt on its stdin, its events as lines and as progress of the task."""

from __future__ import annotations

import errno
import math
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, NoReturn

from node.drivers.agent import holds
from node.drivers.agent.end import End, judge
from node.drivers.agent.secret_files import Secrets
from node.drivers.agent.stream import Lines, Story
from node.drivers.kit import Desk, Stopped

_CHUNK_BYTES = 64 * 1024
_LINE_BYTES = 64 * 1024
_STDERR_CHARS = 4_000
_PROGRESS_S = 0.25
# What no waiting mends.
_LASTING = frozenset(
    {errno.EACCES, errno.ELOOP, errno.ENOENT, errno.ENOEXEC, errno.ENOTDIR, errno.EPERM, errno.EROFS}
)
# Where the task's own exchange with its driver lies: the agent is not to write its verdict.
_OURS = ("CORTEX_ORDER", "CORTEX_EVENTS", "CORTEX_VERDICT")


@dataclass(frozen=True, slots=True)
class Job:
    """An agent to run once."""

    argv: Sequence[str]
    prompt: str
    cwd: str  # empty = the task's own folder
    env: Mapping[str, str]  # beside what the task has
    max_turns: int
    linger_s: float  # how long it may go on after its result
    hold: str  # file of what others of its account were told


class Agent:
    """One run of an agent."""

    def __init__(self, desk: Desk, job: Job, secrets: Secrets) -> None:
        self._desk = desk
        self._job = job
        self._secrets = secrets
        self._told: tuple[int, str] = (0, "")
        self._told_at_s = 0.0
        self._stderr = ""
        self._result_at_s = 0.0
        self._lingered = False
        self.story = Story(secrets.hidden)

    def run(self) -> End:
        """Run it to its end, unless others were told to wait. Raises Stopped, when it has ended for that, and
        OSError.
        """
        if (hold := holds.active(self._job.hold)) is not None:
            return End(hold.others_cause, hold.words, hold.after_ms, 1)
        env = {name: value for name, value in os.environ.items() if name not in _OURS} | dict(self._job.env)
        with tempfile.TemporaryFile() as prompt:
            # A file, not a pipe: an agent that talks before it listens holds nobody up.
            prompt.write(self._job.prompt.encode())
            prompt.seek(0)
            process = subprocess.Popen(
                self._job.argv,
                stdin=prompt,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._job.cwd or None,
                env=env,
                bufsize=0,
            )
        try:
            self._follow(process)
            code = 0 if self._lingered else process.wait()
        except Stopped:
            process.terminate()
            self._job = replace(self._job, linger_s=math.inf)
            self._follow(process)
            process.wait()
            raise
        self._progress(last=True)
        end = judge(self.story, code, self._stderr, self._job.max_turns, time.time())
        if end.is_for_all:
            holds.told(self._job.hold, end.cause, end.error, end.retry_after_ms)
        elif not end.cause:
            holds.answered(self._job.hold)
        return end

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        """Until it and whoever has its pipes have closed them, or it has ended and is silent."""
        assert process.stdout is not None
        assert process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, Lines())
            selector.register(process.stderr, selectors.EVENT_READ, Lines(_LINE_BYTES))
            while selector.get_map():
                ready = selector.select(_PROGRESS_S)
                for key, _ in ready:
                    data = os.read(key.fd, _CHUNK_BYTES)
                    found = list(key.data.feed(data)) if data else list(key.data.rest())
                    self._take(found, is_stderr=key.fileobj is process.stderr)
                    if not data:
                        selector.unregister(key.fileobj)
                if not ready:
                    self._progress()
                    if process.poll() is not None:
                        break  # what it left behind holds its pipes
                if self._has_lingered():
                    # It is done and does not go: the supervisor ends what is left of it with this driver.
                    self._lingered = True
                    break
        process.stdout.close()
        process.stderr.close()

    def _has_lingered(self) -> bool:
        if self.story.result is None:
            return False
        now_s = time.monotonic()
        self._result_at_s = self._result_at_s or now_s
        return now_s - self._result_at_s >= self._job.linger_s

    def _take(self, lines: Iterable[bytes | None], *, is_stderr: bool) -> None:
        for line in lines:
            if is_stderr:
                text = self._secrets.hidden(
                    line.decode("utf-8", "replace") if line is not None else "(a long line)"
                )
                self._stderr = f"{self._stderr}{text}\n"[-_STDERR_CHARS:]
                _write(sys.stderr, text)
            else:
                for text in self.story.take(line):
                    _write(sys.stdout, text)
        self._progress()

    def _progress(self, *, last: bool = False) -> None:
        """Tell how far it is, if that is news, and not more often than anybody can look."""
        told = (min(self.story.turns, self._job.max_turns), self.story.step)
        now_s = time.monotonic()
        if told != self._told and (last or now_s - self._told_at_s >= _PROGRESS_S):
            self._told, self._told_at_s = told, now_s
            self._desk.progress(told[0], self._job.max_turns, told[1])


def fail_to_run(desk: Desk, error: OSError, what: str) -> NoReturn:
    """End since `what`, as "The agent cannot be run"; another try here helps only where the machine was short."""
    cause = "cannot_start" if error.errno in _LASTING else "infrastructure"
    if error.errno == errno.E2BIG:
        cause = "validation"
    named = f": {error.filename}" if error.filename else ""
    desk.fail(cause, f"{what}: {error.strerror}{named}. Correct that on the node, and retry the task.")


def finish(desk: Desk, end: End) -> int:
    """Write the verdict; the driver's exit code."""
    document = end.document
    desk.verdict(end.cause, end.error, retry_after_ms=end.retry_after_ms, document=document)
    if end.error:
        _write(sys.stderr, end.error)
    elif document is not None:
        cost, turns = document.get("cost_usd"), document.get("turns", 0)
        paid = f", {cost:.4f} USD" if isinstance(cost, int | float) else ""
        _write(sys.stdout, f"= {turns} {'turn' if turns == 1 else 'turns'}{paid}")
    return end.code


def _write(stream: IO[str], text: str) -> None:
    # Nobody may read it any more.
    with suppress(BrokenPipeError):
        stream.write(text.encode("utf-8", "replace").decode() + "\n")
        stream.flush()
