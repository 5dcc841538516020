"""How a DAG's tasks are read: late, not at all, and again after what was missed."""

from __future__ import annotations

import asyncio

from cortex.v1 import cluster_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_dags import release
from tests.tui.test_dag_screen import cursor
from tests.tui.test_workflows_screen import RELEASE, source_of
from tui.source import Moment, SourceError


async def test_a_failure_that_is_asked_for_before_the_tasks_are_there_is_gone_to() -> None:
    source = source_of(release())
    read, told = asyncio.Event(), source.get_workflow

    async def late(workflow_id: str, *, at: Moment | None = None) -> cluster_pb2.GetWorkflowReply:
        await read.wait()
        return await told(workflow_id, at=at)

    source.get_workflow = late  # type: ignore[method-assign]
    async with open_console(source, (120, 30)) as session:
        await session.press("3", "enter", "f")
        assert "Nothing has failed" not in session.text
        assert "Its tasks are still being read." in session.lines[-1]
        read.set()
        await session.until(lambda: "▌ " in session.text and "test" in cursor(session))


async def test_a_failure_that_was_asked_for_is_forgotten_when_the_tasks_cannot_be_read() -> None:
    reply = release()
    reply.status.tasks[1].state, reply.status.tasks[3].state = fake.COMPLETED, fake.DEAD
    source = source_of(reply)
    read, told = asyncio.Event(), source.get_workflow

    async def fails(workflow_id: str, *, at: Moment | None = None) -> cluster_pb2.GetWorkflowReply:
        await read.wait()
        raise SourceError("No leader.")

    source.get_workflow = fails  # type: ignore[method-assign]
    async with open_console(source, (120, 30)) as session:
        await session.press("3", "enter", "f")
        read.set()
        await session.until(lambda: "No leader." in session.text)
        source.get_workflow = told  # type: ignore[method-assign]
        await session.wait(60)
        await session.until(lambda: "▌ " in session.text)
        assert "pack[1]" not in cursor(session)


async def test_a_new_snapshot_brings_what_was_missed() -> None:
    async with open_console(source_of(release()), (120, 30)) as session:
        await session.press("3", "enter")
        reply = release()
        reply.status.tasks[8].state, reply.status.tasks[8].modified_index = fake.COMPLETED, 900
        session.source.workflows[RELEASE] = reply
        for part in session.source.snapshot():
            session.source.put(part)
        await session.settle()
        await session.until(lambda: "✓ completed" in session.line_with("announce"))


async def test_what_was_missed_while_it_was_covered_is_asked_for() -> None:
    async with open_console(source_of(release()), (120, 30)) as session:
        await session.press("3", "enter", "enter")
        reply = release()
        reply.status.tasks[8].state, reply.status.tasks[8].modified_index = fake.COMPLETED, 900
        session.source.workflows[RELEASE] = reply
        await session.press("escape")
        assert "✓ completed" in session.line_with("announce")


async def test_what_could_not_be_asked_is_asked_again() -> None:
    source = source_of(release())
    asked = source.get_workflow
    async with open_console(source, (120, 30)) as session:

        async def refused(workflow_id: str, *, at: object = None) -> cluster_pb2.GetWorkflowReply:
            raise SourceError("There is no leader.", "Wait.")

        source.get_workflow = refused  # type: ignore[method-assign,assignment]
        await session.press("3", "enter")
        assert "There is no leader. Wait." in session.lines[2]
        source.get_workflow = asked  # type: ignore[method-assign]
        await session.wait(1)
        assert "There is no leader. Wait." in session.lines[2]
        await session.wait(1.5)
        await session.settle()
        assert "publish" in session.text
