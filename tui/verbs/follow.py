"""wait and logs: the output and the end of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tui.drawing.text import clean
from tui.errors import ClusterError
from tui.verbs.base import Interrupted, emit, note, run, settings, verb, write_raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cortex.v1 import cluster_pb2, types_pb2
    from tui.link.client import ClusterClient
    from tui.link.follow import Kind, Sink


SHOWN_IDS = 5


def raw_sink() -> Sink:
    """Writes a command's stdout and stderr apart, byte by byte as it wrote them."""
    from cortex.v1 import cluster_pb2

    def sink(kind: Kind, offset: int, data: bytes) -> None:
        write_raw(data, err=kind == cluster_pb2.STREAM_KIND_STDERR)

    return sink


def say_end(task: types_pb2.Task) -> None:
    """Says on stderr why a task ended otherwise than by its command's own exit, of which an exit code may tell."""
    from cortex.v1 import types_pb2

    by_itself = (
        task.HasField("result")
        and task.result.HasField("exit_code")
        and task.cause != types_pb2.CAUSE_OUT_OF_MEMORY
    )
    if task.state != types_pb2.TASK_STATE_COMPLETED and not by_itself:
        note(f"cortex: {end_of(task)}")


def end_of(task: types_pb2.Task) -> str:
    """How a task ended and why, in words."""
    from tui.documents.json_view import task_state

    cause = task.error or task.reason or task.cancel_reason
    return f"task {clean(task.id)} ended {task_state(task.state)}" + (f": {clean(cause)}" if cause else ".")


async def follow_to_end(
    client: ClusterClient,
    ids: Sequence[str],
    *,
    sink: Sink | None,
    only: Kind | None = None,
    after_index: int = 0,
    progress: bool = False,
) -> list[types_pb2.Task]:
    """Returns the ended tasks. Once they are known, a failure of Cortex is exit 125.

    `progress`: say on stderr how far they are.
    """
    from cortex.v1 import cluster_pb2
    from tui.link.follow import CORTEX_FAILED, Follower
    from tui.store.progress import worded

    wanted = cluster_pb2.STREAM_KIND_UNSPECIFIED if only is None else only
    follower = Follower(
        client,
        sink=sink,
        told=lambda sentence: note(f"cortex: {clean(sentence)}"),
        only=wanted,
        progress=(lambda item: note(f"cortex: {clean(item.task)}: {clean(worded(item))}")) if progress else None,
    )
    try:
        return await follower.follow(ids, after_index)
    except ClusterError as error:
        if not error.transient or not follower.known:
            raise
        raise ClusterError(
            error.code,
            f"{error.message} The tasks go on.",
            f"Wait again with `cortex wait {' '.join(follower.known[:SHOWN_IDS])}`.",
            exit_code=CORTEX_FAILED,
        ) from error


async def with_output(client: ClusterClient, tasks: Sequence[types_pb2.Task]) -> list[types_pb2.Task]:
    """Ended tasks with what they wrote, which is not told to those who watch."""
    whole = {task.id: task for task in tasks}
    for task in tasks:
        try:
            found = (await client.get_task(task.id)).task
        except ClusterError as error:
            # Its end is known, and that its output is not told.
            if error.transient:
                break  # the others would be waited for as long
            continue
        # Of one that was retried since, what is there now is not the end that was waited for.
        if (found.run, found.attempt, found.state) == (task.run, task.attempt, task.state):
            whole[task.id] = found
    return [whole[task.id] for task in tasks]


def still_running(ids: Sequence[str]) -> Interrupted:
    """What Ctrl-C is answered with while tasks are waited for; without ids, while they are submitted."""
    if not ids:
        return Interrupted(
            "Interrupted before the cluster answered; whether anything was submitted is not known.",
            "Look with `cortex tasks` before you submit it again.",
        )
    shown = " ".join(clean(task_id) for task_id in ids[:SHOWN_IDS]) + (" …" if len(ids) > SHOWN_IDS else "")
    return Interrupted(
        f"Stopped waiting; {'the task goes' if len(ids) == 1 else 'the tasks go'} on.",
        f"End with `cortex cancel {shown}`, wait again with `cortex wait {shown}`.",
    )


@verb()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--progress", is_flag=True, help="Show progress on stderr, where tasks report it.")
@click.option("--ready", is_flag=True, help="Wait only until services are ready; print their endpoints.")
def wait(ids: tuple[str, ...], progress: bool, ready: bool) -> None:
    """Wait for tasks, and write what they wrote.

    stdout and stderr pass through unchanged. The exit code is the command's: 128 + n if signal n killed it, 125 if
    it never ran to an end; of several tasks, the first that is not 0. With --json it prints the ended task, or
    {tasks}. With --ready it waits only until services are ready; the exit code is 1 if one ended before that.
    """
    from tui.documents import json_view
    from tui.link.follow import exit_status
    from tui.verbs.ready import wait_ready

    as_json = settings().json

    async def work(client: ClusterClient) -> int:
        if ready:
            return await wait_ready(client, ids)
        tasks = await follow_to_end(client, ids, sink=None if as_json else raw_sink(), progress=progress)
        if as_json:
            documents = [json_view.task(task) for task in await with_output(client, tasks)]
            emit(documents[0] if len(documents) == 1 else {"tasks": documents})
        for task in tasks:
            say_end(task)
        return next((status for status in map(exit_status, tasks) if status), 0)

    run(work, interrupted=lambda: still_running(ids))


