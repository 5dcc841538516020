"""diff, double-runs: what differs between two moments, and what ran more than once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tui.documents import history_view
from tui.drawing.format import Column, rfc3339
from tui.drawing.text import clean
from tui.errors import usage
from tui.verbs.base import emit, note, run, say, say_table, settings, verb
from tui.verbs.past import at_option, emit_as_of, parse_moment, say_moment

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2
    from tui.link.client import ClusterClient

PAGE = 1000
MAX_ROWS = 10_000
DIFF_COLUMNS = (
    Column("TABLE"),
    Column("ID"),
    Column("NAME", shrinks=True),
    Column("FIELD"),
    Column("BEFORE", shrinks=True),
    Column("AFTER", shrinks=True),
)
DOUBLE_COLUMNS = (
    Column("AT"),
    Column("TASK"),
    Column("RUN", "right"),
    Column("TRY", "right"),
    Column("FIRST NODE"),
    Column("AGAIN ON"),
    Column("FENCE", "right"),
    Column("REASON", shrinks=True),
)


@verb()
@click.option("--from", "begin", metavar="TIME|INDEX", required=True, help="A time, 10m ago, or an index.")
@click.option("--to", "end", metavar="TIME|INDEX", default=None, help="A time, 10m ago, or an index; default: now.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, MAX_ROWS),
    default=PAGE,
    show_default=True,
    help="Most rows to show.",
)
def diff(begin: str, end: str | None, limit: int) -> None:
    """Show what changed between two moments.

    Lists tasks, nodes and workflows that differ, field by field.
    """
    first = parse_moment(begin, "--from")
    last = parse_moment(end, "--to") if end is not None else None
    if last is not None and ((first.index and 0 < last.index < first.index) or 0 < last.at_us < first.at_us):
        raise usage("--to is earlier than --from.", "Swap them.")

    async def work(client: ClusterClient) -> None:
        reply = await client.diff(first, last, limit)
        if settings().json:
            emit(history_view.diff(reply))
        else:
            _say_diff(reply)

    run(work)


def _say_diff(reply: cluster_pb2.DiffReply) -> None:
    say(f"from index {reply.from_index}, {rfc3339(reply.from_us)}")
    say(f"to index {reply.to_index}, {rfc3339(reply.to_us)}")
    rows = [
        (row.table, row.id, row.name, item.field, item.before or "-", item.after or "-")
        for row in reply.rows
        for item in row.fields
    ]
    if rows:
        say_table(DIFF_COLUMNS, rows)
    if reply.truncated:
        note("cortex: more rows differ; raise --limit, or take a shorter time")


@verb("double-runs")
@click.argument("task_id", metavar="[TASK]", default="")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, PAGE), default=50, show_default=True, help="Most rows to show."
)
@click.option("--cursor", metavar="C", default="", help="Continue at the next_cursor of the previous page.")
@at_option("List it as it was")
def double_runs(task_id: str, limit: int, cursor: str, at: cluster_pb2.Moment | None) -> None:
    """List commands that ran, or may have run, twice.

    That is, more than once within one attempt; newest first.
    """

    async def work(client: ClusterClient) -> None:
        reply = await client.list_double_runs(task_id, at=at, limit=limit, cursor=cursor)
        if settings().json:
            emit_as_of(history_view.double_runs(reply), reply)
            return
        say_moment(reply)
        rows = [
            (
                rfc3339(row.at_us),
                row.task,
                str(row.run),
                str(row.attempt),
                row.first_node,
                row.node,
                str(row.fence),
                row.reason,
            )
            for row in reply.double_runs
        ]
        say_table(DOUBLE_COLUMNS, rows)
        if reply.next_cursor:
            note(f"cortex: there are more; the next with --cursor {clean(reply.next_cursor)}")

    run(work)
