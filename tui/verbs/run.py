"""run: one command on many nodes, its results together."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from tui.documents import json_view, operations_view
from tui.drawing.text import clean
from tui.errors import ClusterError, usage
from tui.verbs.base import emit, note, run, say, settings, verb
from tui.verbs.follow import SHOWN_IDS, follow_to_end, still_running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cortex.v1 import cluster_pb2, types_pb2
    from tui.link.client import ClusterClient

# Tasks whose output is fetched at once.
FETCHES = 16
# When it is said what does not run yet, and how much later each time after that.
TOLD_AFTER_S = 10.0
TOLD_TIMES = 3.0


@verb("run", context_settings={"help_option_names": ["-h", "--help"], "allow_interspersed_args": False})
@click.option("--all", "everywhere", is_flag=True, help="Run on every active node that is online.")
@click.option("--nodes", metavar="A,B", default="", help="Run on these nodes.")
@click.option("--name", metavar="TEXT", help="Shown in lists; default: the command's first word.")
@click.option("--priority", metavar="0-10", help="Higher runs first; default 0.")
@click.option("--timeout", metavar="TIME", help="Longest run on one node, as 30s or 1h30m; default: no limit.")
@click.option("--queue-timeout", metavar="TIME", help="Longest wait for a slot on a node; default: no limit.")
@click.option("--cwd", metavar="DIR", help="Working directory on the nodes.")
@click.argument("command", nargs=-1, metavar="-- COMMAND...")
def run_(everywhere: bool, nodes: str, command: tuple[str, ...], **flags: Any) -> None:
    """Run a command on many nodes and compare the results.

    Nodes with the same result are shown together.

    Exit code 0 if it ended with 0 on all of them, else 1. It is not retried.
    """
    named = list(dict.fromkeys(part for part in nodes.split(",") if part))
    if everywhere == bool(named):
        raise usage("Name the nodes, or all of them.", "Write --nodes A,B or --all.")
    request = _request(command, flags)
    begun: list[str] = []

    async def work(client: ClusterClient) -> int:
        reply = await client.run_on_nodes(request, named, everywhere=everywhere)
        begun.extend(reply.task_ids)
        for row in reply.skipped:
            note(f"cortex: not on {clean(row.node)}, which {clean(row.reason)}")
        telling = asyncio.create_task(_tell_waiting(client, reply.operation_id))
        try:
            await follow_to_end(client, list(reply.task_ids), sink=None, after_index=reply.index)
        finally:
            telling.cancel()
        tasks = await _results(client, reply.task_ids)
        groups = operations_view.same_ends(tasks)
        if settings().json:
            emit(operations_view.run(reply, groups))
        else:
            _say(groups)
        return 0 if all(_is_good(task) for task in tasks) else 1

    run(work, interrupted=lambda: still_running(begun))


def _request(command: tuple[str, ...], flags: dict[str, Any]) -> cluster_pb2.TaskRequest:
    from tui.written.taskspec import BadField, task_request

    if not command:
        raise usage("There is no command.", "Write it after --, as `cortex run --all -- uptime`.")
    fields = {name: value for name, value in flags.items() if value is not None}
    argv = [os.fsencode(part) for part in command]
    try:
        return task_request({**fields, "command": argv, "retries": 0, "on_exhausted": "fail"})
    except BadField as error:
        raise usage(f"--{error.field.replace('_', '-')}: {error.problem}.", "See `cortex run --help`.") from None


async def _tell_waiting(client: ClusterClient, operation_id: str) -> None:
    """Says on stderr which nodes keep the results of the others waiting, and why; runs until cancelled."""
    pause_s, told = TOLD_AFTER_S, set[str]()
    while True:
        await asyncio.sleep(pause_s)
        pause_s *= TOLD_TIMES
        with suppress(ClusterError):  # whoever follows the tasks says so
            for line in await waiting(client, operation_id):
                if line not in told:
                    told.add(line)
                    note(line)


async def waiting(client: ClusterClient, operation_id: str) -> list[str]:
    """A line for each task of a run that does not run, in words. Raises ClusterError."""
    from cortex.v1 import types_pb2

    live = [types_pb2.TASK_STATE_QUEUED, types_pb2.TASK_STATE_ASSIGNED, types_pb2.TASK_STATE_RUNNING]
    reply = await client.list_tasks(operation=operation_id, states=live, limit=SHOWN_IDS)
    lines = []
    for task in reply.tasks:
        if task.state == types_pb2.TASK_STATE_RUNNING and not task.lost_at_us:
            continue
        why = f": {clean(task.reason)}" if task.reason else ""
        lines.append(
            f"cortex: {clean(operations_view.target(task))} does not run it yet{why}\n"
            f"Go on without it: cortex cancel {clean(task.id)}"
        )
    return lines


async def _results(client: ClusterClient, ids: Sequence[str]) -> list[types_pb2.Task]:
    """The ended tasks with their output."""
    tasks: list[types_pb2.Task] = []
    for start in range(0, len(ids), FETCHES):
        replies = await asyncio.gather(*map(client.get_task, ids[start : start + FETCHES]))
        tasks += [reply.task for reply in replies]
    return tasks


def _is_good(task: types_pb2.Task) -> bool:
    return json_view.task_state(task.state) == "completed" and not task.result.exit_code


def _say(groups: Sequence[Sequence[types_pb2.Task]]) -> None:
    """Each group: its nodes, how it ended, what it wrote."""
    for number, group in enumerate(groups):
        first = group[0]
        nodes = sorted(operations_view.target(task) for task in group)
        if number:
            say("")
        say(f"{clean(', '.join(nodes))}: {_end(first)}")
        for stream in (first.result.stdout, first.result.stderr):
            for line in operations_view.output(stream).splitlines():
                say(f"  {clean(line)}")


def _end(task: types_pb2.Task) -> str:
    """How it ended, in words."""
    result, state = task.result, json_view.task_state(task.state)
    why = clean(task.error or task.reason)
    if result.signal:
        return f"killed by signal {result.signal}" + (f": {why}" if why else "")
    if result.HasField("exit_code"):
        return f"exit {result.exit_code}"
    return f"{state}: {why}" if why else state
