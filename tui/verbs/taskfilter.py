"""`--filter` of the command line: plain words are the cluster's to match, expressions are matched here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.tasks import QUEUE
from tui.drawing.draw import command_of
from tui.errors import usage
from tui.lists.filter import Filter, parse
from tui.lists.grammar import FilterError
from tui.verbs.base import now_us

if TYPE_CHECKING:
    from tui.link.client import ClusterClient

PAGE = 1000
MAX_SCANNED = 200_000
_PLAIN = re.compile(r"[\w.:@+-]*")


async def list_matching(
    client: ClusterClient, expression: str, *, limit: int, cursor: str, told: Callable[[str], None], **choice: Any
) -> cluster_pb2.ListTasksReply:
    """One page of the tasks that match, newest first, with the total of all that do. Raises ClusterError.

    An expression in the grammar of the console's `/` is matched over at most 200,000 tasks; `told` gets a
    sentence when there were more.
    """
    if _PLAIN.fullmatch(expression) and expression.lower() not in ("and", "or", "not"):
        if limit > PAGE:
            return await list_all(client, cursor=cursor, told=told, text=expression, **choice)
        return await client.list_tasks(text=expression, limit=limit, cursor=cursor, **choice)
    found = cluster_pb2.ListTasksReply()
    wanted = _compile(expression, lambda: found.at.at_us or now_us())
    skipped = int(cursor) if cursor.isdecimal() else 0
    place = ""
    scanned = 0
    while True:
        page = await client.list_tasks(limit=PAGE, cursor=place, **choice)
        found.index = found.index or page.index
        if page.HasField("at"):
            # The pages to come are of the same moment, whatever time it was named by.
            found.at.CopyFrom(page.at)
            choice["at"] = page.at
        scanned += len(page.tasks)
        found.progress.extend(page.progress)
        for task in filter(wanted.matches, page.tasks):
            found.total += 1
            if found.total > skipped and len(found.tasks) < limit:
                found.tasks.append(task)
        place = page.next_cursor
        if not place:
            break
        if scanned >= MAX_SCANNED:
            told(f"only the newest {scanned} of {page.total} tasks were looked at")
            break
    if skipped + len(found.tasks) < found.total:
        found.next_cursor = str(skipped + len(found.tasks))
    return found


async def list_all(
    client: ClusterClient, *, cursor: str, told: Callable[[str], None], **choice: Any
) -> cluster_pb2.ListTasksReply:
    """All pages as one, of at most 200,000 tasks; `told` gets a sentence when there were more."""
    found = cluster_pb2.ListTasksReply()
    while True:
        page = await client.list_tasks(limit=PAGE, cursor=cursor, **choice)
        found.tasks.extend(page.tasks)
        found.progress.extend(page.progress)
        if not found.index:
            found.index, found.total = page.index, page.total
        if page.HasField("at"):
            found.at.CopyFrom(page.at)
            choice["at"] = page.at
        cursor = page.next_cursor
        if not cursor:
            return found
        if len(found.tasks) >= MAX_SCANNED:
            told(f"only the newest {len(found.tasks)} of {page.total} tasks were looked at")
            return found


def _compile(expression: str, moment_us: Callable[[], int]) -> Filter[types_pb2.Task]:
    try:
        compiled = parse(expression, _text, {field.name: field for field in QUEUE.fields}, moment_us)
    except FilterError as error:
        raise usage(f"--filter: {error}.", "Write words, as web, or comparisons, as state=running.") from None
    if compiled is None:
        raise usage("--filter is blank.", "Leave it out, or write what to look for.")
    return compiled


def _text(task: types_pb2.Task) -> str:
    command = command_of(task.spec).decode("utf-8", "replace")
    return f"{task.id} {task.name} {command}".lower()
