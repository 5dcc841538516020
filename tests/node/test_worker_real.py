"""A whole worker with a real supervisor and real commands; only the leader is played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.env import Env
from node.worker.executors.port import Setup
from node.worker.executors.shell import ShellExecutor
from node.worker.supervision import ProcessSupervisor
from node.worker.worker import WorkerNode
from tests.gate import gate_in, opened
from tests.node.leader_kit import machine_node, resources
from tests.node.supervisor_kit import alive, end, family, kill, state_of, until
from tests.node.worker_kit import HERE, FakeLink, LeaderSide, assignment, key, kinds

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


class Machine:
    """A daemon's worker that can be killed and started again on its folder."""

    def __init__(self, folder: Path, slots: int = 2) -> None:
        self.folder = folder
        self.link = FakeLink()
        env = Env.real(folder)
        self.supervisor = ProcessSupervisor(env)
        self.failures: list[Exception] = []
        self.worker = WorkerNode(
            env,
            machine_node(slots=slots),
            self.link,  # type: ignore[arg-type]
            self.supervisor,
            [ShellExecutor(Setup(folder, ENVIRONMENT))],
            resources,
            lambda: [HERE],
            on_fatal=self.failures.append,
        )

    async def session(self, **welcome: Any) -> LeaderSide:
        side = await self.link.accept()
        await side.welcome(**welcome)
        await side.ack(0)
        return side

    async def kill(self) -> None:
        """Drop everything, as kill -9 would: nothing is flushed, nobody is told."""
        connection = self.supervisor._connection
        assert connection is not None
        assert connection._transport is not None
        for task in (*self.worker._tasks, self.supervisor._keeper):
            assert task is not None
            task.cancel()
        self.worker.runner.on_batch = None
        self.supervisor._listener = None
        connection._transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def machine(folder: Path, slots: int = 2) -> AsyncIterator[Machine]:
    made = Machine(folder, slots)
    await made.worker.start()
    try:
        yield made
    finally:
        await made.worker.stop()
        end(folder)
        assert made.failures == []


