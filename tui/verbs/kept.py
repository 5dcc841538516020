"""logs, beside what a task writes now: what is kept of its attempts, one of them, and what matches in them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tui.drawing.format import Column, age, size
from tui.drawing.text import clean
from tui.errors import ClusterError, usage
from tui.verbs.base import emit, note, now_us, say, say_table, settings

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2, types_pb2
    from tui.link.client import ClusterClient
    from tui.link.follow import Kind

# Tasks of a workflow that are searched at once.
_AT_ONCE = 4
_COLUMNS = (
    Column("RUN", "right"),
    Column("TRY", "right"),
    Column("NODE"),
    Column("OUTPUT"),
    Column("STDOUT", "right"),
    Column("STDERR", "right"),
    Column("DROPPED", "right"),
    Column("AGE", "right"),
    Column("FENCE", "right"),
)


@dataclass(frozen=True)
class Wanted:
    """Which attempt is meant; nothing given means the last."""

    run: int | None = None
    attempt: int | None = None
    fence: int | None = None

    def __bool__(self) -> bool:
        return self.run is not None or self.attempt is not None or self.fence is not None

    def fits(self, kept: cluster_pb2.KeptOutput) -> bool:
        pairs = ((self.run, kept.run), (self.attempt, kept.attempt), (self.fence, kept.fence))
        return all(wanted is None or wanted == found for wanted, found in pairs)


@dataclass(frozen=True)
class Sought:
    """What is looked for."""

    pattern: str
    ignore_case: bool
    context: int
    limit: int
    stream: Kind


async def answer(client: ClusterClient, task_id: str, workflow: str, wanted: Wanted, sought: Sought | None) -> int:
    """List what is kept, or search in it; the exit status. Raises ClusterError."""
    if sought is None:
        await say_kept(client, task_id)
        return 0
    if workflow:
        return int(not await search_workflow(client, workflow, sought))
    task = (await client.get_task(task_id)).task
    return int(not await search(client, task, sought, wanted))


async def say_kept(client: ClusterClient, task_id: str) -> None:
    """What is kept of each attempt."""
    from tui.documents import kept_view

    found = await client.list_output((await client.get_task(task_id)).task.id)
    if settings().json:
        emit({"outputs": [kept_view.kept(item) for item in found]})
    elif found:
        say_table(_COLUMNS, [_row(item, now_us()) for item in found])
    else:
        note("cortex: the task has not been on a node yet")


async def attempt_of(client: ClusterClient, task: types_pb2.Task, wanted: Wanted) -> tuple[int, str]:
    """Fence and node of the attempt that is meant; (0, "") = the last. Raises ClusterError."""
    from cortex.v1 import cluster_pb2

    if not wanted:
        return 0, ""
    fitting = [kept for kept in await client.list_output(task.id) if wanted.fits(kept)]
    if not fitting:
        message = f"Task {clean(task.id)} has no such attempt."
        raise ClusterError("not_found", message, f"See `cortex logs {clean(task.id)} --list`.", exit_code=3)
    # An attempt that was moved has several; where it wrote nothing there is nothing to show.
    wrote = [kept for kept in fitting if kept.keeping != cluster_pb2.KEEPING_NONE]
    kept = (wrote or fitting)[-1]
    if kept.keeping == cluster_pb2.KEEPING_TRIMMED:
        note(f"cortex: what is old was removed from {clean(kept.node)}: this is what is left")
    return kept.fence, kept.node


async def search(
    client: ClusterClient, task: types_pb2.Task, sought: Sought, wanted: Wanted, prefix: str = ""
) -> bool:
    """Write the lines that match; whether there are any. Raises ClusterError."""
    from contextlib import aclosing

    from cortex.v1 import cluster_pb2

    fence, node = await attempt_of(client, task, wanted)
    request = cluster_pb2.SearchOutputRequest(
        id=task.id,
        pattern=sought.pattern,
        ignore_case=sought.ignore_case,
        context=sought.context,
        limit=sought.limit,
        stream=sought.stream,
        fence=fence,
        node=node,
    )
    before: cluster_pb2.FoundLine | None = None
    found = False
    async with aclosing(client.search_output(request)) as replies:
        async for reply in replies:
            for line in reply.lines:
                found = True
                gap = before is not None and (line.stream, line.number) != (before.stream, before.number + 1)
                _say_line(task, line, prefix, sought.context > 0 and gap)
                before = line
            if reply.cut:
                note(f"cortex: {prefix}{clean(reply.cut)}")
    return found


async def search_workflow(client: ClusterClient, workflow: str, sought: Sought) -> bool:
    """The last attempts of all of a workflow's tasks; whether anything matches. Raises ClusterError."""
    tasks = [task for task in (await client.get_workflow(workflow)).status.tasks if task.fence]
    found = False
    for begin in range(0, len(tasks), _AT_ONCE):
        some = tasks[begin : begin + _AT_ONCE]
        results = await asyncio.gather(*(_one_of(client, task, sought) for task in some))
        found = found or any(results)
    return found


async def _one_of(client: ClusterClient, task: types_pb2.Task, sought: Sought) -> bool:
    """One that cannot be asked is named, and does not end the search in the others."""
    try:
        return await search(client, task, sought, Wanted(), f"{clean(task.task_key)}:")
    except ClusterError as error:
        if error.code in ("invalid", "usage"):
            raise
        note(f"cortex: {clean(task.task_key)}: {clean(error.message)}")
        return False


def checked(task_id: str, workflow: str, listed: bool, follow: bool, wanted: Wanted, pattern: str | None) -> None:
    """Raises ClusterError when what was given does not go together."""
    if bool(task_id) == bool(workflow):
        raise usage(
            "Either a task or --workflow is meant.", "Write `cortex logs ID` or `cortex logs --workflow W`."
        )
    if workflow and pattern is None:
        raise usage("--workflow searches, and there is no --grep.", "Give --grep PATTERN, or a task's ID.")
    if workflow and wanted:
        raise usage("--workflow searches the last attempts.", "Leave out --run, --attempt and --fence.")
    if follow and (wanted or pattern is not None or listed):
        raise usage("-f follows the last attempt alone.", "Leave out -f, or the rest.")
    if listed and (pattern is not None or wanted):
        raise usage("--list lists all attempts.", "Leave out --list, or the rest.")


def _row(item: cluster_pb2.KeptOutput, now: int) -> tuple[str, ...]:
    from tui.documents import kept_view

    return (
        str(item.run),
        str(item.attempt),
        clean(item.node) or "-",
        kept_view.keeping(item.keeping),
        size(item.stdout_bytes),
        size(item.stderr_bytes),
        size(item.dropped_bytes) if item.dropped_bytes else "-",
        age(item.at_us, now) if item.at_us else "-",
        str(item.fence),
    )


def _say_line(task: types_pb2.Task, line: cluster_pb2.FoundLine, prefix: str, gap: bool) -> None:
    """As grep has it: `12:` a match, `12-` context; lines of stderr say so."""
    from cortex.v1 import cluster_pb2
    from tui.documents import kept_view
    from tui.documents.json_view import text

    if settings().json:
        document: dict[str, Any] = {"task": task.id, "task_key": task.task_key or None}
        emit(document | kept_view.found(line))
        return
    if gap:
        say("--")
    stream = "stderr:" if line.stream == cluster_pb2.STREAM_KIND_STDERR else ""
    mark = ":" if line.matches else "-"
    say(f"{prefix}{stream}{line.number}{mark}{clean(text(line.text))}")
