"""What outlives whom: daemon, supervisor, connection, journal; and a machine that is short of something."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Cause
from node.core.faults import Code, Fault
from node.supervisor import wire
from node.supervisor.journal import Journal
from node.worker.port import (
    AttemptKey,
    Connected,
    Delayed,
    Disconnected,
    Finished,
    HeldState,
    StopOrder,
)
from tests.gate import gate_in, opened
from tests.node.supervisor_kit import Watched, alive, boot_us, end, family, kill, supervised, until

DAEMON = """
import asyncio, sys
from pathlib import Path
from tests.node.supervisor_kit import Watched

async def main():
    watched = Watched(Path(sys.argv[1]))
    await watched.start(slots=1)
    running = watched.order("sh", "-c", "echo up; exec sleep 100")
    waiting = watched.order("sh", "-c", "echo second")
    watched.port.spawn([running, waiting])
    await watched.started(running.key)
    print("running", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


async def test_commands_run_on_when_the_daemon_is_killed(tmp_path: Path) -> None:
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DAEMON, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    assert await daemon.stdout.readline() == b"running\n"
    daemon.kill()
    await daemon.wait()
    async with supervised(tmp_path, slots=1) as watched:
        connected = watched.last(Connected)
        assert connected is not None
        states = {held.key: held.state for held in connected.attempts}
        first, second = sorted(states)
        assert states == {first: HeldState.RUNNING, second: HeldState.WAITING}
        pid = next(held.pid for held in connected.attempts if held.key == first)
        assert alive(pid)
        watched.port.stop([StopOrder(first, Cause.CAUSE_CANCEL, 1_000_000)])
        assert (await watched.result(first)).cause == Cause.CAUSE_CANCEL
        assert (await watched.result(second)).stdout.head == b"second\n"


async def test_results_are_kept_until_they_are_forgotten(tmp_path: Path) -> None:
    async with supervised(tmp_path) as watched:
        order = watched.order("sh", "-c", "echo kept; exit 3")
        watched.port.spawn([order])
        result = await watched.result(order.key)
        for _ in range(2):
            await watched.port.close()
            watched = Watched(tmp_path)
            (held,) = (await watched.start()).attempts
            assert (held.key, held.state, held.result) == (order.key, HeldState.ENDED, result)
        watched.port.spawn([order])  # a key that is known runs only once
        watched.port.forget([order.key])
        await watched.port.close()
        watched = Watched(tmp_path)
        assert (await watched.start()).attempts == []
        await watched.port.close()


async def test_a_killed_supervisor_reports_what_ran_as_lost_and_ends_it(tmp_path: Path) -> None:
    async with supervised(tmp_path, slots=2) as watched:
        script = "(setsid sleep 101 &); echo up; exec sleep 100"
        running = watched.order("sh", "-c", script)
        hidden = watched.order("sh", "-c", "echo up; exec env -i sleep 100")
        ended = watched.order("true")
        waiting = watched.order("true", lease_end_us=0)
        watched.port.spawn([ended])
        await watched.result(ended.key)
        watched.port.spawn([running, hidden, waiting])
        for order in (running, hidden):
            await watched.says(order, b"up\n")
        pids = family(watched.port.pid)
        assert len(pids) == 3
        kill(watched.port.pid)
        connected = await watched.wait(lambda: watched.last(Connected) if watched.last(Disconnected) else None)
        connected = await watched.wait(
            lambda: next((e for e in watched.events[1:] if isinstance(e, Connected)), None)
        )
        assert {held.key: held.state for held in connected.attempts} == {
            running.key: HeldState.LOST,
            hidden.key: HeldState.LOST,
            ended.key: HeldState.ENDED,
        }
        assert not any(alive(pid) for pid in pids)
        watched.port.spawn([running])  # lost is lost
        watched.port.forget([running.key, hidden.key, ended.key])
        assert (await watched.run("true")).cause == 0
        assert watched.of(Finished, running.key) is None


async def test_the_newest_daemon_wins(tmp_path: Path) -> None:
    async with supervised(tmp_path) as watched:
        reader, writer = await _connect(tmp_path)
        writer.write(wire.hello("cortexd", {"protocol": str(wire.NEWEST)}))
        await watched.wait(lambda: watched.last(Disconnected))
        # The first comes back, and is now the newest.
        await watched.wait(lambda: watched.last(Connected) if isinstance(watched.events[-1], Connected) else None)
        await reader.read()
        writer.close()
        assert (await watched.run("true")).cause == 0


async def test_one_supervisor_per_folder(tmp_path: Path) -> None:
    async with supervised(tmp_path):
        program = Path(wire.__file__).parent
        second = await asyncio.create_subprocess_exec(
            sys.executable,
            str(program),
            "--data",
            str(tmp_path),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await second.communicate()
        assert (second.returncode, out) == (1, b"")
        assert b"another supervisor runs on this data folder" in err


async def test_deep_data_folder(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-folder-name"] * 8)
    async with supervised(deep) as watched:
        assert (await watched.run("pwd", cwd="")).stdout.head.decode().startswith(str(deep))


async def test_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(Fault, match=r"The supervisor did not start: .*cannot start") as caught:
        await Watched(tmp_path / "data").start()
    assert caught.value.remedy


async def test_supervisor_of_another_version_is_refused_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "supervisor"
    folder.mkdir()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.hello("cortex-supervisor", {"protocol": "999", "pid": "4711"}))
        await writer.drain()
        await reader.read()
        writer.close()

    listener = socket.socket(socket.AF_UNIX)
    fd = os.open(folder, os.O_RDONLY)
    listener.bind(f"/proc/self/fd/{fd}/{wire.SOCKET}")
    os.close(fd)
    server = await asyncio.start_unix_server(greet, sock=listener)
    async with server:
        with pytest.raises(Fault) as caught:
            await Watched(tmp_path).start()
    assert caught.value.code == Code.UNSUPPORTED
    assert "pid 4711" in caught.value.message
    assert "speaks protocol 999" in caught.value.message
    assert "kill 4711" in caught.value.remedy


async def test_daemon_of_another_version_is_turned_away(tmp_path: Path) -> None:
    async with supervised(tmp_path) as watched:
        for greeting in (wire.hello("cortexd", {"protocol": "999"}), wire.frame(b"GET / HTTP/1.1"), b"\xff" * 99):
            reader, writer = await _connect(tmp_path)
            writer.write(greeting)
            theirs = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "little"))
            assert wire.parse_hello(theirs)["protocol"] == str(wire.OLDEST)
            assert await reader.read() == b""
            writer.close()
        assert watched.last(Disconnected) is None
        log = (tmp_path / "supervisor/log").read_text()
        assert f"the daemon speaks protocol 999, this supervisor {wire.OLDEST} to {wire.NEWEST}" in log


