"""operations and undo: what is under way, and taking it back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from tui.documents import drain_view, json_view, operations_view
from tui.drawing.format import Column, age, rfc3339
from tui.drawing.text import clean
from tui.errors import ClusterError
from tui.verbs.base import emit, note, now_us, run, say, say_table, settings, verb
from tui.verbs.listed import Shape, Shown, chosen_keys, shape_options
from tui.verbs.outcome import say_mutation
from tui.verbs.past import at_option, emit_as_of, say_moment

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2, types_pb2
    from tui.link.client import ClusterClient

PAGE = 1000
COLUMNS = (
    Column("ID"),
    Column("KIND"),
    Column("STATE"),
    Column("TASKS", "right"),
    Column("GOOD", "right"),
    Column("BAD", "right"),
    Column("AGE", "right"),
    Column("ACTOR"),
    Column("OUTCOME", shrinks=True),
    Column("REASON", shrinks=True),
)
# How often a wait looks again, and how long it bears a cluster that does not answer.
LOOK_S = 0.25
PATIENCE_S = 60.0


@verb()
@click.argument("operation_id", metavar="[ID]", required=False)
@click.option("--live", is_flag=True, help="Only operations that have not ended.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, PAGE), default=50, show_default=True, help="Most rows to show."
)
@click.option("--cursor", metavar="C", default="", help="Continue at the next_cursor of the previous page.")
@shape_options()
@at_option("List them, or show one, as they were")
def operations(
    operation_id: str | None, live: bool, limit: int, cursor: str, at: cluster_pb2.Moment | None, shape: Shape
) -> None:
    """List operations, newest first, or show one.

    Operations are retries, discards, priority changes, runs on nodes and drains. With --at, the counts of those
    that have gone on since are not known.
    """

    async def work(client: ClusterClient) -> None:
        if operation_id is not None:
            _say_reply(await client.get_operation(operation_id, at=at))
            return
        reply = await client.list_operations(live=live, limit=PAGE if shape.picks else limit, cursor=cursor, at=at)
        if shape.asked and _shaped(reply, shape, limit):
            return
        if settings().json:
            emit_as_of(operations_view.operations(reply), reply)
            return
        say_moment(reply)
        now = reply.at.at_us or now_us()
        say_table(COLUMNS, [_row(row, now) for row in reply.operations])
        if reply.next_cursor:
            note(f"cortex: the next with --cursor {clean(reply.next_cursor)}")

    run(work)


@verb()
@click.argument("operation_id", metavar="OPERATION")
@click.option("--stop", is_flag=True, help="If it has begun, stop it; what it has done stays.")
@click.option("--reason", metavar="TEXT", default="", help="Kept with the event, at most 200 characters.")
def undo(operation_id: str, stop: bool, reason: str) -> None:
    """Undo an operation that has not begun.

    Refused once it has begun, unless --stop is given.
    """

    async def work(client: ClusterClient) -> None:
        call = client.stop_operation if stop else client.undo_operation
        say_mutation(await call(operation_id, reason))

    run(work)


def _shaped(reply: cluster_pb2.ListOperationsReply, shape: Shape, limit: int) -> bool:
    """Leaves in the reply what was asked for; returns whether it has been printed."""
    from tui.columns.operations import OPERATIONS
    from tui.store.view import ClusterView

    view = ClusterView()
    by_key = {row.id: row for row in reply.operations}
    for row in by_key.values():
        view.operations.put(row.id, row)
    keys = chosen_keys(OPERATIONS, view.operations, list(by_key), shape, reply.at.at_us)[:limit]
    if not settings().json:
        Shown(OPERATIONS, view, view.operations, reply.at.at_us).say(keys, shape)
        if reply.next_cursor:
            note(f"cortex: the next with --cursor {clean(reply.next_cursor)}")
        return True
    del reply.operations[:]
    reply.operations.extend(by_key[key] for key in keys)
    return False


def _say_reply(reply: cluster_pb2.GetOperationReply) -> None:
    document = operations_view.operation_in_full(reply.operation, past=reply.HasField("at"))
    if settings().json:
        emit_as_of(document, reply)
        return
    say_moment(reply)
    _say_document(reply.operation, document)


def say_one(row: types_pb2.Operation) -> None:
    """Prints one operation in full."""
    document = operations_view.operation_in_full(row)
    if settings().json:
        emit(document)
    else:
        _say_document(row, document)


def _say_document(row: types_pb2.Operation, document: json_view.Document) -> None:
    tasks, nodes = document.pop("tasks", []), document.pop("nodes", [])
    if row.HasField("drain"):
        tasks = []  # in the table below
    counts = ", ".join(
        f"{number} {name.replace('_', ' ')}" for name, number in (document.pop("counts") or {}).items() if number
    )
    shown = {
        **{name: value for name, value in document.items() if isinstance(value, str)},
        "counts": counts,
        "priority": str(document["priority"]) if "priority" in document else "",
        "tasks": " ".join(tasks),
        "nodes": " ".join(nodes),
    }
    for name, value in shown.items():
        if value:
            say(f"{name.replace('_', ' ') + ':':<14}{clean(value)}")
    for line in drain_view.moves(row) if row.HasField("drain") else ():
        say(line)


async def follow_operation(client: ClusterClient, reply: cluster_pb2.MutationReply) -> int:
    """Waits until it has ended and what it acted upon has, too; prints it. The exit code: 0 if all went well."""
    from cortex.v1 import types_pb2

    row = await ended_operation(client, reply.operation_id)
    if settings().json:
        emit({**json_view.mutation(reply), **operations_view.operation_in_full(row)})
    else:
        say_one(row)
    done = row.state == types_pb2.OPERATION_STATE_DONE
    return 0 if done and not row.counts.failed else 1


async def ended_operation(client: ClusterClient, operation_id: str) -> types_pb2.Operation:
    """The operation once nothing of it is under way any more. Raises ClusterError."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while True:
        try:
            row = (await client.get_operation(operation_id)).operation
        except ClusterError as error:
            if not error.transient or loop.time() > deadline:
                raise
        else:
            deadline = loop.time() + PATIENCE_S
            if row.state not in operations_view.LIVE and _settled(row):
                return row
        await asyncio.sleep(LOOK_S)


def _settled(row: types_pb2.Operation) -> bool:
    from cortex.v1 import types_pb2

    revives = row.kind in (types_pb2.OPERATION_KIND_RETRY, types_pb2.OPERATION_KIND_RUN)
    return not revives or row.counts.succeeded + row.counts.failed >= row.counts.issued


def _row(row: types_pb2.Operation, now: int) -> tuple[str, ...]:
    counts = row.counts
    whole = counts.issued == counts.total or not counts.total
    known = row.HasField("counts") and (counts.total or not row.bulk.fingerprint)
    issued = str(counts.issued) if known else "-"
    waits = f"begins {rfc3339(row.not_before_us)}" if row.state == 1 and row.not_before_us > now else ""
    return (
        row.id,
        operations_view.kind(row),
        operations_view.state(row),
        issued if whole else f"{counts.issued}/{counts.total}",
        str(counts.succeeded) if counts.succeeded else "-",
        str(counts.failed) if counts.failed else "-",
        age(row.created_at_us, now),
        row.actor or "-",
        row.outcome or waits or "-",
        row.reason or "-",
    )
