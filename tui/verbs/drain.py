"""drain, remove."""

from __future__ import annotations

import shutil
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from tui.documents import drain_view
from tui.drawing.format import duration, parse_duration_ms
from tui.drawing.text import clean
from tui.errors import usage
from tui.verbs.base import Interrupted, emit, note, run, say, settings, verb
from tui.verbs.outcome import say_mutation

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2, types_pb2
    from tui.link.client import ClusterClient

_FORECAST = "Where tasks would land is a forecast: the cluster goes on meanwhile."


@verb()
@click.argument("node", metavar="NODE")
@click.option("--dry-run", is_flag=True, help="Only show where each task would go; change nothing.")
@click.option("--plan", metavar="ID", default="", help="Carry out the plan that --dry-run printed.")
@click.option(
    "--deadline", metavar="TIME", default=None, help="Time until the node must be empty, as 30m; default 1h."
)
@click.option("--no-deadline", is_flag=True, help="Wait for tasks that must not be moved, as long as they take.")
@click.option("--force", is_flag=True, help="Drain even if too few voters would be left.")
@click.option("--keep-cordoned", is_flag=True, help="Leave it cordoned if the drain is undone or stopped.")
@click.option(
    "--max-parallel",
    metavar="N",
    type=click.IntRange(1, 100_000),
    help="Most tasks to move at once; default: no limit.",
)
@click.option("--hold", is_flag=True, help="Let tasks that must not be moved run past the deadline.")
@click.option("--message", metavar="TEXT", default="", help="Note kept with the node, at most 200 characters.")
@click.option("--wait", is_flag=True, help="Wait until the node is empty; exit 1 if the drain fails.")
@click.option("--now", is_flag=True, help="Begin at once, without the 10 s to undo.")
def drain(
    node: str,
    dry_run: bool,
    plan: str,
    deadline: str | None,
    no_deadline: bool,
    force: bool,
    keep_cordoned: bool,
    max_parallel: int | None,
    hold: bool,
    message: str,
    wait: bool,
    now: bool,
) -> None:
    """Move a node's tasks elsewhere and keep it empty.

    It is rehearsed first. For 10 s it can be taken back with `cortex undo`; `cortex uncordon` ends it later.
    """
    from cortex.v1 import cluster_pb2

    chosen = (deadline is not None, no_deadline, force, keep_cordoned, bool(max_parallel), hold, bool(message))
    if plan and (any(chosen) or dry_run):
        raise usage("A plan has its options already.", "Give --plan alone, or rehearse again with other options.")
    if deadline is not None and no_deadline:
        raise usage("--deadline and --no-deadline exclude each other.", "Leave one of them out.")
    if dry_run and (wait or now):
        raise usage("A rehearsal changes nothing.", "Leave --wait and --now out.")
    request = cluster_pb2.DrainRequest(
        node=node,
        plan_id=plan,
        no_deadline=no_deadline,
        force=force,
        keep_cordoned=keep_cordoned,
        max_parallel=max_parallel or 0,
        message=message,
        hold=hold,
    )
    if deadline is not None:
        request.deadline_ms = _deadline_ms(deadline)
    if now:
        request.undo_window_ms = 0
    if dry_run:
        _rehearse(request)
    else:
        _drain(request, wait=wait)


def _deadline_ms(text: str) -> int:
    try:
        return parse_duration_ms(text)
    except ValueError as error:
        raise usage(f"--deadline: {error}.", "See `cortex drain --help`.") from None


def _rehearse(request: cluster_pb2.DrainRequest) -> None:
    async def work(client: ClusterClient) -> None:
        plan = (await client.rehearse_drain(request)).plan
        if settings().json:
            emit(drain_view.document(plan))
            return
        for line in drain_view.sheet(plan, _width()):
            say(line)
        say("")
        say(_FORECAST)
        say(f"Carry it out: cortex drain {clean(plan.node)} --plan {clean(plan.id)}")

    run(work)


def _drain(request: cluster_pb2.DrainRequest, *, wait: bool) -> None:
    known = ""

    async def work(client: ClusterClient) -> int:
        nonlocal known
        reply = await client.drain_node(request)
        known = reply.operation_id
        document = {"operation_id": known, "index": reply.index, "ids": [reply.plan.node], "plan_id": reply.plan.id}
        if not settings().json:
            _say_begin(request, reply)
        if not wait:
            if settings().json:
                emit(document)
            return 0
        operation = await _ended(client, reply)
        if settings().json:
            emit(document | drain_view.result(operation))
        else:
            for line in drain_view.ending(operation, _width()):
                say(line)
        return 0 if drain_view.state_name(operation) == "done" else 1

    run(work, interrupted=lambda: _goes_on(known))


def _say_begin(request: cluster_pb2.DrainRequest, reply: cluster_pb2.DrainNodeReply) -> None:
    plan, operation_id = reply.plan, clean(reply.operation_id)
    for line in drain_view.summary(plan):
        say(line)
    if request.HasField("undo_window_ms"):
        say(f"{clean(plan.node)} is being drained by operation {operation_id}.")
        return
    window_ms = min(10_000, plan.deadline_ms // 4) if plan.deadline_ms else 10_000
    begins = f"{clean(plan.node)} is cordoned; its drain begins in {duration(window_ms * 1000)}."
    say(f"{begins} Until then: cortex undo {operation_id}")


def _goes_on(operation_id: str) -> Interrupted:
    if not operation_id:
        return Interrupted()
    return Interrupted(f"The drain goes on as operation {clean(operation_id)}.", "See it in `cortex operations`.")


async def _ended(client: ClusterClient, reply: cluster_pb2.DrainNodeReply) -> types_pb2.Operation:
    """The operation once it has ended, across lost links and changes of leader."""
    from tui.link.follow import PATIENCE_S

    async with aclosing(client.watch(reply.index, patience_s=PATIENCE_S)) as replies:
        async for news in replies:
            over = news.snapshot_end
            for change in news.changes:
                if change.operation.id == reply.operation_id:
                    over = over or change.operation.state in drain_view.ENDED
            if over:
                operation = (await client.get_operation(reply.operation_id)).operation
                if operation.state in drain_view.ENDED:
                    return operation
    raise AssertionError("a watch does not end")


@verb()
@click.argument("node", metavar="NODE")
@click.option("--message", metavar="TEXT", default="", help="Note kept with the node, at most 200 characters.")
def remove(node: str, message: str) -> None:
    """Forget a node for good.

    Refused for a voter, and while the node is online with tasks: drain it first.
    """

    async def work(client: ClusterClient) -> None:
        reply = await client.remove_node(node, message)
        say_mutation(reply)
        if not settings().json:
            again = "it joins again only with a new data folder"
            note(f"cortex: {again if reply.ids else f'{clean(node)} was removed before; nothing changed'}")

    run(work)


def _width() -> int | None:
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if terminal else None
