"""workflow submit, list, show, cancel, resume."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tui.documents import json_view, workflow_view
from tui.drawing.format import Column, duration
from tui.drawing.text import clean
from tui.errors import ClusterError, usage
from tui.verbs.base import Interrupted, VerbGroup, emit, note, now_us, run, say, say_table, settings, verb
from tui.verbs.outcome import say_mutation
from tui.verbs.past import at_option, emit_as_of, say_moment
from tui.verbs.submit import read_text

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2, types_pb2
    from tui.link.client import ClusterClient

TASK_COLUMNS = (
    Column("TASK", shrinks=True),
    Column("STATE"),
    Column("AFTER", shrinks=True),
    Column("RULE", optional=True),
    Column("NODE", optional=True),
    Column("EXIT", "right"),
    Column("TRY", "right", optional=True),
    Column("TIME", "right"),
    Column("REASON", shrinks=True),
)


@click.group(
    "workflow",
    cls=VerbGroup,
    verbs={
        "submit": "tui.verbs.workflow:submit",
        "list": "tui.verbs.workflows:list_workflows",
        "show": "tui.verbs.workflow:show",
        "cancel": "tui.verbs.workflow:cancel",
        "resume": "tui.verbs.workflow:resume",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
def workflow() -> None:
    """Submit, show, cancel and resume workflows."""


@verb()
@click.argument("file", metavar="F")
@click.option("--wait", is_flag=True, help="Wait until it has ended; exit 1 unless it completed.")
@click.option(
    "--key", metavar="KEY", default="", help="Submit at most once under this key; a repeat returns the same id."
)
@click.option("--dry-run", is_flag=True, help="Only check it; submit nothing.")
def submit(file: str, wait: bool, key: str, dry_run: bool) -> None:
    """Submit a workflow from a YAML or JSON file (- for stdin).

    A file is {name, context, policy, max_failures, key, tasks: {KEY: {command, depends_on, condition, rule,
    can_fail, finally, map: {over: [...]}, and all that a task may have}}}.

    Rules: all_success, none_failed, all_done, one_failed, one_success, always. Policies: continue, fail_fast,
    max_failures. A condition is JavaScript, as parent.build.exitCode === 0 && workflow.context.target === "prod".
    """
    from tui.written.workflowfile import MAX_FILE_BYTES, read_workflow

    if wait and dry_run:
        raise usage("--wait and --dry-run exclude each other.", "Leave one of them out.")
    request = read_workflow(read_text(file, MAX_FILE_BYTES), "stdin" if file == "-" else file)
    if key:
        if request.submit_key and request.submit_key != key:
            raise usage("--key and the file name different keys.", "Leave one of them out.")
        request.submit_key = key
    accepted: list[str] = []

    async def work(client: ClusterClient) -> int:
        reply = await client.submit_workflow(request, dry_run=dry_run)
        if dry_run:
            _say_checked(reply)
            return 0
        accepted.append(reply.id)
        if reply.deduplicated:
            note(f"cortex: that key stands for workflow {clean(reply.id)} already; nothing new was submitted")
        if wait:
            return await _wait(client, reply.id)
        if settings().json:
            emit({"id": reply.id, "index": reply.index})
        else:
            say(clean(reply.id))
        return 0

    run(work, interrupted=lambda: _goes_on(accepted))


def _say_checked(reply: cluster_pb2.SubmitWorkflowReply) -> None:
    if settings().json:
        emit({"id": None, "dry_run": True, "tasks": reply.tasks, "index": reply.index})
    else:
        say(f"valid: {reply.tasks} tasks; nothing was submitted")


async def _wait(client: ClusterClient, workflow_id: str) -> int:
    """Follows it to its end, shows it, and returns the exit code."""
    from cortex.v1 import types_pb2
    from tui.link.workflow_follow import follow_workflow

    terminal = sys.stderr is not None and sys.stderr.isatty()
    progress = (lambda line: note(f"cortex: {clean(line)}")) if terminal else None
    try:
        status = await follow_workflow(client, workflow_id, progress)
    except ClusterError as error:
        if not error.transient:
            raise
        remedy = f"See how far it is with `cortex workflow show {clean(workflow_id)}`."
        raise ClusterError(error.code, f"{error.message} The workflow goes on.", remedy) from error
    _say_workflow(status, now_us())
    return int(status.workflow.state != types_pb2.WORKFLOW_STATE_COMPLETED)


def _goes_on(accepted: list[str]) -> Interrupted:
    """What Ctrl-C is answered with."""
    if not accepted:
        return Interrupted(
            "Interrupted before the cluster answered; whether the workflow was submitted is not known.",
            "Look with `cortex workflow list` before you submit it again.",
        )
    shown = clean(accepted[0])
    return Interrupted(
        "Stopped waiting; the workflow goes on.",
        f"End it with `cortex workflow cancel {shown}`, look with `cortex workflow show {shown}`.",
    )


@verb()
@click.argument("workflow_id", metavar="ID")
@at_option()
def show(workflow_id: str, at: cluster_pb2.Moment | None) -> None:
    """Show a workflow and its tasks, in order of dependency."""

    async def work(client: ClusterClient) -> None:
        reply = await client.get_workflow(workflow_id, at=at)
        if settings().json:
            document = workflow_view.show(reply.status)
            if reply.HasField("at") and not document["context"]:
                document["context"] = None  # it may not be known any more
            emit_as_of(document, reply)
            return
        say_moment(reply)
        _say_workflow(reply.status, reply.at.at_us if reply.HasField("at") else now_us())

    run(work)


@verb()
@click.argument("workflow_id", metavar="ID")
@click.option("--reason", metavar="TEXT", default="", help="Kept with the event, at most 200 characters.")
def cancel(workflow_id: str, reason: str) -> None:
    """Cancel a workflow; its `finally` tasks still run.

    Running commands get TERM, then KILL.
    """

    async def work(client: ClusterClient) -> None:
        say_mutation(await client.cancel_workflow(workflow_id, reason))

    run(work)


@verb()
@click.argument("workflow_id", metavar="ID")
@click.option("--from", "key", metavar="KEY", default="", help="Run this task again, and all that depends on it.")
@click.option("--dry-run", is_flag=True, help="Only list the tasks that would run again.")
def resume(workflow_id: str, key: str, dry_run: bool) -> None:
    """Run again what did not complete, as a new run.

    Prints the ids of the tasks that run again.
    """

    async def work(client: ClusterClient) -> None:
        reply = await client.resume_workflow(workflow_id, key, dry_run=dry_run)
        say_mutation(reply)
        if not reply.ids and not settings().json:
            note("cortex: there is nothing to run again")

    run(work)


def _say_workflow(status: cluster_pb2.WorkflowStatus, now: int) -> None:
    if settings().json:
        emit(workflow_view.show(status))
        return
    row = status.workflow
    ended = row.count - row.remaining
    document = workflow_view.show(status)
    fields = {
        "id": row.id,
        "name": row.name,
        "state": document["state"]
        + (f": {row.reason or row.cancel_reason}" if row.reason or row.cancel_reason else ""),
        "run": str(row.run),
        "tasks": f"{ended} of {row.count} ended" + (f", {row.failures} failed" if row.failures else ""),
        "policy": workflow_view.policy_name(row),
        "context": ", ".join(f"{key}={json_text(value)}" for key, value in document["context"].items()),
        "time": time_of(row.started_at_us, row.completed_at_us, now).replace("-", ""),
    }
    for name, value in fields.items():
        if value:
            say(f"{name + ':':<9}{clean(value)}")
    by_member = {task.member: task for task in status.tasks}
    rows = [_task_row(depth, task, by_member, now) for depth, task in workflow_view.topological(status.tasks)]
    say_table(TASK_COLUMNS, rows)


def json_text(value: object) -> str:
    """A context value on one line, cut where it is long."""
    import json

    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _task_row(depth: int, row: types_pb2.Task, by_member: dict[int, types_pb2.Task], now: int) -> tuple[str, ...]:
    return (
        workflow_view.indented(depth, row.task_key),
        json_view.task_state(row.state),
        workflow_view.needs(row, by_member),
        workflow_view.rule_name(row.rule),
        row.node or "-",
        workflow_view.exit_text(row),
        str(row.attempt),
        time_of(row.started_at_us, row.completed_at_us, now),
        workflow_view.reason_text(row),
    )


def time_of(started_at_us: int, completed_at_us: int, now: int) -> str:
    """How long it ran, or has been running."""
    return duration((completed_at_us or now) - started_at_us) if started_at_us else "-"
