"""The benchmark of this machine: made by a process of its own when an operator asks, kept in the data folder."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from pathlib import Path

from google.protobuf import json_format

from cortex.v1.types_pb2 import Benchmark
from node.core.faults import Code, Fault
from node.env import Env
from node.worker import benchmark as measuring
from node.worker.resources.port import Say

FILE = "benchmark.json"
PATIENCE_S = 80.0


class Bench:
    """One at a time. `latest` is None until one was made."""

    def __init__(self, env: Env, say: Say) -> None:
        self._clock = env.clock
        self._folder = env.data
        self._offload = env.make_offload("benchmark")
        self._say = say
        self._busy = False
        self.latest: Benchmark | None = None

    async def load(self) -> None:
        """Take up what was measured before this start; what cannot be read is left out and said."""
        try:
            text = await self._offload((self._folder / FILE).read_text)
            self.latest = json_format.Parse(text, Benchmark(), ignore_unknown_fields=True)
        except FileNotFoundError:
            return
        except (OSError, ValueError, json_format.ParseError) as error:
            self._say(f"The node's last benchmark cannot be read: {error}. Make one with `cortex bench node`.")

    async def run(self) -> Benchmark:
        """Takes 5 to 25 s. Raises Fault."""
        if self._busy:
            message = "This node is being measured already."
            raise Fault(Code.WRONG_STATE, message, "Wait for that, then read it with `cortex node`.")
        self._busy = True
        try:
            found = await self._measure()
        finally:
            self._busy = False
        self.latest = found
        try:
            await self._offload(lambda: _write(self._folder / FILE, json_format.MessageToJson(found)))
        except OSError as error:
            self._say(f"The benchmark of this node is not kept: {error.strerror}.")
        return found

    async def _measure(self) -> Benchmark:
        try:
            # Nothing of site-packages is needed, and nothing of the environment is to change what is measured.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-S", "-E", "-s", measuring.__file__, str(self._folder)),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except OSError as error:
            raise _failed(error.strerror or str(error)) from None
        try:
            async with asyncio.timeout(PATIENCE_S):
                out, err = await process.communicate()
        except TimeoutError:
            raise _failed(f"it did not end within {PATIENCE_S:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        lines = err.decode(errors="replace").strip().splitlines()
        if process.returncode:
            raise _failed(lines[-1] if lines else f"it ended with {process.returncode}")
        try:
            found = json_format.ParseDict(json.loads(out), Benchmark())
        except (ValueError, json_format.ParseError) as error:
            raise _failed(f"what it said makes no sense: {error}") from None
        found.at_us = self._clock.wall_us()
        return found


def _failed(why: str) -> Fault:
    return Fault(Code.INTERNAL, f"This node could not be measured: {why}.", "Make room, let it rest, try again.")


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)
