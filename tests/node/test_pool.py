"""What becomes of a python task: how its handler may end, and what it is given."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from node.pool import Cancelled, Reschedule, RetryAt, worker
from tests.node.pool_kit import Pool, gone, pool


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """With a single worker, so that each test has the one that the test before left."""
    with ignoring(signal.SIGQUIT, signal.SIGHUP, signal.SIGRTMIN):
        made = pool(tmp_path_factory.mktemp("pool"))
        one = made.__enter__()
    try:
        yield one
    finally:
        made.__exit__(None, None, None)


@contextmanager
def ignoring(*signals: signal.Signals) -> Iterator[None]:
    """As a daemon that was started so."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in signals}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for each, handler in before.items():
            signal.signal(each, handler)


def test_data_go_in_and_a_document_comes_out(one: Pool) -> None:
    end = one.run("add", a=3)
    assert (end.code, end.document, end.out, end.err) == (0, {"sum": 4}, "adding 3\n", "now\n")
    assert [event["progress"] for event in end.events] == [{"current": 1, "total": 2, "message": "half"}]


def test_workers_stand_behind_the_daemon(one: Pool) -> None:
    assert one.run("nice").document == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)


def test_what_it_used_is_its_own(one: Pool) -> None:
    large = one.run("eat", mb=200).verdict["usage"]
    assert large["max_rss_bytes"] > 200 << 20
    assert large["cpu_user_us"] + large["cpu_system_us"] > 0
    assert one.run("add", a=1).verdict["usage"]["max_rss_bytes"] < 100 << 20


def test_a_handler_is_where_its_task_is(one: Pool) -> None:
    driven = one.begin("where")
    task, run, attempt, folder, *colours = driven.end().document
    assert (run, attempt, colours) == (2, 1, ["red", "red", False])
    assert Path(folder) == driven._place
    assert task.startswith("t")


@pytest.mark.parametrize(
    ("what", "code", "cause", "error"),
    [
        ("value", 1, "exit", "Handler raise raised ValueError: no such thing."),
        ("validation", 1, "validation", "Handler raise raised ValidationError: a bad picture."),
        ("retry", 1, "rate_limited", "Handler raise puts it off: the shop is closed."),
        ("reschedule", 1, "infrastructure", "Handler raise gives it back: the disk is slow."),
        ("cancel", 1, "cancelled", "Handler raise cancelled it: nobody wants it."),
        ("exit", 3, "exit", "Handler raise exited: 3."),
        ("end", 0, "", ""),
        ("memory", 1, "oom", "Handler raise raised MemoryError: there was no more memory for it."),
    ],
)
def test_an_exception_says_how_the_task_ends(one: Pool, what: str, code: int, cause: str, error: str) -> None:
    end = one.run("raise", what=what)
    assert (end.code, end.cause, end.error) == (code, cause, error)
    assert end.verdict.get("retry_after_ms", 0) == (30_000 if what == "retry" else 0)


@pytest.mark.parametrize(
    ("seconds", "after_ms"), [(math.inf, 86_400_000), (math.nan, 0), (-1.0, 0), (0.0015, 1), (1e300, 86_400_000)]
)
def test_any_number_of_seconds_is_a_time_to_wait(seconds: float, after_ms: int) -> None:
    assert worker._end_of("h", RetryAt(seconds), Mock(cancelled=False))["after_ms"] == after_ms


@pytest.mark.parametrize("kind", [SystemExit, Cancelled, Reschedule, ValueError])
def test_long_last_words_are_cut(kind: type[BaseException]) -> None:
    end = worker._end_of("h", kind("x" * 1_000_000), Mock(cancelled=False))
    assert len(str(end)) < 1000


def test_a_traceback_begins_at_the_handler(one: Pool) -> None:
    lines = one.run("raise", what="value").err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "jobs.py" in lines[1]
    assert lines[-1] == "ValueError: no such thing"


@pytest.mark.parametrize(
    ("handler", "data", "cause", "error"),
    [
        ("add", {}, "validation", "Handler add cannot be given this data: missing a required argument: 'a'."),
        ("nope", {}, "not_found", "There is no handler nope on its node; there are: add, alarm, async, babble, "),
        ("return", {"what": "large"}, "validation", "Handler return returned 20002 bytes, the limit is 16384."),
        ("return", {"what": "set"}, "validation", "Handler return returned what is not valid JSON: "),
        ("return", {"what": "nan"}, "validation", "Handler return returned what is not valid JSON: "),
    ],
)
def test_what_cannot_be_right(one: Pool, handler: str, data: dict[str, object], cause: str, error: str) -> None:
    end = one.run(handler, **data)
    assert (end.code, end.cause) == (1, cause)
    assert end.error.startswith(error)


