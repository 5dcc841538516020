"""cancel, retry, discard, priority, annotate: what an operator decides about tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tui.documents import json_view
from tui.drawing.text import clean
from tui.errors import ClusterError, usage
from tui.verbs.base import Interrupted, note, run, verb
from tui.verbs.follow import follow_to_end, still_running
from tui.verbs.operations import follow_operation
from tui.verbs.outcome import say_mutation, say_operation

if TYPE_CHECKING:
    from cortex.v1 import types_pb2
    from tui.link.client import ClusterClient

NOW = click.option("--now", is_flag=True, help="Begin at once, without the 10 s to undo.")


def either(ids: tuple[str, ...], cause: str | None) -> None:
    """Raises ClusterError unless either tasks or a cause are named."""
    if bool(ids) == bool(cause):
        raise usage(
            "Name either tasks or a cause.", "Give ids, or --cause as `cortex dead-letters --group` shows it."
        )


@verb()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--wait", is_flag=True, help="Wait until they have ended.")
@click.option("--reason", metavar="TEXT", default="", help="Kept with the event, at most 200 characters.")
def cancel(ids: tuple[str, ...], wait: bool, reason: str) -> None:
    """Cancel tasks; running commands get TERM, then KILL.

    Refused for a task that has ended.
    """

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
            note(f"cortex: task {clean(task.id)} ended {state}, not cancelled: {_in_spite(task)}")
        return 1 if others else 0

    run(work, interrupted=lambda: still_running(ids))


def _in_spite(task: types_pb2.Task) -> str:
    """Why a task whose cancel was accepted ended otherwise."""
    if json_view.task_state(task.state) == "completed":
        return "its command ended with success, when it was told to or before"
    return "it had ended before"


@verb()
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option("--cause", metavar="FP", help="All dead letters with this cause, after 10 s to undo.")
@click.option("--canary", is_flag=True, help="Retry 1, then 10 %, then all; stop if they fail the same way again.")
@click.option("--edit", is_flag=True, help="Edit the task in $EDITOR first; one task only.")
@click.option("--wait", is_flag=True, help="Wait until all have ended; exit 1 unless all completed.")
@NOW
def retry(ids: tuple[str, ...], cause: str | None, canary: bool, edit: bool, wait: bool, now: bool) -> None:
    """Queue failed tasks and dead letters again.

    Each begins a new run, with all its retries.
    """
    either(ids, cause)
    if canary and not cause:
        raise usage("--canary goes through the dead letters of one cause.", "Name it with --cause.")
    if edit and len(ids) != 1:
        raise usage("--edit changes one task at a time.", "Name one id.")

    begun: list[str] = []

    async def work(client: ClusterClient) -> int:
        edited = await _edited(client, ids[0]) if edit else None
        reply = await client.retry(
            ids, cause=cause or "", canary=canary, edited_spec=edited, undo_window_ms=0 if now else None
        )
        begun.append(reply.operation_id)
        if not wait:
            await say_operation(client, reply)
            return 0
        if cause:
            return await follow_operation(client, reply)
        tasks = await follow_to_end(client, list(reply.ids), sink=None)
        say_mutation(reply)
        return _tell_unfinished(tasks)

    run(work, interrupted=lambda: _goes_on(begun) if cause else still_running(ids))


def _goes_on(begun: list[str]) -> Interrupted:
    """What Ctrl-C is answered with while an operation is waited for, or before it is known."""
    if not begun:
        return still_running(())
    shown = clean(begun[0])
    return Interrupted(
        "Stopped waiting; the operation goes on.",
        f"See it with `cortex operations {shown}`, end it with `cortex undo {shown} --stop`.",
    )


def _tell_unfinished(tasks: list[types_pb2.Task]) -> int:
    """Says on stderr which did not complete; the exit code."""
    from cortex.v1 import types_pb2

    others = [task for task in tasks if task.state != types_pb2.TASK_STATE_COMPLETED]
    for task in others:
        why = task.error or task.reason
        note(
            f"cortex: task {clean(task.id)} ended {json_view.task_state(task.state)}"
            + (f": {clean(why)}" if why else "")
        )
    return 1 if others else 0


async def _edited(client: ClusterClient, task_id: str) -> types_pb2.TaskSpec:
    """What the user made of a task's specification in an editor; says on stderr what has changed."""
    from tui.operator.editor import edit_text, forget
    from tui.written import specfile
    from tui.written.taskspec import BadField

    task = (await client.get_task(task_id)).task
    try:
        before = specfile.dump(task)
    except BadField as error:
        raise ClusterError(
            "invalid", f"Task {task.id} cannot be edited: {error}.", "Submit it as a new task."
        ) from None
    after, path = edit_text(before, f"cortex-{task.id}.yaml")
    try:
        spec = specfile.parse(after, task)
    except BadField as error:
        raise ClusterError("invalid", f"Nothing was retried: {error}.", f"What you wrote is in {path}.") from None
    if after == before or spec == task.spec:
        forget(path)
        raise ClusterError("unchanged", "Nothing was changed, and nothing retried.", "Retry it without --edit.")
    forget(path)
    for line in specfile.difference(before, after):
        note(clean(line))
    return spec


@verb()
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option("--cause", metavar="FP", help="All dead letters with this cause.")
@click.option("--reason", metavar="TEXT", required=True, help="Kept with the event, at most 200 characters.")
@NOW
def discard(ids: tuple[str, ...], cause: str | None, reason: str, now: bool) -> None:
    """Discard dead letters for good, after 10 s to undo."""
    either(ids, cause)

    async def work(client: ClusterClient) -> None:
        reply = await client.discard(ids, reason, cause=cause or "", undo_window_ms=0 if now else None)
        await say_operation(client, reply)

    run(work)


@verb()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.argument("number", metavar="N")
@NOW
def priority(ids: tuple[str, ...], number: str, now: bool) -> None:
    """Change the priority of waiting tasks, after 10 s to undo.

    N is 0 to 10, or P0, P1, P2 for 10, 5, 0.
    """
    from tui.written.taskspec import priority as parsed

    try:
        wanted = parsed(number)
    except ValueError as error:
        raise usage(f"{error}.", "The last word is the priority: 0 to 10, or P0, P1 or P2.") from None

    async def work(client: ClusterClient) -> None:
        await say_operation(client, await client.set_priority(ids, wanted, undo_window_ms=0 if now else None))

    run(work)


@verb()
@click.argument("task_id", metavar="ID")
@click.argument("text", metavar="TEXT")
def annotate(task_id: str, text: str) -> None:
    """Add a note to a task.

    At most 500 characters; the last 20 notes are kept.
    """

    async def work(client: ClusterClient) -> None:
        say_mutation(await client.annotate(task_id, text))

    run(work)
