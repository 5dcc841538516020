"""What a container used, read from the cgroup of its first process while it runs: afterwards it is gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from node.drivers.container.engine import EngineError, State

_ROOT = Path("/sys/fs/cgroup")
_FIRST_S, _LONGEST_S = 0.5, 5.0
# For the engine's client to clear up after a container that ended.
_ABANDONED_S = 30.0


class Usage:
    """Looks now and then, rarer as time goes by; what runs shorter than half a second is not looked at."""

    def __init__(
        self, engine: str, state: Callable[[], State | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._state = state
        self._clock = clock
        self._keeper: Path | None = None  # its folder in /proc
        self._missed_at_s: float | None = None
        self._folders: dict[str, Path] | None = None
        self._delay_s = 0.0
        self.memory_bytes = 0
        self.cpu_us = 0

    def look(self) -> float:
        """After how many seconds to look again. Raises EngineError when nothing keeps the container any more: its
        client would wait for ever.
        """
        if self._delay_s:
            self._read()
            if self._is_abandoned():
                raise EngineError(f"the process of {self._engine} that kept the container is gone")
        self._delay_s = min(2 * self._delay_s or _FIRST_S, _LONGEST_S)
        return self._delay_s

    def document(self) -> dict[str, object]:
        found: dict[str, object] = {}
        if self.memory_bytes:
            found["peak_memory_bytes"] = self.memory_bytes
        if self.cpu_us:
            found["cpu_us"] = self.cpu_us
        return found

    def _is_abandoned(self) -> bool:
        """Nothing keeps it, and it runs all the same; at an end in order it is kept no more for a while, too."""
        if self._keeper is None or self._keeper.exists():
            self._missed_at_s = None
            return False
        now_s = self._clock()
        if self._missed_at_s is None:
            self._missed_at_s = now_s
            return False
        try:
            state = self._state()
        except EngineError:
            state = None
        return (state is not None and state.running) or now_s - self._missed_at_s >= _ABANDONED_S

    def _read(self) -> None:
        if self._folders is None:
            try:
                state = self._state()
            except EngineError:
                return
            if state is None or not state.pid:
                return
            self._folders = folders(state.pid)
            keeper = Path(f"/proc/{state.keeper}")
            # An engine elsewhere, or in other pid namespaces, has it by a number that says nothing here.
            self._keeper = keeper if state.keeper and keeper.exists() else None
        memory, cpu = self._folders.get("memory"), self._folders.get("cpuacct")
        both = self._folders.get("")
        if memory is not None:
            self.memory_bytes = max(self.memory_bytes, number(memory / "memory.max_usage_in_bytes"))
        elif both is not None:
            self.memory_bytes = max(
                self.memory_bytes, number(both / "memory.peak"), number(both / "memory.current")
            )
        if cpu is not None:
            self.cpu_us = max(self.cpu_us, number(cpu / "cpuacct.usage") // 1000)
        elif both is not None:
            self.cpu_us = max(self.cpu_us, field(both / "cpu.stat", "usage_usec"))


def folders(pid: int) -> dict[str, Path]:
    """Of the process's cgroup by controller, "" for version 2; none of a cgroup that is not its own."""
    found: dict[str, Path] = {}
    for line in text(Path(f"/proc/{pid}/cgroup")).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if path in ("", "/"):
            continue
        for controller in controllers.split(","):
            found[controller] = _ROOT / controller / path.lstrip("/")
    return found


def number(path: Path) -> int:
    said = text(path).strip()
    return int(said) if said.isdecimal() else 0


def field(path: Path, name: str) -> int:
    """Of lines `name number`."""
    for line in text(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdecimal():
            return int(value)
    return 0


def oom_kills() -> int:
    """How many processes this machine's kernel killed for want of memory since boot."""
    return field(Path("/proc/vmstat"), "oom_kill")


def text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
