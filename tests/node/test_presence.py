"""Who else has a claim on the machine, by scripted process lists, logins and screens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Gpu, GpuProcess, Resources
from node.env import Env
from node.worker.resources.presence import (
    CoolDown,
    Presence,
    Senses,
    Terminal,
    desktop_in_use,
    mark_gaming,
)

SECOND = 1_000_000
GAMES = frozenset({"gamescope", "a-name-longer-than-the-kernel-keeps"})
DESKTOP = "# private\nUID=1000\nUSER=ann\nACTIVE=1\nSTATE=active\nREMOTE=0\nTYPE=wayland\nCLASS=user\n"


@dataclass
class Machine:
    """What runs and who is logged in, changed as a test goes on."""

    processes: set[str] = field(default_factory=set)
    terminals: list[Terminal] = field(default_factory=list)
    desktop: bool = False
    looks: int = 0

    def names(self) -> set[str]:
        self.looks += 1
        return {name[:15] for name in self.processes}

    def part(self, folder: Path) -> Presence:
        senses = Senses(self.names, lambda _: self.terminals, lambda: self.desktop)
        return Presence(Env.real(folder).clock, GAMES, senses)


def test_a_day_of_a_machine_that_is_played_on(tmp_path: Path) -> None:
    """Process list every ten seconds, GPU every second: what is told changes at the begin and after the end."""
    machine, cool_down = Machine(), CoolDown()
    part = machine.part(tmp_path)
    told: list[tuple[int, bool]] = []
    for second in range(200):
        machine.processes = {"bash", "gamescope"} if 30 <= second < 120 else {"bash"}
        # menus and loading screens in between
        busy = 90.0 if 40 <= second < 120 and second % 25 < 20 else 5.0
        sample = Resources(gpus=[Gpu(uuid="a", utilisation_percent=busy)])
        sample.MergeFrom(part.read(second * SECOND))
        mark_gaming(sample, cool_down, second * SECOND)
        assert sample.gpus[0].gaming == sample.gaming
        if not told or told[-1][1] != sample.gaming:
            told.append((second, sample.gaming))
    assert told == [(0, False), (40, True), (149, False)]
    assert machine.looks == 20


def test_a_gpu_that_only_own_tasks_use_is_busy_with_those() -> None:
    mine, game = GpuProcess(pid=1, memory_bytes=9, task="t1"), GpuProcess(pid=2, memory_bytes=9)
    sample = Resources(
        gaming=True,
        gpus=[
            Gpu(uuid="a", processes=[mine], utilisation_percent=99),
            Gpu(uuid="b", processes=[mine, game], utilisation_percent=99),
            Gpu(uuid="c", utilisation_percent=99),
        ],
    )
    mark_gaming(sample, CoolDown(), SECOND)
    assert [gpu.gaming for gpu in sample.gpus] == [False, True, True]
    assert sample.gaming
    training = Resources(gaming=True, gpus=[Gpu(uuid="a", processes=[mine], utilisation_percent=99)])
    mark_gaming(training, CoolDown(), SECOND)
    assert not training.gaming


def test_a_gpu_that_does_not_tell_how_busy_it_is_leaves_it_to_the_process_list() -> None:
    for listed in (True, False):
        sample = Resources(gaming=listed, gpus=[Gpu(uuid="a")])
        mark_gaming(sample, CoolDown(), SECOND)
        assert sample.gaming is listed
        assert not sample.gpus[0].gaming


def test_a_name_is_compared_as_far_as_the_kernel_keeps_it(tmp_path: Path) -> None:
    machine = Machine({"a-name-longer-than-the-kernel-keeps"})
    assert machine.part(tmp_path).read(0).gaming
    assert not Machine({"a-name"}).part(tmp_path).read(0).gaming


@pytest.mark.parametrize(
    ("terminals", "desktop", "owner"),
    [
        ([], False, False),
        ([], True, True),
        ([Terminal("", 299.0)], False, True),
        ([Terminal("", 300.0)], False, False),
        ([Terminal("198.51.100.7", 1.0)], False, False),
        ([Terminal("198.51.100.7", 1.0), Terminal(":0", 4.0)], False, True),
    ],
)
def test_an_owner_is_who_types_or_has_the_screen_on(
    terminals: list[Terminal], desktop: bool, owner: bool, tmp_path: Path
) -> None:
    machine = Machine(terminals=terminals, desktop=desktop)
    assert machine.part(tmp_path).read(0).interactive_owner is owner


@pytest.mark.parametrize(
    ("session", "status", "dpms", "in_use"),
    [
        (DESKTOP, "connected", "On", True),
        (DESKTOP, "connected", "Off", False),
        (DESKTOP, "disconnected", "On", False),
        (DESKTOP.replace("wayland", "x11"), "connected", "On", True),
        (DESKTOP.replace("wayland", "tty"), "connected", "On", False),
        (DESKTOP.replace("ACTIVE=1", "ACTIVE=0"), "connected", "On", False),
        (DESKTOP.replace("REMOTE=0", "REMOTE=1"), "connected", "On", False),
        (DESKTOP.replace("CLASS=user", "CLASS=greeter"), "connected", "On", False),
        ("no lines of the kind\n=\n", "connected", "On", False),
    ],
)
def test_a_desktop_is_in_use_while_its_screen_is_on(
    session: str, status: str, dpms: str, in_use: bool, tmp_path: Path
) -> None:
    sessions, screen = tmp_path / "sessions", tmp_path / "drm" / "card0-HDMI-A-1"
    sessions.mkdir()
    screen.mkdir(parents=True)
    (sessions / "3").write_text(session)
    (sessions / "3.ref").write_text("")
    (screen / "status").write_text(status + "\n")
    (screen / "dpms").write_text(dpms + "\n")
    assert desktop_in_use(sessions, tmp_path / "drm") is in_use


def test_a_machine_without_screens_or_sessions_is_nobodys(tmp_path: Path) -> None:
    assert not desktop_in_use(tmp_path / "none", tmp_path / "none")
