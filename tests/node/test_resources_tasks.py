"""Whose processes are whose, and what they use: on a process table of the test's own, and on the real one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.worker.port import AttemptKey
from node.worker.resources import tasks
from node.worker.resources.tasks import DOUBT_READINGS, RECHECK_US, TaskMeter, parse_stat, tasks_of

SECOND = 1_000_000
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MINE, OTHER = AttemptKey("t1", 7), AttemptKey("t2", 8)


class Table:
    """A folder like /proc."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(
        self,
        pid: int,
        parent: int = 1,
        session: int = 0,
        *,
        task: AttemptKey | None = None,
        ticks: int = 0,
        pages: int = 1,
        moved: tuple[int, int] | None = None,
        begun: int = 0,
        state: str = "S",
    ) -> None:
        place = self.folder / str(pid)
        place.mkdir(exist_ok=True)
        words = [0] * 50
        words[0:4] = [0, parent, pid, session or pid]
        words[11], words[19], words[21] = ticks, begun or pid, pages
        (place / "stat").write_text(f"{pid} (a ) (b) {state} {' '.join(map(str, words[1:]))}\n")
        named = f"CORTEX_TASK={task.task}\0CORTEX_FENCE={task.fence}\0" if task else ""
        (place / "environ").write_text(f"PATH=/bin\0{named}LANG=C\0")
        if moved is not None:
            (place / "io").write_text(f"rchar: 9\nread_bytes: {moved[0]}\nwrite_bytes: {moved[1]}\n")

    def end(self, pid: int) -> None:
        for file in (self.folder / str(pid)).iterdir():
            file.unlink()
        (self.folder / str(pid)).rmdir()


@pytest.fixture
def table(tmp_path: Path) -> Table:
    (tmp_path / "self").mkdir()
    (tmp_path / "uptime").touch()
    made = Table(tmp_path)
    made.put(1, 0)
    return made


def test_a_family_is_told_by_environment_parent_and_session(table: Table) -> None:
    table.put(10, task=MINE, pages=2)
    table.put(11, 10, 10)  # with an environment of its own
    table.put(12, 11)  # and one that made itself a session
    table.put(20, task=OTHER)
    table.put(30, task=AttemptKey("t1", 6))  # of an assignment before
    table.put(31, task=AttemptKey("t9", 7))  # of another daemon
    meter = TaskMeter(table.folder)
    found = meter.read([MINE, OTHER], {12: 500, 31: 900}, SECOND)
    assert {key: use.processes for key, use in found.items()} == {MINE: 3, OTHER: 1}
    assert found[MINE].memory_bytes == 4 * PAGE
    assert found[MINE].gpu_memory_bytes == 500
    assert meter.owners() == {10: "t1", 11: "t1", 12: "t1", 20: "t2"}
    assert not found[MINE].HasField("read_bytes_per_s")
    # An orphan whose parent has ended is still of its session, one that left both is still known.
    table.end(10)
    table.end(11)
    table.put(12, 1)
    table.put(13, 1, 12)
    assert meter.read([MINE, OTHER], {}, 2 * SECOND)[MINE].processes == 2
    assert [use.task for use in tasks_of(meter.read([OTHER, MINE], {}, 3 * SECOND).values())] == ["t1", "t2"]


def test_rates_are_taken_between_readings_and_peaks_kept(table: Table) -> None:
    table.put(10, task=MINE, ticks=4 * TICKS_PER_S, pages=9, moved=(1000, 0), begun=2 * TICKS_PER_S)
    meter = TaskMeter(table.folder)
    first = meter.read([MINE], {}, 10 * SECOND)[MINE]
    assert first.cpu_percent == 50  # 4 s in the 8 s since it began
    assert first.read_bytes_per_s == 125
    table.put(10, task=MINE, ticks=7 * TICKS_PER_S, pages=3, moved=(1000, 4096), begun=2 * TICKS_PER_S)
    then = meter.read([MINE], {}, 12 * SECOND)[MINE]
    assert (then.cpu_percent, then.peak_cpu_percent) == (150, 150)
    assert (then.read_bytes_per_s, then.written_bytes_per_s) == (0, 2048)
    assert (then.memory_bytes, then.peak_memory_bytes) == (3 * PAGE, 9 * PAGE)
    assert meter.last(MINE) == then
    # What a child that was not waited for used is gone: never less than nothing.
    table.put(10, task=MINE, ticks=0, moved=(0, 0), begun=2 * TICKS_PER_S)
    last = meter.read([MINE], {}, 13 * SECOND)[MINE]
    assert (last.cpu_percent, last.read_bytes_per_s, last.peak_cpu_percent) == (0, 0, 150)


