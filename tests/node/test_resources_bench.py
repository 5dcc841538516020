"""The benchmark: what it measures, how it judges, and how a node runs it and keeps its result."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from cortex.v1.types_pb2 import Benchmark
from node.core.faults import Code, Fault
from node.env import Env
from node.worker import benchmark
from node.worker.resources.bench import FILE, Bench

PATIENCE_S = 60


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "SLICE_S", 0.002)
    monkeypatch.setattr(benchmark, "COPY_BYTES", 2 << 20)
    monkeypatch.setattr(benchmark, "FILE_BYTES", 1 << 20)
    monkeypatch.setattr(benchmark, "SLICES", 2)
    monkeypatch.setattr(benchmark, "SLICE_READS", 20)
    monkeypatch.setattr(benchmark, "AGREED_PERCENT", 1e9)


def test_it_measures_this_machine_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    monkeypatch.setattr(benchmark, "ROOM_BYTES", 0)
    found = json_format.ParseDict(benchmark.measure(str(tmp_path), rounds=3), Benchmark())
    assert found.cores > 0
    assert 1e7 < found.core_flops < 1e12
    assert found.node_flops > 0
    assert found.memory_bytes_per_s > 1e7
    assert found.write_bytes_per_s > 0
    assert found.read_iops > 0
    assert list(tmp_path.iterdir()) == []


def test_a_slow_disk_gets_less_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(benchmark, "FILE_BYTES", 100 * 4096)
    monkeypatch.setattr(benchmark, "DISK_PATIENCE_S", 0.0)
    disk = benchmark.Disk(str(tmp_path))
    for direct in (disk.direct, False):
        disk.direct = direct
        assert min(disk.write()) > 0
        assert min(disk.write()) > 0
        assert (tmp_path / benchmark.FILE).stat().st_size == 4096, "one block is more than its time"
        assert min(disk.read()) > 0
    disk.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("direct", [True, False])
def test_a_pause_that_others_cause_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    """One block in ten takes a second more: past the page cache that changes nothing."""
    small(monkeypatch)
    monkeypatch.setattr(benchmark, "BLOCK_BYTES", 4096)
    disk = benchmark.Disk(str(tmp_path))
    disk.direct = direct
    disk.write()
    if direct and not disk.direct:
        pytest.skip("needs a file system with direct IO")
    clock_s, calls = 0.0, 0

    def tick() -> float:
        nonlocal clock_s, calls
        calls += 1
        clock_s += 1e-3 + (1e-2 if calls % 10 == 0 else 0)
        return clock_s

    monkeypatch.setattr(benchmark.time, "perf_counter", tick)
    written = disk.write()
    assert ([round(each) for each in written] == [4_096_000] * benchmark.SLICES) == direct
    assert [round(each) for each in disk.read()] == [1000] * benchmark.SLICES
    disk.remove()


def test_without_room_the_disk_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    monkeypatch.setattr(benchmark, "ROOM_BYTES", 1 << 80)
    found = json_format.ParseDict(benchmark.measure(str(tmp_path), rounds=1), Benchmark())
    assert (found.write_bytes_per_s, found.read_iops) == (0, 0)
    assert "its disk is not measured" in found.note


def test_a_figure_is_the_median_of_the_best_and_its_spread_their_distance() -> None:
    assert benchmark.judge([100.0]) == (100.0, 0.0)
    assert benchmark.judge([1.0, 96.0, 98.0, 100.0, 101.0, 102.0, 3.0]) == (100.0, 6.0)
    assert benchmark.judge([5.0, 5.0, 5.0]) == (5.0, 0.0)


def test_what_others_disturb_is_measured_until_the_best_agree() -> None:
    """Every third slice is undisturbed; a round that does not count comes first."""
    calls = 0

    def part() -> list[float]:
        nonlocal calls
        calls += 1
        return [1e6] if calls == 1 else [100.0] if calls % 3 == 0 else [50.0 + calls % 7]

    values = benchmark.repeat({"part": part}, rounds=2, patience_s=1e9)
    assert benchmark.judge(values["part"]) == (100.0, 0.0)
    assert calls == 3 * benchmark.BEST, "no round more than is needed"


def test_where_the_best_never_agree_it_ends_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_s = 0.0

    def part() -> list[float]:
        nonlocal clock_s
        clock_s += 1.0
        return [clock_s]

    monkeypatch.setattr(benchmark.time, "monotonic", lambda: clock_s)
    values = benchmark.repeat({"part": part}, rounds=5, patience_s=9.5)
    assert values["part"] == [float(number) for number in range(2, 11)]
    assert benchmark.judge(values["part"])[1] > benchmark.DOUBTFUL_SPREAD_PERCENT
    assert benchmark.repeat({"part": part}, rounds=5, patience_s=0)["part"] == [12.0, 13.0, 14.0], "each counts"


def test_busy_time_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 20 30 400 50 6 7 8 99 99\n")
    busy, total = benchmark.cpu_seconds(str(tmp_path / "stat"))
    assert busy / total == pytest.approx(171 / 621)


@pytest.mark.parametrize(
    ("core_spread", "others_s", "expected"),
    [(0.0, 0.0, ""), (30.0, 0.0, "core varied by"), (0.0, 50.0, "others used 50 %")],
)
def test_a_machine_that_is_too_busy_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, core_spread: float, others_s: float, expected: str
) -> None:
    small(monkeypatch)
    monkeypatch.setattr(benchmark, "ROOM_BYTES", 1 << 80)
    monkeypatch.setattr(benchmark, "repeat", lambda parts, *_: {name: [name] for name in parts})
    monkeypatch.setattr(benchmark, "judge", lambda names: (1.0, core_spread * (names == ["core_flops"])))
    seconds = iter([(0.0, 0.0), (others_s + 1e-9, 100.0)])
    monkeypatch.setattr(benchmark, "cpu_seconds", lambda: next(seconds))
    note = str(benchmark.measure(str(tmp_path), rounds=1)["note"])
    told = note.replace("its disk is not measured, for it has less than 1 GiB of room", "").strip("; ")
    assert told.startswith(expected)
    assert bool(told) == bool(expected)


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    script = folder / "script.py"
    script.write_text(code)
    monkeypatch.setattr(benchmark, "__file__", str(script))


def prints(text: str) -> str:
    return f"import sys; sys.stdout.write({text!r})"


async def test_a_result_is_kept_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    stand_in(tmp_path, monkeypatch, prints(json.dumps({"cores": 4, "core_flops": 2e9})))
    bench = Bench(Env.real(tmp_path), said.append)
    await bench.load()
    assert bench.latest is None
    made = await bench.run()
    assert (made.cores, made.core_flops) == (4, 2e9)
    assert made.at_us > 0
    later = Bench(Env.real(tmp_path), said.append)
    await later.load()
    assert later.latest == made
    assert said == []
    (tmp_path / FILE).write_text("{ torn")
    torn = Bench(Env.real(tmp_path), said.append)
    await torn.load()
    assert torn.latest is None
    assert "cortex bench node" in said[0]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise SystemExit('no room')", "no room"),
        ("import os; os._exit(3)", "it ended with 3"),
        (prints("not JSON"), "makes no sense"),
        (prints('{"cores": "many"}'), "makes no sense"),
    ],
)
async def test_one_that_fails_says_why_and_keeps_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, why: str
) -> None:
    bench = Bench(Env.real(tmp_path), lambda _: None)
    bench.latest = before = Benchmark(cores=1)
    stand_in(tmp_path, monkeypatch, code)
    with pytest.raises(Fault, match=why):
        await bench.run()
    assert bench.latest is before


async def test_only_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = tmp_path / "gate"
    code = f"import os; os.mkfifo({str(gate)!r}); open({str(gate)!r}).read(); {prints('{}')}"
    stand_in(tmp_path, monkeypatch, code)
    bench = Bench(Env.real(tmp_path), lambda _: None)
    running = asyncio.create_task(bench.run())
    async with asyncio.timeout(PATIENCE_S):
        while not gate.exists():  # noqa: ASYNC110  the other side is a process
            await asyncio.sleep(0.01)
    with pytest.raises(Fault) as refused:
        await bench.run()
    assert refused.value.code == Code.WRONG_STATE
    await asyncio.get_running_loop().run_in_executor(None, gate.write_text, "")
    await running
    assert bench.latest is not None