async def _connect(data: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = socket.socket(socket.AF_UNIX)
    fd = os.open(data / "supervisor", os.O_RDONLY)
    sock.connect(f"/proc/self/fd/{fd}/{wire.SOCKET}")
    os.close(fd)
    return await asyncio.open_unix_connection(sock=sock)


async def test_out_of_descriptors_is_back_pressure(tmp_path: Path) -> None:
    async with supervised(tmp_path, slots=50) as watched:
        pid = watched.port.pid
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, 20_000))
        gate = gate_in(tmp_path)
        orders = [watched.order("sh", "-c", f": <{gate}") for _ in range(60)]
        watched.port.spawn(orders)
        delayed = await watched.wait(lambda: watched.last(Delayed))
        assert "Too many open files" in delayed.reason
        with opened(gate):
            for order in orders:
                assert (await watched.result(order.key)).cause == 0


async def test_commands_leave_descriptors_for_their_output_and_for_a_daemon(tmp_path: Path) -> None:
    async with supervised(tmp_path, slots=50) as watched:
        pid = watched.port.pid
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 100, 20_000))
        gate = gate_in(tmp_path)
        orders = [watched.order("sh", "-c", f": <{gate}; echo said; echo too >&2") for _ in range(60)]
        watched.port.spawn(orders)
        await watched.wait(lambda: watched.last(Delayed))
        await watched.port.close()
        again = Watched(tmp_path)
        await again.start(slots=50)
        with opened(gate):
            for order in orders:
                result = await again.result(order.key)
                assert (result.cause, result.stdout.dropped_bytes, result.stderr.dropped_bytes) == (0, 0, 0)
                assert again.output.size(*order.key, "err") == len("too\n")
        await again.port.close()


async def test_out_of_disk_for_start_marks_is_back_pressure(tmp_path: Path) -> None:
    async with supervised(tmp_path) as watched:
        pid = watched.port.pid
        limit = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limit[1]))
        order = watched.order("true")
        watched.port.spawn([order])
        delayed = await watched.wait(lambda: watched.last(Delayed))
        assert "start marks cannot be written" in delayed.reason
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
        assert (await watched.result(order.key)).cause == 0


async def test_a_full_disk_does_not_stop_the_command(tmp_path: Path) -> None:
    async with supervised(tmp_path) as watched:
        pid = watched.port.pid
        gate = gate_in(tmp_path)
        order = watched.order("sh", "-c", f"echo up; : <{gate}; head -c 200000 /dev/zero")
        watched.port.spawn([order])
        await watched.says(order, b"up\n")
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (70_000, hard))
        with opened(gate):
            result = await watched.result(order.key)
        assert result.cause == 0
        assert result.stdout.total_bytes == 200_003
        assert 0 < result.stdout.dropped_bytes <= 200_000
        kept = result.stdout.total_bytes - result.stdout.dropped_bytes
        assert watched.output.size("task", order.key.fence, "out") == kept


