"""Services: when they are ready, how they end, what becomes of their output."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.worker.executors.port import CannotPrepare, Setup
from node.worker.executors.service import ServiceExecutor
from node.worker.port import SpawnOrder, StopOrder
from tests.gate import gate_in, opened
from tests.node.service_kit import Services, services
from tests.node.supervisor_kit import alive, family, until

PORT = (
    "import socket\nsock = socket.create_server(('127.0.0.1', 0))\n"
    "say('listening on', '127.0.0.1:%d' % sock.getsockname()[1])\n"
)
LISTENING = r"listening on (?P<web>[\d.]+:(?P<number>\d+))"
HTTP = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404 if self.path == '/none' or os.path.exists('sick') else 204)
        self.end_headers()
    def log_message(self, *_): pass
server = HTTPServer(('127.0.0.1', 0), Answer)
say('listening on 127.0.0.1:%d' % server.server_port)
server.serve_forever()
"""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Services]:
    async with services(tmp_path) as made:
        yield made


async def stop(here: Services, order: SpawnOrder, cause: t.Cause.ValueType = t.CAUSE_CANCEL) -> None:
    here.watched.port.stop([StopOrder(order.key, cause, order.kill_timeout_us)])


async def test_a_line_of_its_output_says_that_it_is_ready(here: Services) -> None:
    order = here.python(PORT + "time.sleep(1000)", ready={"pattern": LISTENING})
    endpoints = await here.ready(order)
    assert endpoints == {"web": f"127.0.0.1:{endpoints['number']}", "number": endpoints["number"]}
    await stop(here, order)
    ended = await here.end(order)
    assert (ended.cause, ended.result.signal) == (t.CAUSE_CANCEL, signal.SIGTERM)
    assert here.told(order) == 1
    assert ended.result.stdout.head == f"listening on {endpoints['web']}\n".encode()


async def test_a_port_that_its_output_named_is_asked(here: Services) -> None:
    order = here.python(PORT + "sock.accept()\ntime.sleep(1000)", ready={"pattern": LISTENING, "port": "{number}"})
    endpoints = await here.ready(order)
    assert endpoints["port"] == endpoints["web"]


async def test_an_address_is_asked_by_http_until_it_says_so(here: Services) -> None:
    url = "http://{web}/ready"
    order = here.python(HTTP, ready={"pattern": LISTENING, "url": url, "status": [204], "interval_s": 0.05})
    endpoints = await here.ready(order)
    assert endpoints["url"] == f"http://{endpoints['web']}/ready"


