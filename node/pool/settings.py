"""What a pool is made from, as the daemon lays it down and its host reads it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

WARM, FRESH = "warm", "fresh"
MODES = (WARM, FRESH)


@dataclass(frozen=True, slots=True)
class Settings:
    modules: tuple[str, ...]
    size: int
    interpreter: str
    path: tuple[str, ...] = ()
    mode: str = WARM
    max_tasks: int = 1000  # of one worker; 0 = as many as come
    nice: int = 5  # below the daemon, so that this one answers while all workers compute
    memory_mb: int = 0  # of one worker's data; 0 = no limit
    heartbeat_timeout_s: float = 30.0
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 10.0
    idle_quit_s: float = 600.0  # without tasks the host goes; the next task brings it back

    @property
    def tasks_per_worker(self) -> int:
        return 1 if self.mode == FRESH else self.max_tasks


def written(settings: Settings) -> str:
    return json.dumps(asdict(settings))


def read(file: Path) -> Settings:
    """Raises OSError or ValueError."""
    found = json.loads(file.read_text())
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    found |= {name: tuple(found.get(name, ())) for name in ("modules", "path")}
    return Settings(**found)
