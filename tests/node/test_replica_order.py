"""In which order a replica tells what was applied: assignments reach their workers before anybody is answered."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cortex.v1.log_pb2 import Command, TaskAssign, TaskSubmit
from cortex.v1.types_pb2 import TASK_TYPE_SHELL, Placement, TaskSpec
from tests.node.replica_kit import Alone, alone


def _submission(task_id: str) -> Command:
    spec = TaskSpec(type=TASK_TYPE_SHELL, argv=[b"true"])
    return Command(task_submit=TaskSubmit(id=task_id, name="t", spec=spec))


def _assignment(task_id: str) -> Command:
    return Command(task_assign=TaskAssign(id=task_id, placement=Placement(node="n1"), express=True))


async def _turns_until_told(kit: Alone, *commands: Command) -> tuple[int, int]:
    """Turns of the loop from the observers' call until the proposer, and a reader of the feed, is told."""
    loop = asyncio.get_running_loop()
    turns, counting = 0, True

    def turn() -> None:
        nonlocal turns
        turns += 1
        if counting:
            loop.call_soon(turn)

    async def read() -> int:
        await kit.replica.feed.wait()
        return turns

    reader = asyncio.create_task(read())
    await asyncio.sleep(0)
    kit.replica.observers.append(lambda _changes, _index: turn())
    reply = await kit.do(*commands)
    answered = turns
    assert all(answer.accepted for answer in reply.commands)
    read_at = await reader
    counting = False
    return answered, read_at


async def test_answers_and_watches_let_assignments_go_first(tmp_path: Path) -> None:
    async with alone(tmp_path) as kit:
        plain = await _turns_until_told(kit, _submission("t1"))
    (tmp_path / "second").mkdir()
    async with alone(tmp_path / "second") as kit:
        assigned = await _turns_until_told(kit, _submission("t1"), _assignment("t1"))
    assert [after - before for before, after in zip(plain, assigned, strict=True)] == [2, 2]
