"""Whether somebody else has a claim on the machine: a game that runs, or its owner at the keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cortex.v1 import types_pb2
from node.env import Clock

# what runs only while a game does
GAME_PROCESSES = frozenset(
    {
        "dolphin-emu",
        "gameoverlayui",
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
SESSIONS = Path("/run/systemd/sessions")
SCREENS = Path("/sys/class/drm")
GRAPHICAL = frozenset({"x11", "wayland", "mir"})
# the kernel keeps no more of a process name
NAME_CHARS = 15


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
    busy above GPU_BUSY_PERCENT, or on a machine whose GPUs cannot be seen or do not tell how busy they are. One
    that only this node's own tasks have memory of is busy with those."""
    listed = sample.gaming
    played = listed and not any(gpu.HasField("utilisation_percent") for gpu in sample.gpus)
    for gpu in sample.gpus:
        ours = bool(gpu.processes) and all(process.task for process in gpu.processes)
        seen = listed and not ours and gpu.utilisation_percent > GPU_BUSY_PERCENT
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


def desktop_in_use(sessions: Path = SESSIONS, screens: Path = SCREENS) -> bool:
    """A graphical session is in front at the machine itself, and a screen is on.

    Who types into a window touches no terminal, and only root may read the keyboard; but a desktop that is left
    alone turns its screens off.
    """
    return any(map(_is_desktop, _texts(sessions, "*"))) and _screen_on(screens)


def _is_desktop(session: str) -> bool:
    fields = dict(line.split("=", 1) for line in session.splitlines() if "=" in line and line[0] != "#")
    return (
        fields.get("ACTIVE") == "1"
        and fields.get("REMOTE") == "0"
        and fields.get("CLASS", "user") == "user"
        and fields.get("TYPE") in GRAPHICAL
    )


def _screen_on(screens: Path) -> bool:
    outputs = screens.glob("card*-*")
    return any(_text(one / "status") == "connected" and _text(one / "dpms") == "On" for one in outputs)


def _texts(folder: Path, pattern: str) -> Iterable[str]:
    return (_text(path) for path in folder.glob(pattern) if path.suffix != ".ref")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Senses:
    """Where presence is read from."""

    names: Callable[[], set[str]] = process_names
    terminals: Callable[[int], list[Terminal]] = read_terminals
    desktop: Callable[[], bool] = desktop_in_use


class Presence:
    """`games` are the names of processes that mean a game."""

    name = "presence"

    def __init__(self, clock: Clock, games: frozenset[str], senses: Senses | None = None) -> None:
        self._clock = clock
        self._games = frozenset(name[:NAME_CHARS] for name in games)
        self._senses = senses or Senses()
        self._latest = types_pb2.Resources()
        self._look_at_us = 0

    def read(self, now_us: int) -> types_pb2.Resources:
        if now_us >= self._look_at_us:
            self._look_at_us = now_us + LOOK_EVERY_US
            senses = self._senses
            self._latest = types_pb2.Resources(
                gaming=bool(self._games and not self._games.isdisjoint(senses.names())),
                interactive_owner=owner_at_work(senses.terminals(self._clock.wall_us())) or senses.desktop(),
            )
        return self._latest
