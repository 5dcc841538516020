"""A burst of failures of three causes is triaged in the console over a real cluster; the audit has it all."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.console_terminal import ConsoleTerminal
from tests.e2e.harness import Cluster, eventually, shell, wait_all_ended
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e
EACH = 8
EDITOR = """import pathlib, sys
path = pathlib.Path(sys.argv[1])
path.write_text(path.read_text().replace("exit 65", "exit 0"))
"""


async def burst(client: ClusterClient, mended: Path) -> None:
    """Dead letters of three causes: one that a file mends, and two that stay."""
    commands = (
        f"echo 'no password for user report' >&2; test -e {shlex.quote(str(mended))} || exit 2",
        "echo 'write /srv/cache: no space left' >&2; exit 28",
        "echo 'unexpected end of input' >&2; exit 65",
    )
    tasks = [shell(command, name=f"job-{number}") for number in range(EACH) for command in commands]
    ids = {(await client.submit(task)).id for task in tasks}
    ended = await wait_all_ended(client, ids, 120)
    assert {task.state for task in ended.values()} == {types_pb2.TASK_STATE_DEAD_LETTER}


async def operations(client: ClusterClient) -> list[types_pb2.Operation]:
    """The newest first."""
    return list((await client.list_operations()).operations)


async def ended_well(client: ClusterClient) -> str:
    """Its id, once all tasks of the newest have ended well."""
    newest = (await operations(client))[0]
    return newest.id if newest.counts.succeeded == EACH else ""


async def letters(client: ClusterClient) -> dict[int, int]:
    """How many there are of each exit code."""
    causes = (await client.list_causes()).causes
    return {cause.sample.result.exit_code: cause.count for cause in causes}


async def until_letters(client: ClusterClient, wanted: dict[int, int]) -> None:
    async def told() -> str:
        return "yes" if await letters(client) == wanted else ""

    await eventually(told, 60)


async def audited(client: ClusterClient, operation: str, kind: types_pb2.EventType.ValueType) -> bool:
    reply: cluster_pb2.ListEventsReply = await client.list_events(operation=operation, limit=1000)
    return any(event.type == kind and event.actor for event in reply.events)


def point_at(console: ConsoleTerminal, error: str) -> None:
    """Put the cursor of the causes on one of them; their order stands still."""
    console.until(error)
    lines = console.text.splitlines()
    first = next(at for at, line in enumerate(lines) if "LETTERS" in line) + 1
    console.type("g" + "j" * (next(at for at, line in enumerate(lines) if error in line) - first))
    console.until(lambda: error in console.line_with("▌  "))


async def test_a_burst_of_failures_is_triaged(make_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster, mended, editor = make_cluster(voters=1), tmp_path / "mended", tmp_path / "editor.py"
    editor.write_text(EDITOR)
    environ = {**cluster.console_environ(), "EDITOR": shlex.join([sys.executable, str(editor)]), "VISUAL": ""}
    async with cluster.client() as client:
        await cluster.leader(client)
        await burst(client, mended)
        console = ConsoleTerminal(environ, (140, 40))
        try:
            console.until("● live")
            console.type("4")
            console.until("by cause")
            console.until("no password for user report")
            await canaries(console, client, mended)
            await edit_and_retry(console, client)
            await discard(console, client)
            console.type("Q")
            assert console.wait() == 0
        finally:
            console.close()


async def canaries(console: ConsoleTerminal, client: ClusterClient, mended: Path) -> None:
    """The first stops, for nothing was mended; the second goes through."""
    point_at(console, "no password")
    console.type("b")
    console.until("Canary for 1 cause")
    console.type("y")
    console.until("canary stopped")
    await until_letters(client, {2: EACH, 28: EACH, 65: EACH})
    await asyncio.to_thread(mended.touch)
    point_at(console, "no password")
    console.type("b")
    console.until("Canary for 1 cause")
    console.type("y")
    console.until(f"canary: {EACH} of {EACH}, {EACH} ok")
    await until_letters(client, {28: EACH, 65: EACH})
    # The list is of what is saved, which may be behind what the console was told.
    await eventually(lambda: ended_well(client), 60)
    second, first = await operations(client)
    assert first.state == types_pb2.OPERATION_STATE_STOPPED
    assert second.state == types_pb2.OPERATION_STATE_DONE
    assert await audited(client, second.id, types_pb2.EVENT_TYPE_OPERATION_SCHEDULED)


async def edit_and_retry(console: ConsoleTerminal, client: ClusterClient) -> None:
    console.until(lambda: "no password" not in console.text)
    point_at(console, "unexpected end")
    console.type("E")
    console.until("Retry 1 task as edited")
    console.until("exit 0")
    console.type("y")
    console.until("1 task queued again as edited. Operation ")
    await until_letters(client, {28: EACH, 65: EACH - 1})
    newest = (await operations(client))[0]
    assert newest.counts.total == 1
    assert await audited(client, newest.id, types_pb2.EVENT_TYPE_RETRIED)
    # Shown, too: the causes change their places by it.
    console.until(lambda: re.search(rf" {EACH - 1} ━.*unexpected end", console.text) is not None)


async def discard(console: ConsoleTerminal, client: ClusterClient) -> None:
    point_at(console, "no space left")
    console.type("X")
    console.until("Why, for those who look later")
    console.type("the disk was replaced\r")
    console.until(f"Discard {EACH} letters of 1 cause")
    console.until("--reason 'the disk was replaced'")
    console.type("y")
    console.until("discard begins in")
    console.until(lambda: "no space left" not in console.text)
    await until_letters(client, {65: EACH - 1})
    newest = (await operations(client))[0]
    assert (newest.kind, newest.reason) == (types_pb2.OPERATION_KIND_DISCARD, "the disk was replaced")
    assert await audited(client, newest.id, types_pb2.EVENT_TYPE_CANCELLED)
    console.type("L")
    console.until("OUTCOME")
    console.until(lambda: "discard" in console.line_with("▌ "))
