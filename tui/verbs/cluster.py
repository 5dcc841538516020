"""status, voters, leader: the cluster itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tui import json_view
from tui.format import Column
from tui.text import clean
from tui.verbs.base import VerbGroup, emit, run, say, say_table, settings, verb

if TYPE_CHECKING:
    from tui.client import ClusterClient

VOTER_COLUMNS = (
    Column("ID"),
    Column("ROLE"),
    Column("UP"),
    Column("LEADER"),
    Column("HAS", "right"),
    Column("ADDRESS"),
)
HELP = {"help_option_names": ["-h", "--help"]}


@verb()
def status() -> None:
    """Say whether the cluster works. Exit code 4 when it has no leader."""

    async def work(client: ClusterClient) -> int:
        reply = await client.status()
        if settings().json:
            emit(json_view.status(reply))
        else:
            up = sum(voter.up for voter in reply.voters)
            live = ", ".join(f"{count} {name}" for name, count in sorted(reply.tasks.items()) if count)
            fields = {
                "healthy": "yes" if reply.healthy else "no",
                "leader": f"{reply.leader or 'none'} in term {reply.term}",
                "voters": f"{up} of {len(reply.voters)} up",
                "workers": f"{reply.workers} online",
                "tasks": live or "none live",
                "index": f"{reply.index}, applied {reply.applied} by {reply.node}",
                "version": f"{reply.version}, level {reply.level}",
            }
            for name, value in fields.items():
                say(f"{name + ':':<10}{clean(value)}")
        return 0 if reply.leader else 4

    run(work)


@click.group(
    "voters",
    cls=VerbGroup,
    verbs={"list": "tui.verbs.cluster:list_voters"},
    invoke_without_command=True,
    context_settings=HELP,
)
@click.pass_context
def voters(context: click.Context) -> None:
    """The machines that replicate the log."""
    if context.invoked_subcommand is None:
        context.invoke(list_voters)


@verb("list")
def list_voters() -> None:
    """List the voters."""

    async def work(client: ClusterClient) -> None:
        reply = await client.status()
        if settings().json:
            emit({"voters": [json_view.voter(item) for item in reply.voters], "index": reply.index})
            return
        rows = [
            (
                item.id,
                "voter",
                "yes" if item.up else "no",
                "*" if item.id == reply.leader else "",
                str(item.match_index),
                item.address,
            )
            for item in reply.voters
        ]
        say_table(VOTER_COLUMNS, rows)

    run(work)


@click.group("leader", cls=VerbGroup, verbs={"transfer": "tui.verbs.cluster:transfer"}, context_settings=HELP)
def leader() -> None:
    """Who leads."""


@verb()
@click.argument("node_id", metavar="[NODE]", default="")
def transfer(node_id: str) -> None:
    """Hand leadership to another voter, by default to the most up to date."""

    async def work(client: ClusterClient) -> None:
        reply = await client.transfer_leader(node_id)
        if settings().json:
            emit({"operation_id": None, "index": None, "ids": [reply.leader], "leader": reply.leader})
        else:
            say(clean(reply.leader))

    run(work)
