"""why: what each node says to a task."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from tui.documents import json_view
from tui.drawing.format import Column
from tui.drawing.text import clean
from tui.verbs.base import emit, note, run, say, say_table, settings, verb
from tui.verbs.past import at_option

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2
    from tui.link.client import ClusterClient

VERDICT_COLUMNS = (
    Column("NODE"),
    Column("VERDICT"),
    Column("SCORE", "right"),
    Column("REASON", shrinks=True),
    Column("WOULD HELP", shrinks=True),
)


@verb()
@click.argument("task_id", metavar="ID")
@at_option("Judge it as of then")
def why(task_id: str, at: cluster_pb2.Moment | None) -> None:
    """Explain, node by node, why a task can or cannot run there.

    A task that waits is judged now, one that was placed as it was at its last placement.
    """

    async def work(client: ClusterClient) -> None:
        reply = await client.why(task_id, at=at)
        if settings().json:
            emit(json_view.why(reply))
        else:
            _say_why(reply, await weights_told(client, reply))

    run(work)


async def weights_told(client: ClusterClient, reply: cluster_pb2.WhyReply) -> str | None:
    """By which it was judged; None where that is not told."""
    from cortex.v1 import cluster_pb2
    from tui.errors import ClusterError
    from tui.store.score import judged_by, placed, weights_in

    told = None
    if not placed(reply) and any(item.eligible for item in reply.nodes):
        # The answer stands without them.
        with suppress(ClusterError):
            then = cluster_pb2.Moment(index=reply.index) if reply.past else None
            told = weights_in(await client.get_settings(at=then))
    return judged_by(reply, live=told, then=told)


def _say_why(reply: cluster_pb2.WhyReply, weights: str | None) -> None:
    from tui.store.score import placed

    row = reply.task
    node = row.placement.node if placed(reply) else ""
    reason = row.reason or row.error
    head = f"{clean(row.id)} {'was' if reply.past and not node else 'is'} {json_view.task_state(row.state)}"
    say(head + (f": {clean(reason)}" if reason else ""))
    if node:
        say(f"placed on {clean(node)} at index {reply.index}, when it looked like this:")
    elif reply.past:
        say(f"at index {reply.index} it looked like this:")
    say_table(VERDICT_COLUMNS, [verdict_row(item, weights, node) for item in reply.nodes])
    if reply.note:
        note(f"cortex: {clean(reply.note)}")


def verdict_row(item: cluster_pb2.NodeVerdict, weights: str | None, placed: str = "") -> tuple[str, ...]:
    """`placed`: where it went. The reason of a node that takes it is what its score is made of."""
    from tui.store.score import points_text

    scored = item.eligible and item.HasField("terms")
    eligible = "placed" if item.node == placed else "eligible"
    return (
        item.node,
        eligible if item.eligible else "ineligible",
        f"{item.score:.1f}" if scored else "-",
        item.reason or (points_text(item.terms, weights) if scored else ""),
        item.flip,
    )