async def test_supervisor_goes_with_its_folder_only_when_idle(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with supervised(data) as watched:
        pid = watched.port.pid
        await watched.port.close()
        os.rename(data, tmp_path / "away")
        assert alive(pid)  # it looks once a minute
        os.rename(tmp_path / "away", data)
        again = Watched(data)
        await again.start()
        assert again.port.pid == pid
        await again.port.close()


class TestJournal:
    def test_survives_a_torn_tail(self, tmp_path: Path) -> None:
        journal = Journal(str(tmp_path), "boot")
        journal.mark("a.1", 100)
        journal.spawned("a.1", 42, 101, 102)
        journal.mark("b.1", 200)
        journal.ended("b.1", (0, "", 0))
        journal.flush()
        whole = (tmp_path / "attempts").read_bytes()
        for cut in range(len(whole)):
            (tmp_path / "attempts").write_bytes(whole[:cut])
            again = Journal(str(tmp_path), "boot")
            assert set(again.marks) <= {"a.1", "b.1"}
            assert set(again.results) == set()
        (tmp_path / "attempts").write_bytes(whole + b"\0" * 100)
        again = Journal(str(tmp_path), "later boot")
        assert {key: (mark.boot_us, mark.pid, mark.boot_id) for key, mark in again.marks.items()} == {
            "a.1": (100, 42, "boot"),
            "b.1": (200, 0, "boot"),
        }
        assert again.results == {"b.1": (0, "", 0)}

    def test_forgotten_and_unmarked_are_gone_after_reading(self, tmp_path: Path) -> None:
        journal = Journal(str(tmp_path), "boot")
        for key in ("a.1", "b.1", "c.1"):
            journal.mark(key, 1)
        journal.unmark("a.1")
        journal.ended("b.1", (1,))
        journal.forget(["b.1"])
        journal.flush()
        assert set(Journal(str(tmp_path), "boot").marks) == {"c.1"}

    def test_stays_small(self, tmp_path: Path) -> None:
        journal = Journal(str(tmp_path), "boot")
        for number in range(2000):
            key = f"a.{number}"
            journal.mark(key, 1)
            journal.ended(key, (b"x" * 16_000,))
            journal.forget([key])
            journal.flush()
        journal.mark("last.1", 1)
        journal.flush()
        assert (tmp_path / "attempts").stat().st_size < 5 * 1024 * 1024
        assert set(Journal(str(tmp_path), "boot").marks) == {"last.1"}


async def test_marks_of_another_boot_harm_no_process(tmp_path: Path) -> None:
    """A number that now is another process's must not be killed."""
    bystander = await asyncio.create_subprocess_exec("sleep", "100")
    try:
        folder = tmp_path / "supervisor"
        folder.mkdir()
        for boot_id, at_us in (("another boot", boot_us()), (_boot_id(), 5)):
            journal = Journal(str(folder), boot_id)
            journal.mark("a.1", at_us)
            journal.spawned("a.1", bystander.pid, at_us, at_us + 1_000)
            journal.flush()
            watched = Watched(tmp_path)
            connected = await watched.start()
            assert [(held.key, held.state) for held in connected.attempts] == [(AttemptKey("a", 1), HeldState.LOST)]
            assert alive(bystander.pid)
            await watched.port.quit()
    finally:
        bystander.send_signal(signal.SIGKILL)
        await bystander.wait()
        end(tmp_path)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def test_equal_keys_of_another_folder_are_left_alone(tmp_path: Path) -> None:
    async with supervised(tmp_path / "one") as one, supervised(tmp_path / "two") as two:
        orders = [each.order("sh", "-c", "(setsid sleep 101 &); echo up; exec sleep 100") for each in (one, two)]
        assert orders[0].key == orders[1].key
        for each, order in zip((one, two), orders, strict=True):
            each.port.spawn([order])
            await each.says(order, b"up\n")
        pids = family(two.port.pid)
        kill(one.port.pid)
        await one.wait(lambda: one.last(Disconnected))
        await one.wait(lambda: one.last(Connected) if isinstance(one.events[-1], Connected) else None)
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)


async def test_log_of_a_quiet_day_is_empty(tmp_path: Path) -> None:
    async with supervised(tmp_path) as watched:
        await watched.run("true")
        await watched.port.quit()
        await until(lambda: not (tmp_path / "supervisor.pid").exists())
        assert (tmp_path / "supervisor/log").read_bytes() == b""
