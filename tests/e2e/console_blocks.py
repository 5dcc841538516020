"""Runs the ```console blocks of a Markdown page in one shell, as a reader would, and compares what is printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

ANYTHING = "…"
_MARK = "=== end of command"


@dataclass
class Step:
    """One command and what the page says that it prints; `…` stands for anything."""

    line: int
    command: str
    expected: str
    may_fail: bool = False


@dataclass
class Shown:
    """What a command printed on both streams, and its exit status."""

    text: str
    status: int


def steps_of(page: str) -> list[Step]:
    """All commands of the page's console blocks, in order. One followed by `echo $?` may fail."""
    steps: list[Step] = []
    inside = False
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            steps.append(Step(number, line[2:], ""))
        elif inside and line.startswith("> ") and not steps[-1].expected:
            steps[-1].command += "\n" + line[2:]
        elif inside:
            steps[-1].expected += line + "\n"
    for step, following in pairwise(steps):
        step.may_fail = following.command == "echo $?"
    return steps


def other_commands(page: str) -> list[str]:
    """Lines of the page's ```sh blocks, comments left out."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def agrees(expected: str, text: str) -> bool:
    """Whether the text is what the page says; spaces at the ends of lines do not count."""
    pattern = ".*".join(re.escape(part) for part in _trimmed(expected).split(ANYTHING))
    return re.fullmatch(pattern, _trimmed(text), flags=re.DOTALL) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@dataclass
class Shell:
    """One bash for all commands of a page, so that variables and `$?` live on."""

    folder: Path
    environ: Mapping[str, str]
    _process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self.folder,
            env=dict(self.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str, timeout_s: float) -> Shown:
        """Raises TimeoutError, after which the shell is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        end = f"__s=$?; printf '\\n%s %d\\n' '{_MARK}' $__s; (exit $__s)"
        self._process.stdin.write(f"{{ {command}\n}} </dev/null\n{end}\n")
        self._process.stdin.flush()
        timer = threading.Timer(timeout_s, self.close)
        timer.start()
        lines: list[str] = []
        try:
            for line in self._process.stdout:
                if line.startswith(_MARK):
                    return Shown("".join(lines).removesuffix("\n"), int(line.split()[-1]))
                lines.append(line)
        finally:
            timer.cancel()
        raise TimeoutError(f"{command!r} did not end in {timeout_s} s; it printed: {''.join(lines)}")

    def close(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