@verb()
@click.argument("task_id", metavar="ID", default="")
@click.option("-f", "--follow", is_flag=True, help="Follow until the task has ended.")
@click.option("--list", "listed", is_flag=True, help="List what is kept of each attempt.")
@click.option(
    "--run", "run_number", metavar="N", type=click.IntRange(1), help="Run to show, from 1; default: the last."
)
@click.option("--attempt", metavar="N", type=click.IntRange(0), help="Attempt to show, from 0; default: the last.")
@click.option("--fence", metavar="N", type=click.IntRange(1), help="Assignment to show, as printed by --list.")
@click.option("--grep", "pattern", metavar="PATTERN", help="Only lines that match, with their numbers.")
@click.option("-i", "--ignore-case", is_flag=True, help="With --grep: ignore case.")
@click.option(
    "-C", "--context", metavar="N", type=click.IntRange(0, 100), default=0, help="With --grep: lines of context."
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, 100_000),
    default=1000,
    help="With --grep: most matching lines; default 1000.",
)
@click.option("--workflow", metavar="W", default="", help="With --grep: search all tasks of this workflow.")
@click.option("--stdout", "only", flag_value="stdout", help="Only stdout.")
@click.option("--stderr", "only", flag_value="stderr", help="Only stderr.")
def logs(
    task_id: str,
    follow: bool,
    listed: bool,
    run_number: int | None,
    attempt: int | None,
    fence: int | None,
    pattern: str | None,
    ignore_case: bool,
    context: int,
    limit: int,
    workflow: str,
    only: str | None,
) -> None:
    """Write a task's output, exactly as the command wrote it.

    Of both streams, stderr goes to stderr; one stream alone goes to stdout. With --json, lines of
    {stream, offset, data_b64}. It is that of the last attempt, or of the one that --run and --attempt name.

    With --grep, lines that match an RE2 expression are looked for where the output is, and written with their
    numbers; the exit code is 1 when there is none.
    """
    from cortex.v1 import cluster_pb2
    from tui.documents import json_view
    from tui.verbs import kept

    one = kept.Wanted(run_number, attempt, fence)
    kept.checked(task_id, workflow, listed, follow, one, pattern)

    as_json = settings().json
    kinds = {"stdout": cluster_pb2.STREAM_KIND_STDOUT, "stderr": cluster_pb2.STREAM_KIND_STDERR}
    wanted = kinds.get(only or "", cluster_pb2.STREAM_KIND_UNSPECIFIED)

    def sink(kind: Kind, offset: int, data: bytes) -> None:
        if as_json:
            emit(json_view.output(kind, offset, data))
        else:
            write_raw(data, err=not wanted and kind == cluster_pb2.STREAM_KIND_STDERR)

    async def work(client: ClusterClient) -> int:
        if listed or pattern is not None:
            sought = kept.Sought(pattern, ignore_case, context, limit, wanted) if pattern is not None else None
            return await kept.answer(client, task_id, workflow, one, sought)
        found = (await client.get_task(task_id)).task
        if follow:
            await follow_to_end(client, [found.id], sink=sink, only=wanted)
        elif one:
            await _write_attempt(client, found, wanted, sink, *await kept.attempt_of(client, found, one))
        else:
            await _write_now(client, found, wanted, sink)
        return 0

    run(work)


async def _write_now(
    client: ClusterClient, task: types_pb2.Task, wanted: cluster_pb2.StreamKind.ValueType, sink: Sink
) -> None:
    """Writes what there is: from the machine that ran it, else what the log has of it."""
    from tui.documents.json_view import task_state
    from tui.link.follow import ENDED

    if task.state in ENDED and not task.fence:
        note(f"cortex: task {clean(task.id)} ended {task_state(task.state)} and never ran")
        return
    if task.state in ENDED:
        await follow_to_end(client, [task.id], sink=sink, only=wanted)
        return
    if not task.fence:
        note(f"cortex: task {clean(task.id)} has not started; `cortex why {clean(task.id)}` says what it waits for")
        return
    async for reply in client.output(task.id, wanted):
        if reply.data:
            sink(reply.stream, reply.offset, reply.data)


async def _write_attempt(
    client: ClusterClient,
    task: types_pb2.Task,
    wanted: cluster_pb2.StreamKind.ValueType,
    sink: Sink,
    fence: int,
    node: str,
) -> None:
    """Writes what there is of one attempt, from the machine that ran it."""
    async for reply in client.output(task.id, wanted, fence=fence, node=node):
        if reply.data:
            sink(reply.stream, reply.offset, reply.data)
