"""Whether somebody else has a claim on the machine: a game that runs, or its owner at the keyboard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cortex.v1 import types_pb2
from node.env import Clock

# what runs only while a game does
GAME_PROCESSES = frozenset(
    {
        "dolphin-emu",
        "gamescope",
        "lutris-wrapper",
        "pcsx2-qt",
        "pv-adverb",
        "retroarch",
        "rpcs3",
        "wine-preloader",
        "wine64-preloader",
    }
)
GPU_BUSY_PERCENT = 70.0
COOL_DOWN_US = 30_000_000
LOOK_EVERY_US = 10_000_000
OWNER_IDLE_S = 300.0
LOCAL_HOSTS = ("", "localhost")


@dataclass(frozen=True, slots=True)
class Terminal:
    """A login. `idle_s` is the time since its last input."""

    host: str
    idle_s: float


def owner_at_work(terminals: Iterable[Terminal]) -> bool:
    """Somebody typed at the machine itself lately. Logins from elsewhere are operators, not owners."""
    return any(
        terminal.idle_s < OWNER_IDLE_S and (terminal.host in LOCAL_HOSTS or terminal.host.startswith(":"))
        for terminal in terminals
    )


@dataclass(slots=True)
class CoolDown:
    """Keeps a sign true for COOL_DOWN_US after it was last seen, so that a loading screen changes nothing."""

    _seen_at_us: dict[str, int] = field(default_factory=dict)

    def active(self, key: str, seen: bool, now_us: int) -> bool:
        if seen:
            self._seen_at_us[key] = now_us
        return key in self._seen_at_us and now_us - self._seen_at_us[key] < COOL_DOWN_US


def mark_gaming(sample: types_pb2.Resources, cool_down: CoolDown, now_us: int) -> None:
    """On entry `sample.gaming` says that a listed process runs; on return it says that a game is played: with a GPU
    busy above GPU_BUSY_PERCENT, or on a machine whose GPU cannot be seen."""
    listed = sample.gaming
    played = listed and not sample.gpus
    for gpu in sample.gpus:
        seen = listed and gpu.utilisation_percent > GPU_BUSY_PERCENT
        gpu.gaming = cool_down.active(f"gpu {gpu.uuid}", seen, now_us)
        played = played or seen
    sample.gaming = cool_down.active("node", played, now_us)


def process_names() -> set[str]:
    """Kernel names of all processes. Read directly: psutil's Process objects cost several times as much."""
    names = set()
    for pid in psutil.pids():
        try:
            names.add(Path(f"/proc/{pid}/comm").read_text(errors="replace").rstrip("\n"))
        except OSError:
            continue
    return names


def read_terminals(wall_us: int) -> list[Terminal]:
    terminals = []
    for login in psutil.users():
        try:
            used_at_s = Path("/dev", login.terminal or "").stat().st_atime
        except OSError:
            continue
        terminals.append(Terminal(host=login.host or "", idle_s=wall_us / 1e6 - used_at_s))
    return terminals


class Presence:
    name = "presence"

    def __init__(self, clock: Clock, games: frozenset[str]) -> None:
        self._clock = clock
        self._games = frozenset(name[:15] for name in games)
        self._latest = types_pb2.Resources()
        self._look_at_us = 0

    def read(self, now_us: int) -> types_pb2.Resources:
        if now_us >= self._look_at_us:
            self._look_at_us = now_us + LOOK_EVERY_US
            self._latest = types_pb2.Resources(
                gaming=bool(self._games and not self._games.isdisjoint(process_names())),
                interactive_owner=owner_at_work(read_terminals(self._clock.wall_us())),
            )
        return self._latest
