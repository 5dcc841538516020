"""events: what has happened, and what happens, to whom and by whom."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from tui.documents import json_view
from tui.drawing.format import parse_time_us
from tui.drawing.text import clean
from tui.errors import usage
from tui.verbs.base import emit, note, now_us, run, say, settings, verb
from tui.verbs.listed import Shape, Shown, chosen_keys, shape_options
from tui.verbs.past import as_of, at_option, say_moment
from tui.verbs.tasks import event_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex.v1 import cluster_pb2, types_pb2
    from tui.link.client import ClusterClient

PAGE = 1000
DEFAULT_SINCE = "1h"


@dataclass(frozen=True)
class _Choice:
    """Which events are meant; empty fields do not restrict."""

    task: str = ""
    node: str = ""
    workflow: str = ""
    operation: str = ""
    actor: str = ""
    audit: bool = False
    types: tuple[types_pb2.EventType.ValueType, ...] = ()

    def matches(self, row: types_pb2.Event) -> bool:
        return (
            (not self.task or row.task == self.task)
            and (not self.node or row.node == self.node)
            and (not self.workflow or row.workflow == self.workflow)
            and (not self.operation or row.operation == self.operation)
            and (not self.actor or row.actor == self.actor)
            and (not self.audit or bool(row.actor))
            and (not self.types or row.type in self.types)
        )


@verb()
@click.option("-f", "--follow", is_flag=True, help="Keep printing new events.")
@click.option("--since", metavar="TIME", help=f"RFC 3339, or how long ago; default {DEFAULT_SINCE}, with -f now.")
@click.option(
    "--type", "types", metavar="TYPE", multiple=True, help="Only this type, as submitted or failed; repeatable."
)
@click.option("--task", metavar="ID", default="", help="Only events of this task.")
@click.option("--node", metavar="N", default="", help="Only events of this node.")
@click.option("--workflow", metavar="W", default="", help="Only events of this workflow and its tasks.")
@click.option("--operation", metavar="ID", default="", help="Only events of this operation or request.")
@click.option("--actor", metavar="WHO", default="", help="Only what this user caused.")
@click.option("--audit", is_flag=True, help="Only what somebody asked for, and who: the audit trail.")
@click.option("--limit", metavar="N", type=click.IntRange(1, PAGE), default=None, help="Only the last N events.")
@shape_options()
@at_option("Nothing later than that")
def events(
    follow: bool,
    since: str | None,
    types: tuple[str, ...],
    task: str,
    node: str,
    workflow: str,
    operation: str,
    actor: str,
    audit: bool,
    limit: int | None,
    at: cluster_pb2.Moment | None,
    shape: Shape,
) -> None:
    """List events, oldest first.

    With -f and --json, one JSON document per line.
    """
    if follow and at is not None:
        raise usage("--at and -f exclude each other.", "Leave one of them out.")
    if follow and shape.asked:
        raise usage("-f takes no --filter, --sort, --columns, wide and csv.", "Leave out -f, or those.")
    choice = _Choice(task, node, workflow, operation, actor, audit, tuple(map(_type, types)))
    since_us = _since_us(since, follow=follow, last=limit is not None, past=at is not None)
    as_json = settings().json

    async def work(client: ClusterClient) -> None:
        history = _History(client, choice, since_us, at, limit)
        whole = limit is not None or shape.asked or (as_json and not follow)
        found = [row async for row in history.rows()] if whole else None
        if found is not None and limit is not None:
            found.reverse()
        if found is not None and shape.asked:
            found = _shaped(found, history.moment, shape)
            if not as_json:
                return
        if as_json and not follow:
            document = {"events": [json_view.event(row) for row in found or ()], "index": history.index}
            moment = history.moment
            emit({**document, "as_of": as_of(moment)} if moment is not None else document)
            return
        shown: set[str] = set()
        if found is not None:
            for row in found:
                shown.add(row.id)
                _say(row, as_json, audit=audit)
        else:
            async for row in history.rows(say_moment):
                shown.add(row.id)
                _say(row, as_json, audit=audit)
        if follow:
            await _follow(client, history.index, shown, choice)

    run(work)


def _shaped(rows: list[types_pb2.Event], moment: cluster_pb2.Moment | None, shape: Shape) -> list[types_pb2.Event]:
    """What was asked for of the rows; it is printed unless JSON is wanted."""
    from tui.columns.events import EVENTS
    from tui.store.view import ClusterView

    view = ClusterView()
    by_key = {row.id: row for row in rows}
    for key, row in by_key.items():
        view.events.put(key, row)
    moment_us = moment.at_us if moment is not None else 0
    keys = chosen_keys(EVENTS, view.events, list(by_key), shape, moment_us)
    if not settings().json:
        Shown(EVENTS, view, view.events, moment_us).say(keys, shape)
    return [by_key[key] for key in keys]


def _type(name: str) -> types_pb2.EventType.ValueType:
    known = json_view.event_types()
    kind = known.get(name.strip().lower().replace("-", "_"))
    if kind is None:
        raise usage(f"There is no type {clean(name)!r} of events.", f"There are: {', '.join(sorted(known))}.")
    return kind


def _since_us(since: str | None, *, follow: bool, last: bool, past: bool) -> int:
    """Unix microseconds; 0 = from the oldest on."""
    if since is None and (last or past):
        return 0
    try:
        return parse_time_us(since or ("0" if follow else DEFAULT_SINCE), now_us())
    except ValueError as error:
        raise usage(f"--since: {error}.", "See `cortex events --help`.") from None


class _History:
    """Pages of past events; `index` is the log index that the first page showed."""

    def __init__(
        self,
        client: ClusterClient,
        choice: _Choice,
        since_us: int,
        at: cluster_pb2.Moment | None,
        limit: int | None,
    ) -> None:
        self._client, self._choice, self._since_us = client, choice, since_us
        self._limit = limit
        self._at = at
        self.moment: cluster_pb2.Moment | None = None
        self.index = 0

    async def rows(
        self, begun: Callable[[cluster_pb2.ListEventsReply], None] = lambda _: None
    ) -> AsyncIterator[types_pb2.Event]:
        """Oldest first, or the last `limit` newest first. `begun` is told the first page."""
        choice, cursor = self._choice, ""
        while True:
            reply = await self._client.list_events(
                task=choice.task,
                node=choice.node,
                workflow=choice.workflow,
                operation=choice.operation,
                actor=choice.actor,
                audit=choice.audit,
                types=choice.types,
                since_us=self._since_us,
                newest_first=self._limit is not None,
                at=self._at,
                limit=self._limit or PAGE,
                cursor=cursor,
            )
            if not self.index:
                self.index = reply.index
                begun(reply)
                if reply.HasField("at"):
                    self.moment = self._at = reply.at
            for row in reply.events:
                yield row
            cursor = reply.next_cursor
            if not cursor or self._limit is not None:
                return


async def _follow(client: ClusterClient, index: int, shown: set[str], choice: _Choice) -> None:
    """Prints events after `index` but those already shown, for ever."""
    if choice.task:
        choice = replace(choice, task=(await client.get_task(choice.task)).task.id)
    last = index
    again = False
    async with aclosing(client.watch(index, events=True)) as replies:
        async for reply in replies:
            if reply.snapshot_begin:
                again = True
                note("cortex: the link was lost for long; `cortex events` shows what may be missing here")
            rows = [change.event for change in reply.changes if change.WhichOneof("row") == "event"]
            for row in sorted(rows, key=json_view.event_order):
                known = row.index <= last if again else row.id in shown
                if not known and choice.matches(row):
                    _say(row, settings().json, audit=choice.audit)
            if reply.snapshot_end:
                again = False
            if not again:
                last = max(last, reply.index)


def _say(row: types_pb2.Event, as_json: bool, *, audit: bool) -> None:
    if as_json:
        emit(json_view.event(row))
    else:
        say(event_line(row, audit=audit))