def test_a_number_that_another_process_got_is_not_the_attempts(table: Table) -> None:
    table.put(10, task=MINE, begun=100)
    meter = TaskMeter(table.folder)
    assert meter.read([MINE], {}, SECOND)[MINE].processes == 1
    table.put(10, begun=200)
    assert meter.read([MINE], {}, 2 * SECOND) == {}


def test_a_process_that_has_not_become_its_command_yet_is_asked_again_but_not_for_ever(table: Table) -> None:
    table.put(10)
    table.put(11)
    meter = TaskMeter(table.folder)
    assert meter.read([MINE], {}, RECHECK_US) == {}
    table.put(10, task=MINE)
    assert meter.read([MINE], {}, RECHECK_US + SECOND)[MINE].processes == 1
    for second in range(DOUBT_READINGS):
        meter.read([MINE], {}, RECHECK_US + (2 + second) * SECOND)
    table.put(11, task=MINE)
    assert meter.read([MINE], {}, RECHECK_US + 9 * SECOND)[MINE].processes == 1
    assert meter.read([MINE], {}, 2 * RECHECK_US + SECOND)[MINE].processes == 2


def test_nothing_is_kept_of_attempts_that_have_ended(table: Table) -> None:
    table.put(10, task=MINE)
    table.put(20, task=OTHER)
    meter = TaskMeter(table.folder)
    meter.read([MINE, OTHER], {}, SECOND)
    assert list(meter.read([OTHER], {}, 2 * SECOND)) == [OTHER]
    assert meter.owners() == {20: "t2"}
    assert meter.read([], {}, 3 * SECOND) == {}
    assert meter.owners() == {}


def test_one_that_has_ended_and_nobody_waited_for_is_no_process_but_its_time_counts(table: Table) -> None:
    table.put(10, task=MINE, ticks=0, begun=1)
    table.put(11, 10, 10, ticks=TICKS_PER_S, state="Z")
    meter = TaskMeter(table.folder)
    use = meter.read([MINE], {}, 2 * SECOND)[MINE]
    assert (use.processes, round(use.cpu_percent)) == (1, 50)
    table.put(10, task=MINE, begun=1, state="Z")
    assert meter.read([MINE], {}, 3 * SECOND) == {}
    assert meter.last(MINE) == use  # its end has not been told yet
    meter.read([OTHER], {}, 4 * SECOND)
    assert meter.last(MINE) is None


@pytest.mark.parametrize("text", [b"", b"1 (x) S 1 2", b"no bracket", b"1 (x) S " + b"y " * 40])
def test_a_line_that_is_none_of_ours(text: bytes) -> None:
    assert parse_stat(text) is None


@contextmanager
def family(script: str, key: AttemptKey) -> Iterator[subprocess.Popen[bytes]]:
    """A shell that has said a line, in a session of its own, as a supervisor starts it."""
    env = {"PATH": "/usr/bin:/bin", "CORTEX_TASK": key.task, "CORTEX_FENCE": str(key.fence)}
    child = subprocess.Popen(
        ["sh", "-c", script], env=env, start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        yield child
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def test_real_processes_are_found_with_what_they_use() -> None:
    key = AttemptKey(f"test-{os.getpid()}", 3)
    # A child that has ended used CPU time; one that lives has no environment.
    script = "i=0; (while [ $i -lt 200000 ]; do i=$((i+1)); done); env -i sleep 600 & echo ready; read line"
    meter = TaskMeter()
    with family(script, key) as child:
        found = meter.read([key], {child.pid: 77}, 10**15)[key]
        assert found.processes == 2
        assert child.pid in meter.owners()
        assert found.memory_bytes > 100_000
        assert found.peak_memory_bytes >= found.memory_bytes
        assert found.cpu_percent > 0
        assert found.gpu_memory_bytes == 77
        assert found.HasField("read_bytes_per_s")
    assert meter.read([key], {}, 10**15 + SECOND) == {}


def test_beyond_the_limit_those_that_are_known_go_on_being_measured(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "PROCESSES_LIMIT", 2)
    for pid in (10, 11, 12):
        table.put(pid, task=MINE)
    meter = TaskMeter(table.folder)
    counts = [meter.read([MINE], {}, at * SECOND)[MINE].processes for at in (1, 2, 3)]
    assert counts == [2, 2, 2]
