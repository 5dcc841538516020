"""dead-letters: what is out of retries, one by one or by cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tui import operations_view
from tui.errors import usage
from tui.format import Column, age
from tui.verbs.base import now_us, run, say_table, settings, verb
from tui.verbs.past import at_option, emit_as_of, say_moment
from tui.verbs.tasks import PAGE, say_tasks

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2
    from tui.client import ClusterClient

COLUMNS = (
    Column("CAUSE"),
    Column("COUNT", "right"),
    Column("FIRST", "right"),
    Column("LAST", "right"),
    Column("NODES", shrinks=True),
    Column("SAMPLE"),
    Column("ERROR", shrinks=True),
)


@verb("dead-letters")
@click.option("--group", is_flag=True, help="Group by cause, for retry --cause and discard --cause.")
@click.option("--cause", metavar="FP", default="", help="Only those of one cause.")
@click.option("--limit", metavar="N", type=click.IntRange(1, PAGE), default=50, show_default=True, help="Rows.")
@click.option("--cursor", metavar="C", default="", help="next_cursor of the page before.")
@at_option("List them as they were")
def dead_letters(group: bool, cause: str, limit: int, cursor: str, at: cluster_pb2.Moment | None) -> None:
    """List the tasks whose retries are used up, newest first."""
    if cause and group:
        raise usage("--cause and --group exclude each other.", "Leave one of them out.")

    async def work(client: ClusterClient) -> None:
        from cortex.v1 import types_pb2

        if not group:
            states = [types_pb2.TASK_STATE_DEAD_LETTER]
            say_tasks(await client.list_tasks(states=states, limit=limit, cursor=cursor, cause=cause, at=at))
            return
        reply = await client.list_causes(limit, at=at)
        if settings().json:
            emit_as_of(operations_view.causes(reply), reply)
            return
        say_moment(reply)
        now = reply.at.at_us or now_us()
        say_table(COLUMNS, [_row(cause, now) for cause in reply.causes])

    run(work)


def _row(cause: cluster_pb2.DeadLetterCause, now: int) -> tuple[str, ...]:
    return (
        cause.fingerprint or "-",
        str(cause.count),
        age(cause.first_at_us, now),
        age(cause.last_at_us, now),
        ",".join(cause.nodes),
        cause.sample.id,
        cause.sample.error,
    )
