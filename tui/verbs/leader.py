"""leader show, leader transfer: who leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tui.drawing.text import clean
from tui.verbs.base import VerbGroup, emit, note, run, say, settings, verb

if TYPE_CHECKING:
    from tui.link.client import ClusterClient


@click.group(
    "leader",
    cls=VerbGroup,
    verbs={"show": "tui.verbs.leader:show", "transfer": "tui.verbs.leader:transfer"},
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def leader(context: click.Context) -> None:
    """Show the leader, or transfer leadership."""
    if context.invoked_subcommand is None:
        context.invoke(show)


@verb()
def show() -> None:
    """Show who leads.

    The exit code is 4 when nobody does.
    """

    async def work(client: ClusterClient) -> int:
        reply = await client.status()
        if settings().json:
            emit({"leader": reply.leader or None, "term": reply.term, "index": reply.index})
        elif reply.leader:
            say(clean(reply.leader))
        else:
            note("cortex: nobody leads")
        return 0 if reply.leader else 4

    run(work)


@verb()
@click.argument("node_id", metavar="[NODE]", default="")
def transfer(node_id: str) -> None:
    """Hand leadership to another voter.

    Without NODE, to the one that can take over best.
    """

    async def work(client: ClusterClient) -> None:
        reply = await client.transfer_leader(node_id)
        took_ms = round(reply.took_us / 1000)
        if settings().json:
            ids = [reply.leader]
            emit({"operation_id": None, "index": None, "ids": ids, "leader": reply.leader, "took_ms": took_ms})
            return
        say(clean(reply.leader))
        told = f"leads after {took_ms} ms, in term {reply.term}" if reply.took_us else "led already"
        note(f"cortex: {clean(reply.leader)} {told}")

    run(work)
