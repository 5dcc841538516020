"""What a container used, read from the cgroup of its first process while it runs: afterwards it is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from node.drivers.container.engine import EngineError, State

_ROOT = Path("/sys/fs/cgroup")
_FIRST_S, _LONGEST_S = 0.5, 5.0


class Usage:
    """Looks now and then, rarer as time goes by; what runs shorter than half a second is not looked at."""

    def __init__(self, engine: str, state: Callable[[], State | None]) -> None:
        self._engine = engine
        self._state = state
        self._keeper = 0
        self._kept = True
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
            kept, self._kept = self._kept, not self._keeper or Path(f"/proc/{self._keeper}").exists()
            if not kept and not self._kept:  # at an end in order it is away for a moment, too
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

    def _read(self) -> None:
        if self._folders is None:
            try:
                state = self._state()
            except EngineError:
                return
            if state is None or not state.pid:
                return
            self._folders = folders(state.pid)
            self._keeper = state.keeper
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