def test_no_result_is_no_document(one: Pool) -> None:
    end = one.run("return", what="none")
    assert (end.code, end.document) == (0, None)


@pytest.mark.parametrize(
    ("how", "code", "cause", "why"),
    [
        ("exit", 7, "exit", "exit status 7"),
        ("SIGKILL", 137, "signal", "signal 9 (SIGKILL)"),
        ("SIGABRT", 134, "signal", "signal 6 (SIGABRT)"),
    ],
)
def test_a_crash_is_the_task_s_and_the_next_one_finds_a_worker(
    one: Pool, how: str, code: int, cause: str, why: str
) -> None:
    end = one.run("die", how=how)
    assert (end.code, end.cause) == (code, cause)
    assert end.error == f"Handler die took its worker with it: {why}."
    assert end.out == "last words\n"
    assert one.run("add", a=1).code == 0


def test_a_segfault_leaves_its_traceback(one: Pool) -> None:
    end = one.run("segfault")
    assert (end.code, end.cause) == (139, "signal")
    assert "Fatal Python error: Segmentation fault" in end.err
    assert "in segfault" in end.err


@pytest.mark.parametrize("handler", ["hold", "async"])
def test_cancel_is_seen_by_the_handler(one: Pool, handler: str) -> None:
    driven = one.begin(handler, path="/nonexistent").begun()
    driven.process.terminate()
    end = driven.end()
    assert (end.code, end.out) == (143, "cleaned up True\n")
    assert one.run("pid").document == driven.worker, "its worker goes on"


def test_a_handler_that_does_not_end_is_killed_before_its_driver_would_be(one: Pool) -> None:
    driven = one.begin("stubborn", kill_timeout_ms=2500).begun()
    driven.process.terminate()
    end = driven.end()
    assert (end.code, end.out) == (137, "no\n")
    assert end.error == "Handler stubborn took its worker with it: signal 9 (SIGKILL)."
    gone(driven.worker)


def test_a_task_that_waits_for_a_worker_is_cancelled_at_once(one: Pool, tmp_path: Path) -> None:
    first = one.begin("hold", path=str(tmp_path / "go")).begun()
    waits = one.begin("add", a=1)
    waits.process.terminate()
    assert waits.end().code in (143, -signal.SIGTERM)
    (tmp_path / "go").touch()
    assert first.end().document == "went on"


def test_a_killed_driver_takes_its_worker_along(one: Pool) -> None:
    driven = one.begin("stubborn").begun()
    driven.process.kill()
    gone(driven.worker)
    assert one.run("add", a=1).code == 0


def test_output_of_a_child_process_is_the_task_s(one: Pool) -> None:
    assert one.run("child", leave=False).out == "of a child\n"


def test_what_a_handler_leaves_behind_goes_with_its_worker(one: Pool) -> None:
    before = one.run("pid").document
    end = one.run("child", leave=True)
    assert end.code == 0
    gone(end.document)
    assert one.run("pid").document != before


@pytest.mark.parametrize("how", ["daemon", "timer"])
def test_a_thread_of_a_handler_goes_with_its_worker(one: Pool, how: str) -> None:
    """Also one that would not keep a program alive: it would print into the next task's output."""
    end = one.run("thread", how=how)
    assert end.code == 0
    assert "cortex: handler thread left a thread (" in end.err
    assert end.err.endswith("behind: its worker is replaced.\n")
    gone(end.document)
    assert one.run("add", a=1).out == "adding 1\n"


def test_a_monitor_of_a_library_stays(one: Pool) -> None:
    end = one.run("thread", how="library")
    assert (end.err, one.run("pid").document) == ("", end.document)


def test_a_command_of_a_handler_ignores_nothing_whatever_the_daemon_was_started_with(one: Pool) -> None:
    masks = [int(line.split()[1], 16) for line in one.run("ignored").document.splitlines()]
    # without the two signals that the C library keeps for itself
    assert [mask & ~(0b11 << 31) for mask in masks] == [0, 0]


def test_progress_is_thinned_and_its_last_word_kept(one: Pool) -> None:
    events = one.run("steps", count=5000).events
    assert events[-1]["progress"] == {"current": 5000, "total": 5000, "message": "step 4999"}
    assert len(events) < 500
