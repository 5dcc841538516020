"""submit: one command, or a file of them as one batch."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from tui.drawing.text import clean
from tui.errors import ClusterError, usage
from tui.verbs.base import emit, note, run, say, say_table, settings, verb
from tui.verbs.follow import end_of, follow_to_end, raw_sink, say_end, still_running, with_output

if TYPE_CHECKING:
    from cortex.v1 import cluster_pb2, types_pb2
    from tui.link.client import ClusterClient

TYPES_HELP = (
    "What runs it: shell (default), service, container, python, subagent, claude_relay, k8s_job or noop; "
    "also cli, claude-code, claude-agent."
)
# Flag -> its options; each is also the key of the same name in a file.
FLAGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--name", {"metavar": "TEXT", "help": "Shown in lists; default: the command's first word."}),
    ("--key", {"metavar": "KEY", "help": "Submit at most once under this key; a repeat returns the same id."}),
    ("--priority", {"metavar": "0-10", "help": "Higher runs first; default 0. P0, P1, P2 are 10, 5, 0."}),
    ("--retries", {"metavar": "N", "help": "Retries after the first failure; default 3, with --wait 0."}),
    ("--timeout", {"metavar": "TIME", "help": "Longest run of one attempt, as 30s or 1h30m; default: no limit."}),
    ("--queue-timeout", {"metavar": "TIME", "help": "Longest wait in the queue; default: no limit."}),
    ("--kill-timeout", {"metavar": "TIME", "help": "Time between TERM and KILL; default 5s."}),
    ("--stall-after", {"metavar": "TIME", "help": "Escalate a task silent for this long; default 2h, 0 = never."}),
    (
        "--idle-timeout",
        {
            "metavar": "TIME",
            "help": "Restart elsewhere a task silent for this long; default: agents 10m, others never.",
        },
    ),
    ("--cwd", {"metavar": "DIR", "help": "Working directory on the node."}),
    ("--env", {"metavar": "K=V", "multiple": True, "help": "Environment variable; repeatable."}),
    ("--on", {"metavar": "NODE", "help": "Run on this node only."}),
    ("--label", {"metavar": "L", "multiple": True, "help": "Run on a node with any of these labels; repeatable."}),
    ("--gpu", {"is_flag": True, "default": None, "help": "Run on a node with a GPU."}),
    ("--mem", {"metavar": "MB", "help": "Memory that must be available, as 512 or 2GiB."}),
    (
        "--sandbox",
        {"metavar": "LEVEL", "help": "Isolation: none, default or strict; default: the cluster's setting."},
    ),
    ("--type", {"metavar": "TYPE", "help": TYPES_HELP}),
    ("--payload", {"metavar": "JSON", "help": "Settings of other types; an unknown key lists the valid ones."}),
    (
        "--set",
        {
            "metavar": "K=V",
            "multiple": True,
            "help": "One key of the payload, as image=alpine; V is JSON or text; repeatable.",
        },
    ),
    ("--on-lost", {"metavar": "WHAT", "help": "If its node is lost: requeue (default), wait(TIME) or hold."}),
    (
        "--lock",
        {"metavar": "NAME", "multiple": True, "help": "Lock to hold exclusively while it runs; repeatable."},
    ),
    (
        "--capability",
        {"metavar": "NAME", "multiple": True, "help": "Capability that the node must have; repeatable."},
    ),
    (
        "--prefer-capability",
        {"metavar": "NAME", "multiple": True, "help": "Capability that is preferred; repeatable."},
    ),
    ("--limit", {"metavar": "KEY=N", "help": "At most N tasks with this key on nodes at once."}),
    (
        "--constraint",
        {"metavar": "K=V", "multiple": True, "help": "Placement constraint, as min_disk_gb=5; repeatable."},
    ),
    ("--request", {"metavar": "K=V", "multiple": True, "help": "Reserve cpu_millis, memory or gpus; repeatable."}),
    (
        "--success-code",
        {"metavar": "N", "multiple": True, "help": "Exit code that also counts as success; repeatable."},
    ),
    ("--no-retry-code", {"metavar": "N", "multiple": True, "help": "Exit code that is not retried; repeatable."}),
    ("--on-exhausted", {"metavar": "WHAT", "help": "After the last retry: dead_letter (default) or fail."}),
)
# Flags that are repeated where the file has one list or map.
PLURALS = {
    "lock": "locks",
    "capability": "capabilities",
    "prefer_capability": "prefer_capabilities",
    "constraint": "constraints",
    "request": "requests",
    "success_code": "success_codes",
    "no_retry_code": "no_retry_codes",
}
MAPS = frozenset({"env", "constraint", "request"})
LISTS_IN_MAPS = frozenset(
    {"node_labels", "capabilities", "preferred_capabilities", "allowed_nodes", "excluded_nodes"}
)
NODES_SHOWN = 5
MAX_FILE_BYTES = 64 * 1024 * 1024


def _task_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    for flag, options in reversed(FLAGS):
        command = click.option(flag, **options)(command)
    return command


@verb(context_settings={"help_option_names": ["-h", "--help"], "allow_interspersed_args": False})
@click.option("--wait", is_flag=True, help="Wait, write its output and exit with its exit code.")
@click.option("--dry-run", is_flag=True, help="Only show where it would run.")
@click.option("--file", metavar="F", help="Tasks as JSON lines or YAML, - for stdin; submitted as one batch.")
@_task_flags
@click.argument("command", nargs=-1, metavar="-- COMMAND...")
def submit(wait: bool, dry_run: bool, file: str | None, command: tuple[str, ...], **flags: Any) -> None:
    """Submit a command, or a file of commands as one batch.

    A file's keys are the flags' names; `command` is a list of arguments, or a string for sh -c. With --wait, stdout
    and stderr pass through unchanged, and the exit code is the command's own: 128 + n if signal n killed it, 125 if
    it never ran to an end.
    """
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    if file is None:
        _submit_one(_request_of(given, command, wait), wait=wait, dry_run=dry_run)
        return
    if command or given or dry_run:
        other = "COMMAND" if command else "--dry-run" if dry_run else "--" + next(iter(given)).replace("_", "-")
        raise usage(f"--file and {other} exclude each other.", "Write what is meant for each task into the file.")
    _submit_file(file, wait=wait)


def _request_of(given: dict[str, Any], command: tuple[str, ...], wait: bool) -> cluster_pb2.TaskRequest:
    from tui.written.taskspec import BadField, task_request

    if not command and given.get("type", "shell").lower() == "shell":
        raise usage("There is no command.", "Write it after --, as `cortex submit -- echo hello`, or give --file.")
    if "set" in given:
        given = given | {"payload": _payload(given.pop("payload", "{}"), given.pop("set"))}
    fields: dict[str, Any] = {"command": [os.fsencode(part) for part in command]} if command else {}
    if wait:
        fields["retries"] = 0
    for name, value in given.items():
        fields[PLURALS.get(name, name)] = _pairs(name, value) if name in MAPS else value
        if isinstance(value, tuple) and name not in MAPS:
            fields[PLURALS.get(name, name)] = list(value)
    try:
        return task_request(fields)
    except BadField as error:
        flag = next((flag for flag, key in PLURALS.items() if key == error.field), error.field)
        raise usage(f"--{flag.replace('_', '-')}: {error.problem}.", "See `cortex submit --help`.") from None


def _payload(text: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    """The payload with single keys set; one with dots is of a map within it."""
    try:
        payload = json.loads(text)
    except ValueError as error:
        raise usage(
            f"--payload: it is not valid JSON: {error}.", 'Write --payload \'{"prompt": "..."}\'.'
        ) from None
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise usage(f"--set: {clean(pair)!r} has no name and value.", "Write --set NAME=VALUE.")
        *outer, last = name.split(".")
        place = payload
        for part in outer:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise usage(f"--set: {clean(name)!r} is inside a value that is not a map.", "Give that as --payload.")
        try:
            place[last] = json.loads(value)
        except ValueError:
            place[last] = value
    return payload if isinstance(payload, dict) else {}


def _pairs(flag: str, values: tuple[str, ...]) -> dict[str, Any]:
    """K=V flags as a map; a constraint that is a list may be repeated."""
    found: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise usage(f"--{flag}: {clean(text)!r} has no name and value.", f"Write --{flag} NAME=VALUE.")
        if flag == "env":
            found[name] = os.fsencode(value)
        elif name in LISTS_IN_MAPS:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def _submit_one(request: cluster_pb2.TaskRequest, *, wait: bool, dry_run: bool) -> None:
    from tui.documents import json_view
    from tui.link.follow import exit_status

    as_json = settings().json
    accepted: list[str] = []

    async def work(client: ClusterClient) -> int:
        reply = await client.submit(request, dry_run=dry_run)
        if dry_run:
            _say_verdicts(reply)
            return 0
        accepted.append(reply.id)
        document = {"id": reply.id, "deduplicated": reply.deduplicated, "index": reply.index}
        if not wait:
            if as_json:
                emit(document)
            else:
                say(clean(reply.id))
            if reply.deduplicated:
                note(f"cortex: that key stands for task {clean(reply.id)} already; nothing new was submitted")
            else:
                await _say_if_nowhere(client, reply.id, request.spec)
            return 0
        if not reply.deduplicated:
            await _say_if_nowhere(client, reply.id, request.spec)
        sink = None if as_json else raw_sink()
        # What the key already stood for may have ended long ago.
        after_index = 0 if reply.deduplicated else reply.index
        task = (await follow_to_end(client, [reply.id], sink=sink, after_index=after_index))[0]
        if as_json:
            emit({**json_view.task((await with_output(client, [task]))[0]), **document})
        say_end(task)
        return exit_status(task)

    run(work, interrupted=lambda: still_running(accepted))


async def _say_if_nowhere(client: ClusterClient, task_id: str, spec: types_pb2.TaskSpec) -> None:
    """Says on stderr that no node can take what asks for certain ones: it is accepted, and waits."""
    if not (spec.HasField("constraints") or spec.HasField("requests")):
        return
    try:
        reply = await client.why(task_id)
        known = await client.list_nodes() if spec.constraints.target_node else None
    except ClusterError:
        return
    if any(verdict.eligible for verdict in reply.nodes) or not _is_queued(reply.task):
        return
    named = spec.constraints.target_node
    if known is not None and named not in {
        name for view in known.nodes for name in (view.node.id, view.node.hostname)
    }:
        why = f"there is no node {named!r}"
    else:
        why = "; ".join(f"{verdict.node}: {verdict.reason}" for verdict in reply.nodes[:NODES_SHOWN])
    note(
        f"cortex: no node can take task {clean(task_id)} now, so it waits: {clean(why)}\n"
        f"`cortex why {clean(task_id)}` says what would help; end it with `cortex cancel {clean(task_id)}`."
    )


def _is_queued(task: types_pb2.Task) -> bool:
    from cortex.v1 import types_pb2

    return task.state == types_pb2.TASK_STATE_QUEUED


def _submit_file(name: str, *, wait: bool) -> None:
    from cortex.v1 import types_pb2
    from tui.written.taskfile import read_batch

    requests, lines = read_batch(read_text(name, MAX_FILE_BYTES), "stdin" if name == "-" else name)
    if wait:
        for request in requests:
            if not request.spec.retry.HasField("max_retries"):
                request.spec.retry.max_retries = 0
    accepted: list[str] = []

    async def work(client: ClusterClient) -> int:
        try:
            reply = await client.submit_batch(requests)
        except ClusterError as error:
            raise _with_lines(error, lines) from error
        accepted.extend(reply.ids)
        if settings().json:
            emit({"ids": list(reply.ids), "index": reply.index})
        else:
            for task_id in reply.ids:
                say(clean(task_id))
        if not wait:
            return 0
        after_index = 0 if any(reply.deduplicated) else reply.index
        tasks = await follow_to_end(client, reply.ids, sink=None, after_index=after_index)
        failed = [task for task in tasks if task.state != types_pb2.TASK_STATE_COMPLETED]
        for task in failed[:NODES_SHOWN]:
            note(f"cortex: {end_of(task)}")
        if len(failed) > NODES_SHOWN:
            note(f"cortex: {len(failed)} of {len(tasks)} did not complete")
        return int(bool(failed))

    run(work, interrupted=lambda: still_running(accepted))


def read_text(name: str, limit_bytes: int) -> str:
    """The text of a file, or of stdin for `-`. Raises ClusterError."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(limit_bytes + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(limit_bytes + 1)
    except OSError as error:
        raise usage(f"{clean(name)} cannot be read: {error.strerror}.", "Name a readable file.") from None
    if len(data) > limit_bytes:
        raise ClusterError("too_large", f"{clean(name)} is larger than {limit_bytes >> 20} MiB.", "Split it.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ClusterError(
            "invalid", f"{clean(name)}: line {line}: it is not UTF-8.", "Save the file as UTF-8."
        ) from None


def _with_lines(error: ClusterError, lines: list[int]) -> ClusterError:
    """The cluster counts tasks; who wrote the file counts lines."""
    from tui.written.taskfile import name_lines

    return ClusterError(error.code, name_lines(error.message, lines), error.remedy, exit_code=error.exit_code)


def _say_verdicts(reply: cluster_pb2.SubmitReply) -> None:
    from tui.documents import json_view
    from tui.verbs.why import VERDICT_COLUMNS, verdict_row

    if settings().json:
        nodes = [json_view.verdict(item) for item in reply.verdicts]
        emit({"id": None, "dry_run": True, "nodes": nodes, "index": reply.index})
    else:
        say_table(VERDICT_COLUMNS, [verdict_row(item, None) for item in reply.verdicts])
