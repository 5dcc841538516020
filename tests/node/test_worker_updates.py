"""What commands of workflows write for its context: read once they have ended, whoever asks by then."""

from __future__ import annotations

import os
from pathlib import Path

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.worker.updates import Updates
from tests.node.supervisor_kit import until
from tests.node.test_worker_real import Machine, machine
from tests.node.worker_kit import LeaderSide, assignment, key


def member(command: bytes, task: str = "w1.0", **fields: object) -> w.Assignment:
    made = assignment(task, argv=[], shell_command=command)
    made.workflow_id, made.task_key = "w1", "build"
    return made


async def end_of(side: LeaderSide) -> w.Ended:
    """The next end that is reported; it is not acknowledged."""
    return (await batch_with_end(side)).reports[-1].ended


async def batch_with_end(side: LeaderSide) -> w.Reports:
    while True:
        batch: w.Reports = await side.next("reports")
        if batch.reports[-1].HasField("ended"):
            return batch


def files(folder: Path) -> list[Path]:
    return list((folder / "context").iterdir())


async def test_a_command_of_a_workflow_knows_it_and_changes_its_context(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        side = await here.session()
        command = b"""echo $CORTEX_WORKFLOW $CORTEX_TASK_KEY; echo '{"a": 1}' > "$CORTEX_CONTEXT_UPDATE" """
        await side.assign(member(command))
        ended = await end_of(side)
        assert ended.result.stdout.head == b"w1 build\n"
        assert ended.result.context_update == b'{"a": 1}\n'


async def test_a_plain_task_has_no_such_file(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        side = await here.session()
        await side.assign(assignment(argv=[], shell_command=b"env | grep -c -e CONTEXT_UPDATE -e WORKFLOW"))
        ended = await end_of(side)
        assert ended.result.stdout.head == b"0\n"
        assert not (tmp_path / "context").exists()


async def test_a_failure_changes_nothing(tmp_path: Path) -> None:
    async with machine(tmp_path) as here:
        side = await here.session()
        await side.assign(member(b"""echo '{"a": 1}' > "$CORTEX_CONTEXT_UPDATE"; exit 3"""))
        ended = await end_of(side)
        assert (ended.cause, ended.result.context_update) == (t.CAUSE_EXIT, b"")


async def test_it_is_kept_until_the_last_verdict(tmp_path: Path) -> None:
    first = Machine(tmp_path)
    await first.worker.start()
    side = await first.session()
    await side.assign(member(b"""echo '{"a": 1}' > "$CORTEX_CONTEXT_UPDATE" """))
    assert (await end_of(side)).result.context_update
    await first.kill()
    async with machine(tmp_path) as again:
        side = await again.link.accept()
        await side.welcome()
        batch = await batch_with_end(side)
        assert batch.reports[-1].ended.result.context_update == b'{"a": 1}\n'
        assert len(files(tmp_path)) == 1
        await side.send(reports_ack=w.ReportsAck(number=batch.number))
        await until(lambda: not files(tmp_path))


def test_what_is_too_long_is_one_byte_more_than_what_is_taken(tmp_path: Path) -> None:
    updates = Updates(tmp_path / "context")
    path, _ = updates.prepare(key(), None)
    Path(path).write_bytes(b"x" * 100_000)
    assert len(updates.read(key())) == 16 * 1024 + 1


def test_only_a_plain_file_is_read(tmp_path: Path) -> None:
    updates = Updates(tmp_path / "context")
    path = Path(updates.prepare(key(), None)[0])
    assert updates.read(key()) == b""
    os.mkfifo(path)
    assert updates.read(key()) == b""
    path.unlink()
    (tmp_path / "secret").write_text("{}")
    path.symlink_to(tmp_path / "secret")
    assert updates.read(key()) == b""
    path.unlink()
    path.mkdir()
    assert updates.read(key()) == b""
    updates.forget([key()])
