"""tasks, task: what there is."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from tui.documents import json_view, resources_view
from tui.drawing.format import Column, age, duration, rfc3339, size
from tui.drawing.gist import gist, payload_text
from tui.drawing.text import clean
from tui.errors import usage
from tui.store import ends
from tui.store.progress import is_starting, worded
from tui.verbs.base import note, now_us, run, say, say_table, settings, verb
from tui.verbs.listed import Shape, Shown, chosen_keys, shape_options
from tui.verbs.past import at_option, emit_as_of, say_moment

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2, types_pb2
    from tui.columns.base import TableSpec
    from tui.link.client import ClusterClient

PAGE = 1000
MAX_SCANNED = 200_000
# Of nearly all types of events; longer ones move what follows.
EVENT_WIDTH = 18

TASK_COLUMNS = (
    Column("ID"),
    Column("STATE"),
    Column("PRI", "right"),
    Column("NODE"),
    Column("TRY", "right"),
    Column("AGE", "right"),
    Column("TIME", "right"),
    Column("NAME", shrinks=True),
    Column("COMMAND", shrinks=True),
)
WHY_COLUMN = Column("WHY", shrinks=True)


@verb()
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(json_view.task_states()),
    help="Only tasks in this state; repeatable.",
)
@click.option("--node", metavar="N", default="", help="Only tasks on this node.")
@click.option("--workflow", metavar="W", default="", help="Only tasks of this workflow.")
@click.option(
    "--operation", metavar="OPERATION", default="", help="Only tasks that this operation created or retried last."
)
@click.option("--filter", "text", metavar="EXPR", default="", help="Only tasks that match.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, PAGE), default=50, show_default=True, help="Most rows to show."
)
@click.option("--cursor", metavar="C", default="", help="Continue at the next_cursor of the previous page.")
@shape_options(own_filter=True)
@at_option("List them as they were")
def tasks(
    states: tuple[str, ...],
    node: str,
    workflow: str,
    operation: str,
    text: str,
    limit: int,
    cursor: str,
    at: cluster_pb2.Moment | None,
    shape: Shape,
) -> None:
    """List tasks in all states, newest first.

    A filter is a word of the name, id or command, or an expression as in the console: state=running node!=n2,
    /^deploy/ or attempt>0. Regular expressions are those of RE2, without look-ahead and back-references.
    """
    from tui.columns.tasks import QUEUE
    from tui.verbs.taskfilter import list_matching

    if shape.sort and cursor:
        raise usage("--sort and --cursor exclude each other.", "Leave out --cursor, and raise --limit.")

    async def work(client: ClusterClient) -> None:
        reply = await list_matching(
            client,
            text,
            limit=MAX_SCANNED if shape.sort else limit,
            cursor=cursor,
            told=lambda sentence: note(f"cortex: {sentence}"),
            states=[_state(name) for name in states],
            node=node,
            workflow=workflow,
            operation=operation,
            at=at,
        )
        say_tasks(reply, QUEUE, shape, limit)

    run(work)


@verb()
@click.argument("task_id", metavar="ID")
@at_option()
def task(task_id: str, at: cluster_pb2.Moment | None) -> None:
    """Show one task: state, result, placement and events."""

    async def work(client: ClusterClient) -> None:
        reply = await client.get_task(task_id, at=at)
        use = await client.use_of(reply.task) if at is None else None
        if settings().json:
            told = reply.progress if reply.HasField("progress") else None
            document = json_view.task(reply.task, reply.events, told)
            emit_as_of({**document, "use": resources_view.task_use(use) if use is not None else None}, reply)
        else:
            _say_task(reply, use)

    run(work)


def say_tasks(
    reply: cluster_pb2.ListTasksReply, spec: TableSpec[Any], shape: Shape, limit: int = MAX_SCANNED
) -> None:
    """Prints a page of tasks, of which `shape` leaves `limit` at most."""
    if shape.asked and _shaped(reply, spec, shape, limit):
        return
    if settings().json:
        emit_as_of(json_view.tasks(reply), reply)
        return
    say_moment(reply)
    now = reply.at.at_us if reply.HasField("at") else now_us()
    rows = [_task_row(row, now) for row in reply.tasks]
    told = {item.task: worded(item) for item in reply.progress}
    whys = [told.get(row.id) or _why(row) for row in reply.tasks]
    if any(whys):
        say_table((*TASK_COLUMNS, WHY_COLUMN), [(*row, why) for row, why in zip(rows, whys, strict=True)])
    else:
        say_table(TASK_COLUMNS, rows)
    if reply.next_cursor:
        note(f"cortex: {len(reply.tasks)} of {reply.total}; the next with --cursor {clean(reply.next_cursor)}")


def _shaped(reply: cluster_pb2.ListTasksReply, spec: TableSpec[Any], shape: Shape, limit: int) -> bool:
    """Leaves in the reply what was asked for; returns whether it has been printed."""
    from tui.store.view import ClusterView

    view = ClusterView()
    by_key = {row.id: row for row in reply.tasks}
    for row in by_key.values():
        view.tasks.put(row.id, row)
    view.progress.fold(reply.progress)
    keys = chosen_keys(spec, view.tasks, list(by_key), shape)[:limit]
    if not settings().json:
        Shown(spec, view, view.tasks, reply.at.at_us).say(keys, shape)
        if reply.next_cursor:
            note(f"cortex: {len(keys)} of {reply.total}; the next with --cursor {clean(reply.next_cursor)}")
        elif len(keys) < len(by_key) and not shape.expression:
            note(f"cortex: {len(keys)} of {reply.total}; more with --limit")
        return True
    del reply.tasks[:]
    reply.tasks.extend(by_key[key] for key in keys)
    return False


def command_text(row: types_pb2.Task) -> str:
    """The command as one would type it, or what a task without one is about."""
    command = json_view.command(row.spec)
    if isinstance(command, list):
        return shlex.join(command)
    return command or gist(row.spec.payload).decode("utf-8", "replace")


def _state(name: str) -> types_pb2.TaskState.ValueType:
    from cortex.v1 import types_pb2

    return types_pb2.TaskState.Value(f"TASK_STATE_{name.upper()}")


def _task_row(row: types_pb2.Task, now: int) -> tuple[str, ...]:
    return (
        row.id,
        json_view.task_state(row.state),
        str(row.priority),
        row.node or "-",
        str(row.attempt),
        age(row.created_at_us, now),
        _run_time(row, now),
        row.name,
        command_text(row),
    )


def _why(row: types_pb2.Task) -> str:
    """Why it waits, what went wrong, or where a service is reached."""
    state = json_view.task_state(row.state)
    if state in ("queued", "pending"):
        return row.reason or row.error
    if row.lost_at_us and state in ("assigned", "running"):
        return row.reason or "its machine is lost"
    if row.endpoints and state == "running":
        from tui.columns.tasks import endpoints_text

        return endpoints_text(row)
    return row.error if state in ("failed", "dead_letter") else ""


def _run_time(row: types_pb2.Task, now: int) -> str:
    """How long it ran, or has been running."""
    if not row.started_at_us:
        return "-"
    if row.completed_at_us and row.result.usage.wall_us:
        return duration(row.result.usage.wall_us)  # its end may have been told late
    return duration((row.completed_at_us or now) - row.started_at_us)


def _say_task(reply: cluster_pb2.GetTaskReply, use: types_pb2.TaskUse | None = None) -> None:
    from tui.columns.tasks import endpoints_text
    from tui.details.spec import needs_of
    from tui.documents.node_text import use_text, used_text
    from tui.drawing.draw import command_label
    from tui.store.view import ENDED

    row = reply.task
    starting = is_starting(row, reply.progress)
    say_moment(reply)
    fields = {
        "id": row.id,
        "name": row.name,
        "workflow": _workflow(row),
        "condition": row.condition,
        "state": json_view.task_state(row.state),
        "type": _type(row.spec.type),
        command_label(row.spec): command_text(row),
        "payload": payload_text(row.spec.payload),
        "cwd": row.spec.cwd,
        "priority": str(row.priority),
        "node": row.node,
        "needs": needs_of(row.spec),
        "attempt": f"{row.attempt} of run {row.run}",
        "placement": _placement(row),
        "exit" if row.state in ENDED else "last exit": _exit(row),
        "progress": worded(reply.progress) if reply.HasField("progress") else "",
        "error": row.error,
        "error type": _error_type(row),
        "reason": row.reason or row.cancel_reason,
        "cause": f"{row.fingerprint}{_blamed(row)}" if row.fingerprint else "",
        "operation": row.operation,
        **{
            name: rfc3339(at_us) if at_us else ""
            for name, at_us in (
                ("created", row.created_at_us),
                ("assigned", row.assigned_at_us),
                ("started", row.started_at_us),
                ("ready", 0 if starting else row.ready_at_us),
                ("completed", row.completed_at_us),
                ("dead-lettered", row.dead_lettered_at_us),
            )
        },
        "uses": use_text(use) if use is not None else "",
        "used": used_text(row.result.usage) if row.result.HasField("usage") else "",
        "output": _output(row),
        "document": _document(row),
    }
    for name, value in fields.items():
        if value:
            say(f"{name + ':':<15}{clean(value)}")
    for endpoint in row.endpoints if endpoints_text(row) and not starting else ():
        say(f"{'endpoint:':<15}{clean(endpoint.name)}  {clean(endpoint.value)}")
    for failure in row.failures:
        say(f"{'failed:':<15}{clean(_failure(failure))}")
    for note_ in row.annotations:
        say(f"{'note:':<15}{rfc3339(note_.at_us)}  {clean(note_.actor)}  {clean(note_.text)}")
    for item in reply.events:
        say(event_line(item))


def _type(kind: types_pb2.TaskType.ValueType) -> str:
    """Empty for a shell task: most are."""
    name = resources_view.type_name(kind)
    return "" if name == "shell" else name


def _error_type(row: types_pb2.Task) -> str:
    """And what helps."""
    kind = ends.error_type(row)
    return f"{kind.name}. {kind.remedy}" if kind is not None else ""


def _document(row: types_pb2.Task) -> str:
    found = ends.document(row.result)
    return json.dumps(found, ensure_ascii=False) if found is not None else ""


def _blamed(row: types_pb2.Task | types_pb2.Failure) -> str:
    found = json_view.blame(row.blame)
    return f", blamed on the {found}" if found else ""


def _failure(row: types_pb2.Failure) -> str:
    """One ended attempt on one line."""
    said = (row.error or json_view.cause(row.cause) or "failed").removesuffix(".")
    return f"{rfc3339(row.at_us)}  attempt {row.attempt} on {row.node}: {said}{_blamed(row)}"


def _workflow(row: types_pb2.Task) -> str:
    """Which workflow it is a task of, under which key, and the rule that decides whether it runs."""
    from tui.documents.workflow_view import rule_name

    if not row.workflow_id:
        return ""
    kind = " (finally)" if getattr(row, "finally") else ""
    return f"{row.workflow_id}, task {row.task_key}{kind}, rule {rule_name(row.rule)}"


def event_line(row: types_pb2.Event, *, audit: bool = False) -> str:
    """One event on one line: time, type, what it is about, where, details; for an audit who asked for it, too."""
    about = row.task or (row.workflow if row.workflow_state else "")
    who = (row.actor, row.operation) if audit else ()
    parts = (
        rfc3339(row.at_us),
        *who,
        f"{json_view.event_type(row.type):<{EVENT_WIDTH}}",
        about,
        row.node,
        row.detail,
    )
    return "  ".join(clean(part) for part in parts if part).rstrip()


def _placement(row: types_pb2.Task) -> str:
    from tui.documents.node_text import score_text

    placed = row.placement
    if not row.HasField("placement"):
        return ""
    return f"{placed.node}, score {score_text(placed.score, placed.terms, placed.weights)}"


def _exit(row: types_pb2.Task) -> str:
    if not row.HasField("result"):
        return ""
    if row.result.signal:
        return f"killed by signal {row.result.signal}"
    return str(row.result.exit_code) if row.result.HasField("exit_code") else ""


def _output(row: types_pb2.Task) -> str:
    if not row.HasField("result"):
        return ""
    return f"{size(row.result.stdout.total_bytes)} on stdout, {size(row.result.stderr.total_bytes)} on stderr"
