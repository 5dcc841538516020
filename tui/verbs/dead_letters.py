"""dead-letters: what is out of retries, one by one or by cause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tui.documents import operations_view
from tui.drawing.format import Column, age
from tui.errors import usage
from tui.verbs.base import note, now_us, run, say_table, settings, verb
from tui.verbs.listed import Shape, Shown, chosen_keys, shape_options
from tui.verbs.past import at_option, emit_as_of, say_moment
from tui.verbs.tasks import PAGE, say_tasks

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2
    from tui.link.client import ClusterClient

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
@click.option("--group", is_flag=True, help="Group by cause, for use with retry --cause and discard --cause.")
@click.option("--cause", metavar="FP", default="", help="Only letters with this cause.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, PAGE), default=50, show_default=True, help="Most rows to show."
)
@click.option("--cursor", metavar="C", default="", help="Continue at the next_cursor of the previous page.")
@shape_options()
@at_option("List them as they were")
def dead_letters(
    group: bool, cause: str, limit: int, cursor: str, at: cluster_pb2.Moment | None, shape: Shape
) -> None:
    """List the tasks whose retries are used up, newest first."""
    if cause and group:
        raise usage("--cause and --group exclude each other.", "Leave one of them out.")

    async def work(client: ClusterClient) -> None:
        from cortex.v1 import types_pb2
        from tui.columns.tasks import LETTERS
        from tui.verbs.taskfilter import list_all

        if not group:
            choice: dict[str, Any] = {"states": [types_pb2.TASK_STATE_DEAD_LETTER], "cause": cause, "at": at}
            if shape.picks:
                found = await list_all(client, cursor=cursor, told=lambda text: note(f"cortex: {text}"), **choice)
            else:
                found = await client.list_tasks(limit=limit, cursor=cursor, **choice)
            say_tasks(found, LETTERS, shape, limit)
            return
        reply = await client.list_causes(0 if shape.picks else limit, at=at)
        if shape.asked and _shaped(reply, shape, limit):
            return
        if settings().json:
            emit_as_of(operations_view.causes(reply), reply)
            return
        say_moment(reply)
        now = reply.at.at_us or now_us()
        say_table(COLUMNS, [_row(cause, now) for cause in reply.causes])

    run(work)


def _shaped(reply: cluster_pb2.ListCausesReply, shape: Shape, limit: int) -> bool:
    """Leaves in the reply what was asked for; returns whether it has been printed."""
    from tui.columns.causes import CAUSES
    from tui.store.letters import key_of
    from tui.store.view import ClusterView

    view = ClusterView()
    by_key = {key_of(row): row for row in reply.causes}
    view.letters.put(reply)
    keys = chosen_keys(CAUSES, view.letters.causes, list(by_key), shape, reply.at.at_us)[:limit]
    if not settings().json:
        Shown(CAUSES, view, view.letters.causes, reply.at.at_us).say(keys, shape)
        return True
    del reply.causes[:]
    reply.causes.extend(by_key[key] for key in keys)
    return False


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
