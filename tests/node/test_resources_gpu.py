"""GPUs: the real pynvml against a small library of our own in the driver's place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent / "fake_nvml" / "nvml.c"
ROOT = SOURCE.parents[3]
NAME = "libnvidia-ml.so.1"
GIB = 1 << 30
ALIVE = f"init 0\n0 Fake-RTX GPU-a {24 * GIB} {6 * GIB} 42\n0 Fake-T4 GPU-b {16 * GIB} 0 -1\n"
ONE_LOST = ALIVE.replace("0 Fake-RTX", "15 Fake-RTX")
DEAD = "init 9\n"
BOTH_LOST = ONE_LOST.replace("0 Fake-T4", "15 Fake-T4")

RTX = {
    "name": "Fake-RTX",
    "uuid": "GPU-a",
    "memory_total_bytes": str(24 * GIB),
    "memory_used_bytes": str(6 * GIB),
    "utilisation_percent": 42.0,
    "temperature_celsius": 72.0,
    "power_watts": 189.0,
}
T4 = {"name": "Fake-T4", "uuid": "GPU-b", "memory_total_bytes": str(16 * GIB)}


@dataclass(frozen=True)
class Played:
    read: list[list[dict[str, Any]]]
    said: list[str]
    played: list[list[bool]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the fake libnvidia-ml.so.1."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (gcc) on this machine")
    folder = tmp_path_factory.mktemp("nvml")
    command = [
        compiler,
        "-Wall",
        "-Werror",
        "-shared",
        "-fPIC",
        "-o",
        str(folder / "libnvidia-ml.so.1"),
        str(SOURCE),
    ]
    subprocess.run(command, check=True)
    return folder


def play(folder: Path, state: Path, *steps: tuple[str, int] | tuple[str, int, bool]) -> Played:
    """The dynamic loader reads LD_LIBRARY_PATH when a process starts, hence a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.node.fake_nvml.script"],
        input=json.dumps(steps),
        env={
            **os.environ,
            "LD_LIBRARY_PATH": str(folder),
            "FAKE_NVML": str(state / "driver"),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return Played(**json.loads(done.stdout))


def test_reads_name_uuid_memory_and_utilisation(library: Path, tmp_path: Path) -> None:
    played = play(library, tmp_path, (ALIVE, 0))
    assert played.read == [[RTX, T4]]
    assert played.said == ["GPUs: Fake-RTX, Fake-T4"]


def test_a_machine_without_the_library_has_no_gpus_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()  # no library, and hides that of a machine which has one
    played = play(tmp_path, tmp_path, *((ALIVE, second * 40_000_000) for second in range(4)))
    assert played.read == [[], [], [], []]
    assert played.said == ["No NVIDIA driver here: this node has no GPUs."]


def test_a_library_without_its_driver_is_the_same(library: Path, tmp_path: Path) -> None:
    played = play(library, tmp_path, (DEAD, 0), (DEAD, 40_000_000))
    assert played.read == [[], []]
    assert played.said == ["No NVIDIA driver here: this node has no GPUs."]


def test_a_lost_gpu_does_not_lose_the_other(library: Path, tmp_path: Path) -> None:
    played = play(library, tmp_path, (ALIVE, 0), (ONE_LOST, 1_000_000), (ONE_LOST, 2_000_000), (ALIVE, 3_000_000))
    assert played.read == [[RTX, T4], [T4], [T4], [RTX, T4]]
    assert len(played.said) == 3
    assert played.said[1] == "1 of 2 GPUs cannot be read: GPU is lost. They are left out."


@pytest.mark.parametrize("broken", [DEAD, BOTH_LOST, "nonsense"])
def test_a_driver_that_dies_is_tried_again_and_recovers(library: Path, tmp_path: Path, broken: str) -> None:
    played = play(
        library,
        tmp_path,
        (ALIVE, 0),
        (broken, 1_000_000),
        (ALIVE, 2_000_000),  # too early to try again
        (broken, 31_000_000),
        (ALIVE, 61_000_000),
    )
    assert played.read == [[RTX, T4], [], [], [], [RTX, T4]]
    assert len(played.said) == 3


def test_a_driver_that_comes_late_is_found(library: Path, tmp_path: Path) -> None:
    played = play(library, tmp_path, (DEAD, 0), (ALIVE, 29_999_999), (ALIVE, 30_000_000))
    assert played.read == [[], [], [RTX, T4]]


def test_a_driver_without_a_device(library: Path, tmp_path: Path) -> None:
    played = play(library, tmp_path, ("init 0\n", 0), ("init 0\n", 1_000_000))
    assert played.read == [[], []]
    assert played.said == ["The NVIDIA driver sees no GPU."]


def test_a_game_is_a_listed_process_and_a_gpu_that_the_driver_says_is_busy(library: Path, tmp_path: Path) -> None:
    busy, at_threshold = ALIVE.replace(" 42\n", " 71\n"), ALIVE.replace(" 42\n", " 70\n")
    second = 1_000_000
    played = play(
        library,
        tmp_path,
        (busy, 0, False),  # somebody trains a model
        (at_threshold, second, True),
        (busy, 2 * second, True),
        (ALIVE, 10 * second, True),  # a loading screen
        (busy, 20 * second, True),
        (ALIVE, 21 * second, False),  # it has ended
        (ALIVE, 50 * second - 1, False),
        (ALIVE, 50 * second, False),
        (busy, 51 * second, False),
    )
    game, none = [True, True, False], [False, False, False]
    assert played.played == [none, none, game, game, game, game, game, none, none]


A100 = f"init 0\n0 A100 GPU-x {80 * GIB} {9 * GIB} 40\n"


def test_processes_errors_and_why_it_is_slow_are_told(library: Path, tmp_path: Path) -> None:
    me = os.getpid()
    busy = f"{A100}process {me} {5 * GIB}\nprocess 4194300 -1\ndraws {me} {GIB}\ndraws 4194301 7\necc 3\nslow 97\n"
    [[gpu]] = play(library, tmp_path, (busy, 0)).read
    name = Path("/proc/self/comm").read_text().rstrip("\n")
    assert gpu["processes"] == [
        {"pid": me, "name": name, "memory_bytes": str(5 * GIB)},
        {"pid": 4194301, "memory_bytes": "7"},
        {"pid": 4194300},
    ]
    assert gpu["ecc_errors"] == "3"
    assert gpu["slowed_by"] == ["heat"]  # an idle GPU has low clocks too, which is no reason


def test_instances_of_a_shared_gpu_are_devices_of_their_own(library: Path, tmp_path: Path) -> None:
    shared = (
        f"{A100}shared\necc 0\n"
        f"instance A100-MIG-1g.10gb MIG-1 {10 * GIB} {2 * GIB}\nprocess 4194300 {GIB}\n"
        f"instance A100-MIG-2g.20gb MIG-2 {20 * GIB} 0\n"
        f"0 Fake-T4 GPU-b {16 * GIB} 0 7\n"
    )
    played = play(library, tmp_path, (shared, 0))
    chip: dict[str, Any] = {"parent": "GPU-x", "temperature_celsius": 70.0, "ecc_errors": "0"}
    first: dict[str, Any] = {"name": "A100-MIG-1g.10gb", "uuid": "MIG-1", "memory_total_bytes": str(10 * GIB)}
    second = {"name": "A100-MIG-2g.20gb", "uuid": "MIG-2", "memory_total_bytes": str(20 * GIB), **chip}
    first |= {"memory_used_bytes": str(2 * GIB), **chip, "processes": [{"pid": 4194300, "memory_bytes": str(GIB)}]}
    [[one, other, whole]] = played.read
    # its utilisation is not measured, which is not the same as none
    assert (one, other) == (first, second)
    assert (whole["uuid"], whole["utilisation_percent"]) == ("GPU-b", 7.0)
    assert played.said == ["GPUs: A100-MIG-1g.10gb, A100-MIG-2g.20gb, Fake-T4"]


def test_a_shared_gpu_without_instances_is_no_device_and_says_what_to_do(library: Path, tmp_path: Path) -> None:
    played = play(library, tmp_path, (A100 + "shared\n", 0), (A100, 1_000_000))
    assert [len(gpus) for gpus in played.read] == [0, 1]
    assert played.said[0].startswith("1 of 1 GPUs are to be shared out and have no instances")
    assert "nvidia-smi mig -cgi" in played.said[0]


@pytest.mark.parametrize("code", [999, 10, 14, 27])
def test_a_value_that_is_kept_back_for_once_costs_no_more_than_itself(
    library: Path, tmp_path: Path, code: int
) -> None:
    """Not the GPU, and not all of them for half a minute: unknown error, timeout, damaged inforom, not ready."""
    played = play(library, tmp_path, (ALIVE, 0), (f"{ALIVE}moody {code}\n".replace(" -1\n", " 7\n"), 1_000_000))
    [_, (rtx, moody)] = played.read
    assert rtx == RTX
    assert (moody["utilisation_percent"], moody.get("temperature_celsius")) == (7.0, None)
    assert len(played.said) == 1


def test_a_gpu_that_was_reset_beside_another_is_found_again(library: Path, tmp_path: Path) -> None:
    reset = ALIVE + "reset\n"
    played = play(library, tmp_path, (reset, 0), (reset, 29_999_999), (reset, 30_000_000), (reset, 31_000_000))
    assert played.read == [[RTX], [RTX], [RTX, T4], [RTX, T4]]
    assert len(played.said) == 2


def test_who_computes_through_a_server_is_a_process_of_the_gpu(library: Path, tmp_path: Path) -> None:
    [[gpu]] = play(library, tmp_path, (f"{A100}process 4194300 {GIB}\nclient 4194301 {2 * GIB}\n", 0)).read
    assert gpu["processes"] == [
        {"pid": 4194301, "memory_bytes": str(2 * GIB)},
        {"pid": 4194300, "memory_bytes": str(GIB)},
    ]