async def test_one_without_a_check_is_ready_as_it_begins(here: Services) -> None:
    order = here.start("sleep", "1000")
    assert await here.ready(order) == {}


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    """A server that answers 404 to all."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize(
    ("ready", "why"),
    [
        ({"pattern": "never said"}, "no line matched ready.pattern"),
        ({"url": "{refusing}", "interval_s": 0.3}, "HTTP status 404"),
        ({"port": 1, "interval_s": 0.3}, "Connection refused"),
    ],
)
async def test_one_that_is_not_ready_in_time_is_stopped(
    here: Services, refusing: str, ready: dict[str, object], why: str
) -> None:
    asked = {name: value.format(refusing=refusing) if name == "url" else value for name, value in ready.items()}  # type: ignore[attr-defined]
    order = here.start("sleep", "1000", ready={**asked, "timeout_s": 0.6})
    ended = await here.end(order)
    assert ended.cause == t.CAUSE_TIMEOUT
    assert ended.error == f"The service was not ready within 0.6 s: {why}."
    assert not here.told(order)


async def test_one_that_ends_before_it_is_ready_has_failed(here: Services) -> None:
    ended = await here.end(here.start("true", ready={"pattern": "x"}))
    assert (ended.cause, ended.result.exit_code) == (t.CAUSE_EXIT, 1)
    assert ended.error == "The service ended before it was ready."


@pytest.mark.parametrize(("code", "cause"), [(0, t.CAUSE_UNSPECIFIED), (3, t.CAUSE_EXIT)])
async def test_one_that_ends_by_itself_ends_as_its_command_did(
    here: Services, code: int, cause: t.Cause.ValueType
) -> None:
    ended = await here.end(here.start("sh", "-c", f"exit {code}"))
    assert (ended.cause, ended.result.exit_code) == (cause, code)


async def test_a_signal_that_killed_it_is_its_end(here: Services) -> None:
    ended = await here.end(here.start("sh", "-c", "kill -9 $$"))
    assert (ended.cause, ended.result.signal) == (t.CAUSE_SIGNAL, signal.SIGKILL)


async def test_a_command_that_is_not_there_is_named(here: Services) -> None:
    ended = await here.end(here.start("no-such-service"))
    assert ended.cause == t.CAUSE_NOT_FOUND
    assert ended.error.startswith("Command no-such-service cannot be run: No such file or directory. Its PATH is")


async def test_a_stop_asks_once_and_waits_for_what_it_still_says(here: Services, tmp_path: Path) -> None:
    gate = gate_in(tmp_path)
    order = here.python(
        # No handler: one whose signal comes just before the gate is run only when that opens.
        "import signal\nTERM = {signal.SIGTERM}\nsignal.pthread_sigmask(signal.SIG_BLOCK, TERM)\n"
        # Old enough not to be told twice in doubt.
        "time.sleep(0.05)\nsay('up')\nsignal.sigwait(TERM)\nsay('asked to stop')\n"
        f"open({str(gate)!r}).close()\nsay('asked again' if signal.sigpending() else 'last words')\nsys.exit(0)",
        ready={"pattern": "^up$"},
    )
    await here.ready(order)
    await stop(here, order, t.CAUSE_MIGRATE)
    await here.watched.says(order, b"asked to stop")
    with opened(gate):
        ended = await here.end(order)
    # A service that ends in order has been moved all the same, and has not completed.
    assert (ended.cause, ended.result.signal) == (t.CAUSE_MIGRATE, signal.SIGTERM)
    assert ended.result.stdout.head == b"up\nasked to stop\nlast words\n"


async def test_a_stop_that_only_its_driver_is_told_of_reaches_it(here: Services) -> None:
    order = here.python("say('up')\ntime.sleep(1000)", ready={"pattern": "^up$"})
    await here.ready(order)
    os.kill((await here.watched.started(order.key)).pid, signal.SIGTERM)
    assert (await here.end(order)).result.signal == signal.SIGTERM


async def test_one_that_ignores_a_stop_is_killed_with_all_of_its_own(here: Services) -> None:
    order = here.start(
        "sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000 & echo up; wait; wait; sleep 1000",
        ready={"pattern": "up"}, kill_timeout_ms=300,
    )  # fmt: skip
    await here.ready(order)
    members = family(here.watched.port.pid)
    assert len(members) >= 4
    await stop(here, order)
    assert (await here.end(order)).cause == t.CAUSE_CANCEL
    assert not [pid for pid in members if alive(pid)]


async def test_its_output_goes_through_unchanged_with_both_streams_apart(here: Services) -> None:
    code = (
        "out = os.urandom(1) * 0 + bytes(range(256)) * 4000\n"
        "os.write(2, b'begin\\n')\n"
        "at = 0\nwhile at < len(out): at += os.write(1, out[at:])\n"
        "os.write(2, b'no newline')"
    )
    order = here.python(code, ready={"pattern": "begin"})
    ended = await here.end(order)
    assert ended.result.exit_code == 0
    read = here.watched.output.read
    assert read("task", order.key.fence, "out", 0, 1 << 20) == bytes(range(256)) * 4000
    assert read("task", order.key.fence, "err", 0, 1 << 20) == b"begin\nno newline"


async def test_a_daemon_that_begins_again_hears_it_again(here: Services) -> None:
    order = here.start("sleep", "1000")
    await here.ready(order)
    pids = family(here.watched.port.pid)
    second = Services(here.watched)
    second.drivers.follow(order.key, here.assignments[order.key])
    assert await second.ready(order) == {}
    await until(lambda: family(here.watched.port.pid) == pids)


@pytest.mark.parametrize("cwd", ["{data}/supervisor", "/etc", "{data}/link"])
def test_a_service_works_where_the_machine_allows(tmp_path: Path, cwd: str) -> None:
    (tmp_path / "daemon").mkdir()
    (tmp_path / "srv").mkdir()
    (tmp_path / "daemon" / "link").symlink_to(tmp_path / "daemon")
    executor = ServiceExecutor(Setup(tmp_path / "daemon", roots=[tmp_path / "srv"]))
    assignment = w.Assignment(spec=t.TaskSpec(type=t.TASK_TYPE_SERVICE, argv=[b"serve"]))
    assignment.spec.cwd = cwd.format(data=tmp_path / "daemon")
    with pytest.raises(CannotPrepare, match="Working directory"):
        executor.prepare(assignment)
    assignment.spec.cwd = str(tmp_path / "srv")
    assert executor.prepare(assignment).cwd == str(tmp_path / "srv")
