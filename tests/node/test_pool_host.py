"""The pool around its tasks: workers that come and go, a host that dies or is replaced, settings that are wrong."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import TaskSpec
from cortex.v1.worker_pb2 import Assignment
from node.core.faults import Fault
from node.pool import wire
from node.worker.executors.port import CannotPrepare
from node.worker.executors.python import settings_of
from tests.node.pool_kit import HANDLERS, PATIENCE_S, Pool, gone, pool

IMPORT = "from node.pool import handler\n"


def test_a_warm_worker_stays_until_it_ran_its_share(tmp_path: Path) -> None:
    with pool(tmp_path, max_tasks=2) as made:
        pids = [made.run("pid").document for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]


def test_a_fresh_one_runs_one_task(tmp_path: Path) -> None:
    with pool(tmp_path, mode="fresh") as made:
        assert len({made.run("pid").document for _ in range(3)}) == 3


def test_workers_run_side_by_side_and_a_crash_is_one_s_own(tmp_path: Path) -> None:
    with pool(tmp_path, size=2) as made:
        held = made.begin("hold", path=str(tmp_path / "go")).begun()
        assert made.run("die", how="exit").code == 7
        assert made.run("add", a=1).code == 0
        (tmp_path / "go").touch()
        assert held.end().document == "went on"


def test_more_memory_than_allowed_is_out_of_memory(tmp_path: Path) -> None:
    with pool(tmp_path, memory_mb=300) as made:
        assert made.run("eat", mb=1).code == 0
        end = made.run("eat", mb=400)
        assert (end.code, end.cause) == (1, "oom")


def test_a_worker_that_is_silent_is_killed(tmp_path: Path) -> None:
    made = Pool(tmp_path)
    made.write(HANDLERS)
    made.executor._settings = replace(made.executor._settings, heartbeat_timeout_s=4.0)
    try:
        assert made.probe().available
        driven = made.begin("stubborn").begun()
        os.kill(driven.worker, signal.SIGSTOP)
        end = driven.end()
        assert (end.code, end.cause) == (137, "timeout")
        assert end.error == "Handler stubborn let nothing be heard of its worker for 4 s, which was killed."
    finally:
        made.close()


def test_a_host_that_dies_takes_its_workers_along_and_costs_no_attempt(tmp_path: Path) -> None:
    with pool(tmp_path) as made:
        driven = made.begin("stubborn").begun()
        os.kill(made.host, signal.SIGKILL)
        end = driven.end()
        assert (end.code, end.cause) == (1, "infrastructure")
        gone(driven.worker)
        host = made.executor._host
        assert host is not None
        host.wait(PATIENCE_S)
        assert made.run("add", a=1).code == 0, "the next task brings another host"


def test_a_restart_brings_new_handlers_and_the_old_host_ends_what_it_runs(tmp_path: Path) -> None:
    with pool(tmp_path) as made:
        held = made.begin("hold", path=str(tmp_path / "go")).begun()
        old = made.executor._host
        assert old is not None
        made.write(HANDLERS + '\n@handler("new")\ndef new(context):\n    return "new"\n')
        made.executor = made.made()
        offer = made.probe()
        assert "python:new" in offer.capabilities
        assert made.run("new").document == "new"
        (tmp_path / "go").touch()
        assert held.end().document == "went on"
        assert old.wait(PATIENCE_S) == 0


def test_a_host_that_is_to_end_asks_what_runs_to_end(tmp_path: Path) -> None:
    with pool(tmp_path) as made:
        driven = made.begin("hold", path="/nonexistent").begun()
        waits = made.begin("add", a=1)
        os.kill(made.host, signal.SIGTERM)
        end = driven.end()
        assert (end.out, end.cause) == ("cleaned up True\n", "infrastructure")
        assert end.error == "Handler hold was ended with the pool of its node."
        assert made.executor._host is not None
        assert made.executor._host.wait(PATIENCE_S) == 0
        waits.process.kill()
        waits.end()


def test_a_host_without_tasks_or_folder_goes_by_itself(tmp_path: Path) -> None:
    made = Pool(tmp_path)
    made.write(HANDLERS)
    made.executor._settings = replace(made.executor._settings, idle_quit_s=0.0)
    try:
        assert made.probe().available
        assert made.executor._host is not None
        assert made.executor._host.wait(PATIENCE_S) == 0
        assert made.run("add", a=1).code == 0, "the next task brings another"
    finally:
        made.close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nothing_of_the_kind", "Module jobs cannot be imported: ModuleNotFoundError: No module named "),
        ("raise SystemExit", "Module jobs cannot be imported: SystemExit: . Correct jobs, and restart the daemon."),
        ("", "No function of jobs is a handler. Mark one with @handler(NAME)."),
        (
            f"{IMPORT}@handler('a b')\ndef f(c): ...",
            "The handler name 'a b' in jobs is not one.",
        ),
        (
            f"{IMPORT}@handler('a')\ndef f(c): ...\n@handler('a')\ndef g(c): ...",
            "Two functions of jobs and jobs are the handler a. Rename one, and restart the daemon.",
        ),
        ("import os; os._exit(5)", "A worker ended while it started: exit status 5."),
    ],
)
def test_modules_that_do_not_load_are_said_at_the_start(tmp_path: Path, text: str, reason: str) -> None:
    made = Pool(tmp_path)
    made.write(text)
    try:
        offer = made.probe()
        assert not offer.available
        assert offer.reason.startswith(reason)
    finally:
        made.close()


def test_a_pool_without_modules_or_with_one_that_is_not_there(tmp_path: Path) -> None:
    made = Pool(tmp_path, modules=[])
    assert made.probe().reason.startswith("No modules with handlers are named. Name them as modules in [executor.")
    made = Pool(tmp_path, modules=["absent"])
    made.write("")
    try:
        assert made.probe().reason.startswith("There is no module absent.")
    finally:
        made.close()


def test_what_is_not_of_the_protocol_is_sent_away(tmp_path: Path) -> None:
    with pool(tmp_path) as made:
        for data in (b"\xff\xff\xff\xff", wire.packed(b"nonsense"), wire.packed(b"/\0CORTEX_TASK=x"), b""):
            with made.executor._connect() as sock:
                sock.sendall(data)
                sock.shutdown(1)
                assert sock.recv(1) == b""
        reading, writing = os.pipe()
        with made.executor._connect() as sock:
            socket.send_fds(sock, [wire.packed(b"/\0CORTEX_TASK=x")], [writing])
            assert sock.recv(1) == b""
        os.close(writing)
        os.set_blocking(reading, False)
        assert os.read(reading, 1) == b"", "its pipe is held by nobody"
        os.close(reading)
        assert made.run("add", a=1).code == 0


def test_a_payload_is_checked_where_it_runs_too(tmp_path: Path) -> None:
    executor = Pool(tmp_path).executor
    with pytest.raises(CannotPrepare, match="handler is 'a b'"):
        executor.prepare(Assignment(spec=TaskSpec(payload=b'{"handler": "a b"}')))


def test_it_works_where_its_node_allows(tmp_path: Path) -> None:
    with pool(tmp_path / "data") as made:
        spec = TaskSpec(payload=b'{"handler": "pid"}', cwd=str(tmp_path))
        assert made.executor.prepare(Assignment(spec=spec)).cwd == str(tmp_path)
        spec.cwd = str(tmp_path / "data" / "pool")
        with pytest.raises(CannotPrepare, match="belongs to the daemon"):
            made.executor.prepare(Assignment(spec=spec))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"moduls": []}, "Setting moduls of"),
        ({"modules": 3}, "Setting modules of"),
        ({"modules": [""]}, "Setting modules of"),
        ({"path": ["relative"]}, "a folder of it does not begin with /"),
        ({"size": 0}, "Setting size of [executor.python] cannot be used: it is 0"),
        ({"size": True}, "it is True"),
        ({"mode": "threads"}, "it is 'threads'"),
        ({"interpreter": "python3"}, "it is 'python3'"),
        ({"memory_mb": -1}, "Setting memory_mb of"),
        ({"nice": -5}, "it is -5"),
        ({"heartbeat_timeout_s": "soon"}, "it is 'soon'"),
        ({"start_timeout_s": 0}, "Setting start_timeout_s of"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(Fault, match=r"\[executor\.python\]") as caught:
        settings_of(options)
    assert said in caught.value.message
    assert caught.value.remedy
