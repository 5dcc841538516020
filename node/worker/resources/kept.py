"""A node's history in a file of the data folder, so that it outlives the daemon: some 110 KB, written each minute.

It begins with a checksum of the rest: a header in JSON, and the columns as single-precision numbers. Slots are
counted on the boot clock of the boot that is named; after another one they move by what unix time says.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from binascii import crc32
from collections.abc import Sequence
from pathlib import Path

from node.env import Env
from node.worker.resources.history import NAN, SERIES, History, RingState
from node.worker.resources.port import Say

FILE = "history"
EVERY_US = 60_000_000
_MAGIC = b"cortex history 1\n"
_MOST_BYTES = 1 << 20
_NUMBER_BYTES = 4


class KeptHistory:
    """`boot` names the boot of the machine. `say` takes one sentence for the log."""

    def __init__(self, env: Env, say: Say, boot: str) -> None:
        self._clock = env.clock
        self._path = env.data / FILE
        self._offload = env.make_offload("history")
        self._say = say
        self._boot = boot
        self._written_us: int | None = None
        self._failure = ""

    async def load(self) -> History:
        """What was kept; empty where nothing was, or what cannot be read."""
        try:
            data = await self._offload(self._read)
            return self._decoded(data)
        except FileNotFoundError:
            pass
        except (OSError, LookupError, TypeError, ValueError) as error:
            self._say(f"What this node measured before cannot be read: {error}. Its history begins anew.")
        return History()

    def due(self) -> bool:
        """Whether it is to be saved again."""
        return self._written_us is None or self._clock.boot_us() >= self._written_us + EVERY_US

    async def save(self, history: History) -> None:
        """As it is now. What cannot be written is said once."""
        self._written_us = self._clock.boot_us()
        data = self._encoded(history)
        try:
            await self._offload(lambda: _write(self._path, data))
            failure = ""
        except OSError as error:
            failure = error.strerror or str(error)
        if failure and failure != self._failure:
            self._say(
                f"What this node measures is not kept over a restart: {failure}. Make room in its data folder."
            )
        self._failure = failure

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            return file.read(_MOST_BYTES)

    def _offset_us(self) -> int:
        return self._clock.wall_us() - self._clock.boot_us()

    def _encoded(self, history: History) -> bytes:
        states = history.states()
        header = {
            "boot": self._boot,
            "offset_us": self._offset_us(),
            "series": list(SERIES),
            "rings": [
                {"step_us": each.step_us, "slot": each.slot, "sums": each.sums, "counts": each.counts}
                for each in states
            ],
        }
        columns = b"".join(_bytes(column) for each in states for column in each.columns)
        body = json.dumps(header).encode() + b"\n" + columns
        return _MAGIC + crc32(body).to_bytes(4, "little") + body

    def _decoded(self, data: bytes) -> History:
        """Raises ValueError, LookupError or TypeError."""
        body = data[len(_MAGIC) + 4 :]
        if not data.startswith(_MAGIC) or crc32(body).to_bytes(4, "little") != data[len(_MAGIC) :][:4]:
            raise ValueError("its file is damaged")
        text, _, columns = body.partition(b"\n")
        header = json.loads(text)
        shift_us = 0 if header["boot"] == self._boot else header["offset_us"] - self._offset_us()
        rings = {each["step_us"]: each for each in header["rings"]}
        history = History()
        states, at = [], 0
        for empty in history.states():
            kept = rings[empty.step_us]
            size = len(empty.columns[0])
            parts = {}
            for number, name in enumerate(header["series"]):
                parts[name] = (_array(columns[at : at + size * _NUMBER_BYTES], size), number)
                at += size * _NUMBER_BYTES
            states.append(_moved(empty, kept, parts, round(shift_us / empty.step_us)))
        now_us = self._clock.boot_us()
        if any(state.slot > now_us // state.step_us for state in states):
            raise ValueError("it lies ahead of its clock")
        history.restore(states)
        return history


def boot_id() -> str:
    """Of the machine; empty when it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _moved(
    empty: RingState, kept: dict[str, object], parts: dict[str, tuple[array[float], int]], by: int
) -> RingState:
    """The state of a ring `by` slots later; what a release before did not measure stays a gap."""
    sums, counts, columns = list(empty.sums), list(empty.counts), list(empty.columns)
    for at, name in enumerate(SERIES):
        if name in parts:
            column, number = parts[name]
            turn = by % len(column)
            columns[at] = column[-turn:] + column[:-turn] if turn else column
            sums[at], counts[at] = float(kept["sums"][number]), int(kept["counts"][number])  # type: ignore[index]
    return RingState(empty.step_us, int(kept["slot"]) + by, sums, counts, columns)  # type: ignore[call-overload]


def _bytes(column: Sequence[float]) -> bytes:
    values = array("f", column)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _array(data: bytes, size: int) -> array[float]:
    """Raises ValueError when it is not whole."""
    values = array("f", [NAN]) * 0
    values.frombytes(data)
    if len(values) != size:
        raise ValueError("its file is shorter than it says")
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, as far as the system lives on."""
    fresh = path.with_suffix(".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.replace(fresh, path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
