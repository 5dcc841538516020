"""Conditions judged in one child process, which begins with the first question and again whenever it is gone.

A question is whether its syntax alone is meant, two lengths, an expression and its inputs; an answer is a kind, a
length and an error.
"""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path

import structlog

from node.conditions.port import Answer, Crashed, Question, Unanswered

# Of waiting, not of CPU time: a machine may be busy, or the process stopped.
PATIENCE_S = 10.0
_LAST_MOMENT_S = 2.0
_HERE = Path(__file__).parent
_TRUE, _ERROR, _TIMED_OUT = 1, 2, 3


class ProcessJudge:
    """Implements port.Judge. One question is under way at a time."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._log = structlog.get_logger()
        self._turn = asyncio.Lock()
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """0 while there is no process."""
        return self._process.pid if self._process is not None else 0

    async def judge(self, question: Question) -> Answer:
        async with self._turn:
            process = self._process
            if process is None or process.returncode is not None:
                process = self._process = await self._begin()
            try:
                async with asyncio.timeout(self._patience_s):
                    return await _ask(process, question)
            except TimeoutError:
                await self._end(process)
                raise Unanswered(
                    f"the process that judges conditions said nothing for {self._patience_s:g} s"
                ) from None
            except (OSError, asyncio.IncompleteReadError):
                # It has ended, or will in a moment: a kill() before it is reaped would take its status away.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_MOMENT_S):
                        await process.wait()
                return await self._why(process)
            except BaseException:
                await self._end(process)
                raise

    async def close(self) -> None:
        if self._process is not None:
            await self._end(self._process)

    async def _begin(self) -> Process:
        """Raises Unanswered."""
        engine = importlib.util.find_spec("_quickjs")
        if engine is None or engine.origin is None:
            raise Unanswered("the package quickjs-ng is not installed here")
        folder = str(Path(engine.origin).parent)
        try:
            # Without site-packages it needs a third less memory.
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-S", "-E", "-s", str(_HERE), folder),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except OSError as error:
            raise Unanswered(f"no process for conditions: {error.strerror}") from None

    async def _why(self, process: Process) -> Answer:
        """What it means that no answer came. Raises Unanswered."""
        code = await self._end(process)
        if code == -signal.SIGPROF:
            return Answer(False, "It ran longer than the engine can be interrupted in.", timed_out=True)
        self._log.warning("conditions: process ended", code=code)
        raise Crashed(f"the process that judges conditions ended with {code}")

    async def _end(self, process: Process) -> int:
        if self._process is process:
            self._process = None
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        return await process.wait()


async def _ask(process: Process, question: Question) -> Answer:
    assert process.stdin is not None
    assert process.stdout is not None
    expression = question.expression.encode()
    header = struct.pack(">?II", question.syntax_only, len(expression), len(question.inputs))
    process.stdin.write(header + expression + question.inputs)
    await process.stdin.drain()
    kind, size = struct.unpack(">BI", await process.stdout.readexactly(5))
    error = (await process.stdout.readexactly(size)).decode()
    return Answer(kind == _TRUE, error if kind in (_ERROR, _TIMED_OUT) else "", kind == _TIMED_OUT)
