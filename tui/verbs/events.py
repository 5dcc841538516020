"""events: what has happened, and what happens."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from tui import json_view
from tui.errors import usage
from tui.format import parse_time_us
from tui.verbs.base import emit, note, now_us, run, say, settings, verb
from tui.verbs.tasks import event_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex.v1 import types_pb2
    from tui.client import ClusterClient

PAGE = 1000
DEFAULT_SINCE = "1h"


@verb()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("--since", metavar="TIME", help=f"RFC 3339, or how long ago; default {DEFAULT_SINCE}, with -f now.")
@click.option("--task", metavar="ID", default="", help="Only of this task.")
@click.option("--node", metavar="N", default="", help="Only of this node.")
def events(follow: bool, since: str | None, task: str, node: str) -> None:
    """List events, oldest first. With -f and --json, one line each."""
    try:
        since_us = parse_time_us(since or ("0" if follow else DEFAULT_SINCE), now_us())
    except ValueError as error:
        raise usage(f"--since: {error}.", "See `cortex events --help`.") from None
    as_json = settings().json

    async def work(client: ClusterClient) -> None:
        history = _History(client, since_us, task, node)
        if as_json and not follow:
            found = [json_view.event(row) async for row in history.rows()]
            emit({"events": found, "index": history.index})
            return
        shown: set[str] = set()
        async for row in history.rows():
            shown.add(row.id)
            _say(row, as_json)
        if follow:
            await _follow(client, history.index, shown, task, node)

    run(work)


class _History:
    """Pages of past events; `index` is the log index that the first page showed."""

    def __init__(self, client: ClusterClient, since_us: int, task: str, node: str) -> None:
        self._client, self._since_us, self._task, self._node = client, since_us, task, node
        self.index = 0

    async def rows(self) -> AsyncIterator[types_pb2.Event]:
        cursor = ""
        while True:
            reply = await self._client.list_events(
                task=self._task, node=self._node, since_us=self._since_us, limit=PAGE, cursor=cursor
            )
            self.index = self.index or reply.index
            for row in reply.events:
                yield row
            cursor = reply.next_cursor
            if not cursor:
                return


async def _follow(client: ClusterClient, index: int, shown: set[str], task: str, node: str) -> None:
    """Prints events after `index` but those already shown, for ever."""
    if task:
        task = (await client.get_task(task)).task.id
    last = index
    again = False
    async with aclosing(client.watch(index, events=True)) as replies:
        async for reply in replies:
            if reply.snapshot_begin:
                again = True
                note("cortex: the link was lost for long; `cortex events` shows what may be missing here")
            rows = [change.event for change in reply.changes if change.WhichOneof("row") == "event"]
            for row in sorted(rows, key=_order):
                known = row.index <= last if again else row.id in shown
                if not known and (not task or row.task == task) and (not node or row.node == node):
                    _say(row, settings().json)
            if reply.snapshot_end:
                again = False
            if not again:
                last = max(last, reply.index)


def _order(row: types_pb2.Event) -> tuple[int, int]:
    """By log index, then by number within the entry."""
    number = row.id.rpartition("-")[2]
    return row.index, int(number) if number.isdecimal() else 0


def _say(row: types_pb2.Event, as_json: bool) -> None:
    if as_json:
        emit(json_view.event(row))
    else:
        say(event_line(row))
