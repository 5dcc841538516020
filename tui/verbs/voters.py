"""voters list, add, remove: who keeps the log."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import click

from tui.drawing.format import Column, duration, parse_duration_ms
from tui.drawing.text import clean
from tui.errors import ClusterError, usage
from tui.verbs.base import (
    Interrupted,
    VerbGroup,
    emit,
    note,
    run,
    say,
    say_table,
    settings,
    verb,
)
from tui.verbs.past import at_option

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2
    from tui.documents import json_view
    from tui.link.client import ClusterClient

COLUMNS = (
    Column("ID"),
    Column("ROLE"),
    Column("UP"),
    Column("LEADER"),
    Column("HAS", "right"),
    Column("LAG", "right"),
    Column("ADDRESS"),
)
PROGRESS = Column("SNAPSHOT", "right")
ASKED_S = 3.0
LOOK_S = 0.2
DEFAULT_WAIT = "60s"


@click.group(
    "voters",
    cls=VerbGroup,
    verbs={
        "list": "tui.verbs.voters:list_voters",
        "add": "tui.verbs.voters:add",
        "remove": "tui.verbs.voters:remove",
    },
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def voters(context: click.Context) -> None:
    """List, add or remove voters, which replicate the log.

    Without a command, lists them.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_voters)


@verb("list")
@at_option("Refused here; use `cortex nodes --at`")
def list_voters(at: cluster_pb2.Moment | None) -> None:
    """List voters and learners, and how far each has got."""
    if at is not None:
        message = "How far voters were, and which of them were up, is not kept."
        raise usage(f"--at: {message}", "`cortex nodes --at` has the role that each machine had then.")

    async def work(client: ClusterClient) -> None:
        reply = await client.list_voters()
        if settings().json:
            emit(_document(reply))
            return
        progress = any(item.snapshot_bytes for item in reply.voters)
        rows = [(*_row(item, known=reply.known), *([_progress(item)] if progress else [])) for item in reply.voters]
        say_table((*COLUMNS, PROGRESS) if progress else COLUMNS, rows)
        if not reply.known:
            note("cortex: no leader answers, so who is up, and how far, is not known")

    run(work)


@verb()
@click.argument("node", metavar="NODE")
@click.option("--wait", is_flag=True, help="Wait until it votes; exit 1 if --timeout passes first.")
@click.option("--timeout", metavar="TIME", default=None, help=f"How long --wait waits; default {DEFAULT_WAIT}.")
def add(node: str, wait: bool, timeout: str | None) -> None:
    """Make a node a voter; it must run with --join.

    It is sent the log as a learner first, and votes as soon as it has caught up.
    """
    if timeout is not None and not wait:
        raise usage("--timeout says how long --wait waits.", "Give --wait too, or leave --timeout out.")
    limit_s = _seconds(timeout or DEFAULT_WAIT)

    async def work(client: ClusterClient) -> int:
        begun = time.monotonic()
        reply = await client.add_voter(node, wait_s=min(ASKED_S, limit_s) if wait else ASKED_S)
        voter, node_id = reply.voter, reply.ids[0]
        while wait and not voter and time.monotonic() - begun < limit_s:
            await asyncio.sleep(LOOK_S)
            voter = await _votes(client, node_id)
        if settings().json:
            emit({**_changed(reply), "voter": voter})
        else:
            say(clean(node_id))
        if voter:
            return 0
        if wait:
            message = f"{node_id} has not caught up within {duration(round(limit_s * 1e6))}; it is a learner."
            remedy = f"See in `cortex voters` how far it is, or end it with `cortex voters remove {node_id}`."
            raise ClusterError("deadline", message, remedy, exit_code=1)
        note(f"cortex: {clean(node_id)} still catches up, and votes once it has; see `cortex voters`")
        return 0

    def stopped() -> Interrupted:
        return Interrupted("Stopped waiting; it votes once it has caught up.", "See it in `cortex voters`.")

    run(work, interrupted=stopped)


@verb()
@click.argument("node", metavar="NODE")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def remove(node: str, yes: bool) -> None:
    """Make a voter a worker.

    A leader hands leadership over first.
    """

    async def work(client: ClusterClient) -> None:
        if not yes and _asks() and not await _agreed(client, node):
            raise ClusterError("unchanged", "Nothing was changed.", "Answer y, or give --yes.")
        reply = await client.remove_voter(node)
        if settings().json:
            emit(_changed(reply))
        else:
            say(clean(reply.ids[0]))

    run(work)


def _asks() -> bool:
    """Whether a person sits here who can be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()


async def _agreed(client: ClusterClient, node: str) -> bool:
    """Says what a removal means, and asks."""
    reply = await client.list_voters()
    member = next((item for item in reply.voters if item.id == node), None)
    if member is not None and member.voter:
        left = sum(item.voter and item.id != node for item in reply.voters)
        leads = ", which leads now" if member.leader else ""
        are = "voter is" if left == 1 else "voters are"
        note(f"{clean(node)}{leads}: {left} {are} left, and {max(0, (left - 1) // 2) or 'none'} may be lost.")
    return bool(click.confirm(f"Remove {clean(node)} from the voters?", default=False, err=True))


async def _votes(client: ClusterClient, node_id: str) -> bool:
    try:
        reply = await client.list_voters()
    except ClusterError as error:
        if not error.transient:
            raise
        return False
    member = next((item for item in reply.voters if item.id == node_id), None)
    if member is None:
        raise ClusterError("wrong_state", f"{node_id} was removed meanwhile.", "Add it again if it is to vote.")
    return member.voter


def _seconds(text: str) -> float:
    try:
        return parse_duration_ms(text) / 1000
    except ValueError as error:
        raise usage(f"--timeout: {error}.", "Write it as 30s, 5m or 1h30m.") from None


def _changed(reply: cluster_pb2.ChangeVoterReply) -> json_view.Document:
    return {"operation_id": reply.operation_id, "index": reply.index, "ids": list(reply.ids)}


def _document(reply: cluster_pb2.ListVotersReply) -> json_view.Document:
    members = [
        {
            "id": item.id,
            "address": item.address or None,
            "role": _role(item),
            "up": item.up if reply.known else None,
            "leader": item.leader,
            "match_index": item.match_index if reply.known else None,
            "lag": item.lag if reply.known else None,
            "catching_up": item.catching_up,
            "snapshot_sent_bytes": item.snapshot_sent_bytes if item.snapshot_bytes else None,
            "snapshot_bytes": item.snapshot_bytes or None,
        }
        for item in reply.voters
    ]
    return {"voters": members, "index": reply.index, "term": reply.term}


def _role(item: cluster_pb2.VoterView) -> str:
    return "voter" if item.voter else "learner"


def _row(item: cluster_pb2.VoterView, *, known: bool) -> tuple[str, ...]:
    return (
        item.id,
        _role(item),
        ("yes" if item.up else "no") if known else "?",
        "*" if item.leader else "",
        str(item.match_index) if known else "?",
        str(item.lag) if known else "?",
        item.address,
    )


def _progress(item: cluster_pb2.VoterView) -> str:
    return f"{100 * item.snapshot_sent_bytes // item.snapshot_bytes}%" if item.snapshot_bytes else ""
