"""Containers of a real engine under a real supervisor; only the leader is played by the test."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.worker.executors.container import place_of
from tests.node.container_kit import IMAGE, ContainerMachine, Real, real_engine
from tests.node.supervisor_kit import alive, end, family, kill, until
from tests.node.worker_kit import LeaderSide, assignment, verdict


@pytest.fixture(scope="module")
def engine() -> Iterator[Real]:
    with real_engine() as made:
        yield made


@asynccontextmanager
async def machine(folder: Path, engine: Real, **options: Any) -> AsyncIterator[ContainerMachine]:
    made = ContainerMachine(folder, engine.executor(folder, **options))
    await made.worker.start()
    try:
        yield made
    finally:
        await made.worker.stop()
        end(folder)
        assert made.failures == []


def contained(*command: str, task: str = "t1", kill_timeout_ms: int = 5000, **payload: Any) -> w.Assignment:
    return assignment(
        task,
        type=t.TASK_TYPE_CONTAINER,
        argv=[word.encode() for word in command],
        payload=json.dumps({"image": IMAGE, **payload}).encode(),
        kill_timeout_ms=kill_timeout_ms,
        env=[t.EnvVar(name="A", value=b"b\nc"), t.EnvVar(name="PATH", value=b"/bin")],
    )


async def ends(side: LeaderSide) -> list[w.Report]:
    """The next reports that are the last of their attempts."""
    while True:
        batch = await side.next("reports")
        await side.send(reports_ack=w.ReportsAck(number=batch.number))
        if found := [report for report in batch.reports if report.WhichOneof("kind") != "started"]:
            return found


async def ended(side: LeaderSide) -> w.Report:
    (found,) = await ends(side)
    return found


async def says(here: ContainerMachine, text: bytes, task: str = "t1") -> None:
    await until(lambda: text in here.worker.output.read(task, 10, "out", 0, 1 << 20))


async def stop(side: LeaderSide, kill_timeout_ms: int = 5000) -> None:
    item = w.StopItem(task="t1", fence=10, cause=t.CAUSE_CANCEL, kill_timeout_ms=kill_timeout_ms)
    await side.send(stop=w.Stop(items=[item]))


def driver_of(here: ContainerMachine) -> int:
    return next(pid for pid in family(here.supervisor.pid) if b"node.drivers.container" in words_of(pid))


def words_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def test_streams_exit_code_and_environment(tmp_path: Path, engine: Real) -> None:
    async with machine(tmp_path, engine) as here:
        side = await here.session()
        script = 'echo "$A $CORTEX_TASK $CORTEX_FENCE"; echo wrong >&2; exit 7'
        await side.assign(contained("sh", "-c", script, labels={"who": "me"}))
        end_ = (await ended(side)).ended
        assert end_.result.stdout.head == b"b\nc t1 10\n"
        assert end_.result.stderr.head == b"wrong\n"
        assert (end_.cause, end_.result.exit_code) == (t.CAUSE_EXIT, 7)
        assert engine.names() == []


async def test_a_container_that_ignores_term_is_gone_within_its_kill_timeout(tmp_path: Path, engine: Real) -> None:
    async with machine(tmp_path, engine) as here:
        side = await here.session()
        await side.assign(
            contained("sh", "-c", "trap : TERM; echo up; while :; do sleep 1; done", kill_timeout_ms=2000)
        )
        await says(here, b"up")
        assert engine.names() == ["cortex-t1-10"]
        labels = json.loads(engine.call("inspect", "cortex-t1-10"))[0]["Config"]["Labels"]
        assert labels == {"cortex.task": "t1", "cortex.fence": "10", "cortex.place": place_of(tmp_path)}
        # The driver goes by the task's own; where all is slow the supervisor's KILL would come before the engine's.
        await stop(side, 60_000)
        end_ = (await ended(side)).ended
        assert (end_.cause, end_.result.exit_code) == (t.CAUSE_CANCEL, 137)
        assert engine.names() == []


async def test_a_container_that_heeds_term_ends_by_itself(tmp_path: Path, engine: Real) -> None:
    async with machine(tmp_path, engine) as here:
        side = await here.session()
        await side.assign(
            contained("sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done")
        )
        await says(here, b"up")
        await stop(side)
        end_ = (await ended(side)).ended
        assert (end_.cause, end_.result.exit_code, end_.result.stdout.head) == (0, 0, b"up\nbye\n")
        assert engine.names() == []


async def test_a_killed_driver_leaves_nothing(tmp_path: Path, engine: Real) -> None:
    async with machine(tmp_path, engine) as here:
        side = await here.session()
        await side.assign(contained("sh", "-c", "echo up; sleep 1000", kill_timeout_ms=1000))
        await says(here, b"up")
        os.kill(driver_of(here), signal.SIGKILL)
        end_ = (await ended(side)).ended
        assert (end_.cause, end_.result.signal) == (t.CAUSE_SIGNAL, 9)
        assert engine.names() == []


async def test_a_killed_supervisor_leaves_nothing_and_is_told_as_a_loss(tmp_path: Path, engine: Real) -> None:
    async with machine(tmp_path, engine) as here:
        side = await here.session()
        await side.assign(contained("sh", "-c", "echo up; sleep 1000", kill_timeout_ms=1000))
        await says(here, b"up")
        kill(here.supervisor.pid)
        report = await ended(side)
        assert report.lost.reason == "The supervisor of its node ended while it ran."
        assert engine.names() == []


async def test_a_driver_whose_supervisor_is_gone_ends_its_container_by_itself(tmp_path: Path, engine: Real) -> None:
    made = ContainerMachine(tmp_path, engine.executor(tmp_path))
    await made.worker.start()
    side = await made.session()
    await side.assign(contained("sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"))
    await says(made, b"up")
    driver, supervisor = driver_of(made), made.supervisor.pid
    await made.worker.stop()
    kill(supervisor)
    await until(lambda: not alive(driver))
    assert engine.names() == []


async def test_a_killed_daemon_adopts_its_container(tmp_path: Path, engine: Real) -> None:
    first = ContainerMachine(tmp_path, engine.executor(tmp_path))
    await first.worker.start()
    side = await first.session()
    await side.assign(contained("sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"))
    await says(first, b"up")
    before = engine.call("ps", "--quiet")
    await side.reports(1)
    await first.kill()
    engine.call("run", "--detach", "--name", "cortex-old-7", *left_by(tmp_path, engine), IMAGE, "sleep", "99")
    engine.call("run", "--detach", "--name", "cortex-old-8", *left_by(tmp_path / "x", engine), IMAGE, "sleep", "99")
    async with machine(tmp_path, engine) as second:
        side = await second.link.accept()
        await side.welcome(verdicts=[verdict(w.VERDICT_KIND_KEEP)])
        await side.ack(0)
        await until(lambda: sorted(engine.names()) == ["cortex-old-8", "cortex-t1-10"])
        assert before.strip() in engine.call("ps", "--quiet").split()
        await stop(side)
        assert (await ended(side)).ended.result.exit_code == 3
        engine.call("rm", "--force", "--time", "0", "cortex-old-8")


def left_by(folder: Path, engine: Real) -> list[str]:
    """Arguments of a container that a daemon on that folder would have started."""
    words = ["--label", f"cortex.place={place_of(folder)}"]
    for flag in ("runtime", "network"):
        if flag in engine.options:
            words += [f"--{flag}", engine.options[flag]]
    return words + [
        word for pair in engine.options.get("ulimits", {}).items() for word in ("--ulimit", "=".join(pair))
    ]


async def test_a_container_adds_to_the_context_of_its_workflow(tmp_path: Path, engine: Real) -> None:
    async with machine(tmp_path, engine) as here:
        side = await here.session()
        asked = contained("sh", "-c", """echo '{"a": 1}' > $CORTEX_CONTEXT_UPDATE""", user=1000)
        asked.workflow_id, asked.task_key = "w1", "build"
        await side.assign(asked)
        assert (await ended(side)).ended.result.context_update == b'{"a": 1}\n'


async def test_mounts_users_and_what_an_image_lacks(tmp_path: Path, engine: Real) -> None:
    share = tmp_path / "share"
    share.mkdir()
    (share / "in").write_text("data")
    (share / "link").symlink_to("/etc")
    async with machine(tmp_path / "data", engine, roots=[str(share)]) as here:
        side = await here.session()
        asked = {
            "fine": contained(
                "sh", "-c", "cat /x/in; touch /x/out || touch /out || touch /tmp/ok && id -u",
                mounts=[{"source": str(share), "target": "/x", "read_only": True}], user=1000, read_only=True,
            ),
            "outside": contained("true", mounts=[{"source": str(share / "link"), "target": "/x"}]),
            "absent": contained("true", mounts=[{"source": str(share / "no"), "target": "/x"}]),
            "program": contained("no-such-program"),
            "image": contained("true", image="localhost/no-such-image", pull="never"),
        }  # fmt: skip
        for name, each in asked.items():
            each.task = name
        await side.assign(*asked.values())
        found: dict[str, w.Ended] = {}
        while len(found) < len(asked):
            found |= {report.ended.task: report.ended for report in await ends(side)}
        assert found["fine"].result.stdout.head == b"data1000\n"
        assert found["fine"].cause == 0
        causes = {name: (end_.cause, end_.error) for name, end_ in found.items() if name != "fine"}
        assert {name: cause for name, (cause, _) in causes.items()} == {
            "outside": t.CAUSE_CANNOT_START,
            "absent": t.CAUSE_NOT_FOUND,
            "program": t.CAUSE_NOT_FOUND,
            "image": t.CAUSE_NOT_FOUND,
        }
        assert "may not be mounted on this node: it is not below" in causes["outside"][1]
        assert "Name a program that the image has." in causes["program"][1]
        assert "Build or import it there." in causes["image"][1]
        assert engine.names() == []


async def test_a_container_over_its_memory_is_told_from_a_kill(tmp_path: Path, engine: Real) -> None:
    async with machine(tmp_path, engine) as here:
        side = await here.session()
        hog = "x=0123456789abcdef; while :; do x=$x$x; done"
        await side.assign(contained("sh", "-c", hog, memory="16MiB"))
        end_ = (await ended(side)).ended
        assert end_.cause == t.CAUSE_OUT_OF_MEMORY
        assert "memory ran out" in end_.error
