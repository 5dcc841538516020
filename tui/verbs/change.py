"""cancel, retry, discard: what an operator decides about tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tui import json_view
from tui.text import clean
from tui.verbs.base import emit, note, run, say, settings, verb
from tui.verbs.follow import follow_to_end, still_running

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2
    from tui.client import ClusterClient


def say_mutation(reply: cluster_pb2.MutationReply) -> None:
    """Prints what was changed: the ids, or the document."""
    if settings().json:
        emit(json_view.mutation(reply))
    else:
        for changed in reply.ids:
            say(clean(changed))


@verb()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--wait", is_flag=True, help="Until they have ended.")
@click.option("--reason", metavar="TEXT", default="", help="At most 200 characters.")
def cancel(ids: tuple[str, ...], wait: bool, reason: str) -> None:
    """Cancel tasks; a running command gets TERM, then KILL. Refused for a task that has ended."""

    async def work(client: ClusterClient) -> int:
        from cortex.v1 import types_pb2

        reply = await client.cancel(ids, reason)
        if not wait:
            say_mutation(reply)
            return 0
        tasks = await follow_to_end(client, list(reply.ids), sink=None)
        say_mutation(reply)
        others = [task for task in tasks if task.state != types_pb2.TASK_STATE_CANCELLED]
        for task in others:
            state = json_view.task_state(task.state)
            note(f"cortex: task {clean(task.id)} ended {state} before the cancel reached it")
        return 1 if others else 0

    run(work, interrupted=lambda: still_running(ids))


@verb()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def retry(ids: tuple[str, ...]) -> None:
    """Queue failed tasks and dead letters again, with all their retries."""

    async def work(client: ClusterClient) -> None:
        say_mutation(await client.retry(ids))

    run(work)


@verb()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--reason", metavar="TEXT", required=True, help="At most 200 characters.")
def discard(ids: tuple[str, ...], reason: str) -> None:
    """Put dead letters away for good."""

    async def work(client: ClusterClient) -> None:
        say_mutation(await client.discard(ids, reason))

    run(work)