async def test_a_command_from_assignment_to_acknowledgement(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        side = await here.session()
        await side.assign(assignment(argv=[], shell_command=b"echo $CORTEX_TASK $CORTEX_FENCE; exit 7"))
        reports: list[w.Report] = []
        while len(reports) < 2:
            batch = await side.next("reports")
            reports += batch.reports
            await side.send(reports_ack=w.ReportsAck(number=batch.number))
        started, ended = reports[0].started, reports[1].ended
        assert started.started_at_us == ended.result.started_at_us > 0
        assert ended.cause == t.CAUSE_EXIT
        assert ended.result.exit_code == 7
        assert ended.result.stdout.head == b"t1 10\n"
        assert ended.result.usage.wall_us > 0
        assert here.worker.output.read("t1", 10, "out", 0, 99) == b"t1 10\n"
        await until(lambda: not list(here.worker.runner.attempts))


async def test_many_short_commands(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        side = await here.session()
        names = [f"t{number}" for number in range(300)]
        await side.assign(*(assignment(name, 5, argv=[b"/bin/true"]) for name in names))
        found = await side.reports(600)
        assert sorted(found) == sorted((kind, key(name, 5)) for name in names for kind in ("started", "ended"))
        await until(lambda: not list(here.worker.runner.attempts))
        assert family(here.supervisor.pid) == []


async def test_cannot_start_is_reported_with_a_sentence(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        side = await here.session()
        await side.assign(assignment(argv=[b"no-such-command"]))
        (report,) = (await side.next("reports")).reports
        assert report.ended.cause == t.CAUSE_CANNOT_START
        assert report.ended.error.startswith("Command no-such-command is not in PATH (/usr/bin:/bin).")


async def test_stop_and_recall(tmp_path: Path) -> None:
    async with machine(tmp_path, slots=1) as here:
        side = await here.session()
        await side.assign(assignment("runs", argv=[b"sleep", b"100"]), assignment("waits"), assignment("third"))
        assert await side.reports(1) == [("started", key("runs"))]
        await side.send(recall=w.Recall(fences=[10], tasks=["waits"]))
        assert await side.reports(1) == [("recalled", key("waits"))]
        item = w.StopItem(task="runs", fence=10, cause=t.CAUSE_CANCEL, kill_timeout_ms=1000)
        await side.send(stop=w.Stop(items=[item]))
        found = await side.reports(1)
        assert found[0] == ("ended", key("runs"))
        found += await side.reports(3 - len(found))
        assert found[1:] == [("started", key("third")), ("ended", key("third"))]


async def test_a_killed_daemon_adopts_its_commands(tmp_path: Path) -> None:
    first = Machine(tmp_path)
    await first.worker.start()
    side = await first.session()
    gate = gate_in(tmp_path)
    short = assignment("short", argv=[], shell_command=f": <{gate}".encode())
    await side.assign(assignment("long", argv=[b"sleep", b"1000"]), short)
    await side.reports(2)
    pid = first.supervisor.pid
    commands = family(pid)
    await first.kill()
    with opened(gate):
        # Gone, not only dead: then its supervisor knows.
        await until(lambda: not all(state_of(command) for command in commands))
    async with machine(tmp_path) as second:
        assert second.supervisor.pid == pid
        side = await second.link.accept()
        assert {item.task: item.state for item in side.hello.inventory} == {
            "long": w.ATTEMPT_STATE_RUNNING,
            "short": w.ATTEMPT_STATE_ENDED,
        }
        await side.welcome()
        await side.ack(0)
        found = await side.reports(1)
        while ("ended", key("short")) not in found:
            found += await side.reports(1)
        assert family(pid) == [command for command in commands if alive(command)]
        assert not second.worker.output.ended("long", 10)
        item = w.StopItem(task="long", fence=10, cause=t.CAUSE_CANCEL)
        await side.send(stop=w.Stop(items=[item]))
        assert await side.reports(1) == [("ended", key("long"))]


async def test_daemon_and_supervisor_killed_together(tmp_path: Path) -> None:
    first = Machine(tmp_path, slots=1)
    await first.worker.start()
    side = await first.session()
    await side.assign(assignment("runs", argv=[b"sleep", b"100"]), assignment("waits", argv=[b"echo", b"later"]))
    await side.reports(1)
    commands = family(first.supervisor.pid)
    pid = first.supervisor.pid
    await first.kill()
    kill(pid)
    async with machine(tmp_path) as second:
        assert second.supervisor.pid != pid
        assert not any(alive(command) for command in commands)
        side = await second.session()
        # what never started in this boot runs now, what was marked is lost
        found = await side.reports(1)
        while len(found) < 3:
            found += await side.reports(1)
        assert ("lost", key("runs")) in found
        assert ("ended", key("waits")) in found


async def test_supervisor_killed_under_the_daemon(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        side = await here.session()
        await side.assign(assignment("runs", argv=[b"sleep", b"100"]))
        await side.reports(1)
        kill(here.supervisor.pid)
        assert await side.reports(1) == [("lost", key("runs"))]
        await side.assign(assignment("next", 11))
        assert await side.reports(2) == [("started", key("next", 11)), ("ended", key("next", 11))]


async def test_lease_ends_commands_of_a_daemon_without_leader(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        side = await here.session()
        spec = assignment("runs", lease_ms=5_000, argv=[b"sleep", b"1000"], kill_timeout_ms=1_000)
        hold = assignment("holds", lease_ms=0, on_lost=t.ON_LOST_HOLD, argv=[b"sleep", b"1000"])
        await side.assign(spec, hold)
        await side.reports(2)
        await side.stream.close()
        here.link.up.clear()
        (left,) = await _until_left(here, 1)
        await until(lambda: here.worker.output.ended("runs", 10))
        here.link.up.add(HERE)
        side = await here.link.accept()
        states = {item.task: item.state for item in side.hello.inventory}
        assert states == {"runs": w.ATTEMPT_STATE_ENDED, "holds": w.ATTEMPT_STATE_RUNNING}
        await side.welcome()
        batch = await side.next("reports")
        assert kinds(batch) == [("ended", key("runs"))]
        assert batch.reports[0].ended.cause == t.CAUSE_LEASE
        assert alive(left)


async def _until_left(here: Machine, count: int) -> list[int]:
    await until(lambda: len(family(here.supervisor.pid)) == count)
    return family(here.supervisor.pid)
