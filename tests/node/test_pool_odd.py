"""Handlers that treat their worker badly, and workers that die or hear of a cancel before a handler begins."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from errno import EMFILE
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from node.payloads.python import DEPTH_LIMIT, Python
from node.payloads.reading import BadPayload, read
from node.pool import wire
from node.pool.host import Host, _bound
from node.pool.settings import Settings
from node.pool.worker import Wire, Worker
from tests.node.pool_kit import PATIENCE_S, Pool, gone, pool


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """With a single worker, so that each test has the one that the test before left."""
    with pool(tmp_path_factory.mktemp("pool")) as made:
        yield made


def test_a_worker_that_dies_before_it_begins_is_not_the_task_s(one: Pool) -> None:
    pid = one.run("pid").document
    os.kill(pid, signal.SIGSTOP)
    driven = one.begin("pid")
    os.kill(pid, signal.SIGKILL)
    end = driven.end()
    assert (end.code, end.cause) == (0, "")
    assert end.document != pid


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("raise", 1), ("term", -15)])
def test_a_copy_of_the_worker_does_not_speak_for_it(one: Pool, how: str, code: int) -> None:
    end = one.run("fork", how=how)
    assert (end.code, end.document[1], end.events) == (0, code, [])
    assert end.out == "in a copy\n"
    assert one.run("pid").document == end.document[0], "the worker goes on"


@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="the kernel does not tell children"
)
def test_what_fled_from_its_worker_goes_with_it(one: Pool) -> None:
    end = one.run("flee")
    assert end.code == 0
    gone(end.document)


@pytest.mark.parametrize("how", ["ignores", "blocks"])
def test_the_next_handler_hears_a_cancel_again(one: Pool, how: str) -> None:
    assert one.run("deaf", how=how).document is None
    assert one.run("alarm").document == 0, "nor does its alarm end another"
    driven = one.begin("hold", path="/nonexistent").begun()
    driven.process.terminate()
    assert driven.end().out == "cleaned up True\n"


@pytest.mark.parametrize(
    ("how", "cause", "error"),
    [
        ("mute", "exit", "Handler odd raised Mute, which does not say why."),
        ("late", "exit", "Handler odd raised RetryAt, which does not say why."),
        ("closed", "exit", "Handler odd raised ValueError, which does not say why."),
        ("deep", "validation", "Handler odd returned lists in lists for more than 100 levels."),
        ("wide", "", ""),
    ],
)
def test_odd_ends_are_the_handler_s(one: Pool, how: str, cause: str, error: str) -> None:
    end = one.run("odd", how=how)
    assert (end.cause, end.error) == (cause, error)
    assert one.run("add", a=1).err == "now\n"


@pytest.mark.parametrize(("what", "well"), [("empty", False), ("late", False), ("list", False), ("progress", True)])
def test_who_writes_into_the_socket_of_its_worker_harms_itself(one: Pool, what: str, well: bool) -> None:
    host = one.host
    end = one.run("babble", what=what)
    assert (end.code == 0, end.cause == "") == (well, well)
    assert one.run("add", a=1).code == 0
    assert one.host == host


@pytest.mark.parametrize("how", ["[", '{"a":'])
def test_data_that_would_run_a_step_out_of_stack_are_refused(tmp_path: Path, how: str) -> None:
    def payload(depth: int) -> bytes:
        text = how * depth + "1" + ("]" if how == "[" else "}") * depth
        return f'{{"handler": "h", "data": {{"x": {text}}}}}'.encode()

    read(payload(DEPTH_LIMIT - 1), Python)
    for depth in (DEPTH_LIMIT, 500):
        with pytest.raises(BadPayload, match="more than 100 levels"):
            read(payload(depth), Python)


def test_a_driver_with_data_that_nobody_can_read_is_sent_away(one: Pool) -> None:
    host = one.host
    driven = one.begin("add", a=1, order=b'{"handler": "add", "data": {"a": ' + b"[" * 990 + b"]" * 990 + b"}}")
    assert driven.end().cause == "infrastructure"
    assert one.host == host
    assert one.run("add", a=1).code == 0


def test_a_task_that_was_cancelled_before_its_handler_began_does_not_begin() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        link = Wire(theirs)
        worker = Worker(link, {"h": lambda context: "it began"}, [], 0)
        link.task = "t2"
        ours.sendall(wire.encoded({"kind": wire.CANCEL, "task": "t1"}))
        ours.sendall(wire.encoded({"kind": wire.CANCEL, "task": "t2"}))
        order: dict[str, Any] = {"task": "t2", "run": 1, "attempt": 0, "handler": "h", "data": {}, "env": {}}
        assert worker._judged(order)["to"] == "cancelled"
        assert not link.is_cancelled(), "what was said to another task holds for no other"


def test_a_pool_that_is_stopped_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    with pool(tmp_path, stop_timeout_s=1.5) as made:
        driven = made.begin("stubborn").begun()
        os.kill(made.host, signal.SIGTERM)
        end = driven.end()
        assert (end.out, end.cause) == ("no\n", "infrastructure")
        gone(driven.worker)
        assert made.executor._host is not None
        assert made.executor._host.wait(PATIENCE_S) == 0


def test_modules_that_were_broken_meanwhile_put_tasks_off(tmp_path: Path) -> None:
    with pool(tmp_path) as made:
        made.write("raise RuntimeError('half a change')")
        os.kill(made.host, signal.SIGKILL)
        assert made.executor._host is not None
        made.executor._host.wait(PATIENCE_S)
        end = made.run("add", a=1)
        assert end.cause == "infrastructure"
        assert "Module jobs cannot be imported: RuntimeError: half a change." in end.error


def test_a_host_without_descriptors_looks_later(tmp_path: Path) -> None:
    """It neither spins nor loses who waits at its door."""
    with pool(tmp_path) as made:
        limits = resource.prlimit(made.host, resource.RLIMIT_NOFILE)
        resource.prlimit(made.host, resource.RLIMIT_NOFILE, (3, limits[1]))
        waits = [made.begin("add", a=number) for number in range(2)]
        log = made.data / wire.FOLDER / wire.LOG
        said(log, b"drivers wait: Too many open files (1 so far). Raise `ulimit -n` of the daemon.\n")
        resource.prlimit(made.host, resource.RLIMIT_NOFILE, limits)
        assert [each.end().document for each in waits] == [{"sum": 1}, {"sum": 2}]


def said(log: Path, words: bytes) -> None:
    """Wait until the log has them: a writer at its end wakes nobody."""
    end_s = time.monotonic() + PATIENCE_S
    while words not in log.read_bytes():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_who_cannot_be_let_in_is_not_asked_for_at_once_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listener = Mock(fileno=lambda: 5, accept=Mock(side_effect=OSError(EMFILE, "Too many open files")))
    host = Host(tmp_path, Settings((), 1, "/x"), listener, 0, {})
    host.loop = Mock()
    monkeypatch.setattr(os, "write", log := Mock())
    for _ in range(100):
        host._accept()
    assert host.loop.forget.call_count == host.loop.later.call_count == 100
    assert host.loop.later.call_args.args[0] > 0
    assert log.call_count == 1, "said once a minute"
    host.loop.later.call_args.args[1]()
    host.loop.read.assert_called_once_with(5, host._accept)


def test_a_worker_without_descriptors_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = Host(tmp_path, Settings((), 1, "/x"), Mock(), 0, {})
    place = host._places[0]
    monkeypatch.setattr(socket, "socketpair", Mock(side_effect=OSError(EMFILE, "Too many open files")))
    place.start()
    assert "Too many open files. Raise `ulimit -n` and `-u` of the daemon, or lower `size`." in place.trouble


def test_what_workers_write_while_idle_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "log"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size, kept in ((1 << 20, 1 << 20), ((1 << 20) + 1, 0)):
        os.truncate(file, size)
        _bound(fd)
        assert file.stat().st_size == kept
    os.close(fd)
