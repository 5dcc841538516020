"""The made-up tasks, dead letters and workflows. Pure: everything follows from the number of the row."""

from __future__ import annotations

from collections.abc import Iterator

from cortex.v1 import types_pb2
from tui.demo.nodes import SECOND_US, START_US, node_id

RUNNING = types_pb2.TASK_STATE_RUNNING
ASSIGNED = types_pb2.TASK_STATE_ASSIGNED
QUEUED = types_pb2.TASK_STATE_QUEUED
PENDING = types_pb2.TASK_STATE_PENDING
COMPLETED = types_pb2.TASK_STATE_COMPLETED
FAILED = types_pb2.TASK_STATE_FAILED
SKIPPED = types_pb2.TASK_STATE_SKIPPED
DEAD = types_pb2.TASK_STATE_DEAD_LETTER

_NAMES = ("encode", "thumbnails", "backup", "train", "index", "report", "sync", "lint", "deploy", "crawl")
FIRST_INDEX = 1_000_000

# Fingerprint, exit code, what was said, and who is to blame, of each cause of dead letters.
CAUSES: tuple[tuple[str, int, str, types_pb2.Blame.ValueType], ...] = (
    ("5f0c2a9d41e7b386", 2, "password authentication failed for user report", types_pb2.BLAME_TASK),
    ("91b7e4d2c05a6f18", 137, "Killed: out of memory", types_pb2.BLAME_TASK),
    ("c3d81f6e7a9240b5", 6, "Could not resolve host: storage.lab", types_pb2.BLAME_NODE),
    ("0ae95b17d3f8c642", 1, "unexpected end of file in frame 4096", types_pb2.BLAME_INPUT),
    ("78f21ce0b46d935a", 5, "CUDA error: an illegal memory access was encountered", types_pb2.BLAME_NODE),
)


def task_id(number: int) -> str:
    return f"1n{number:014d}"


def _spec(number: int) -> types_pb2.TaskSpec:
    name = _NAMES[number % len(_NAMES)]
    return types_pb2.TaskSpec(
        type=types_pb2.TASK_TYPE_SHELL,
        shell_command=f"./{name}.sh --part {number}".encode(),
        timeout_ms=300_000,
        kill_timeout_ms=5000,
        retry=types_pb2.RetryPolicy(max_retries=3, backoff_ms=1000, backoff_multiplier=2, retryable=True),
    )


def task(number: int, nodes: int, running: int) -> types_pb2.Task:
    """One of the queue: the first `running` run, a tenth as many are assigned, the others wait or have ended."""
    created_us = START_US - (number % 7200 + 30) * SECOND_US
    row = types_pb2.Task(
        id=task_id(number),
        name=f"{_NAMES[number % len(_NAMES)]}-{number}",
        state=QUEUED,
        priority=number * 7 % 11,
        spec=_spec(number),
        run=1,
        created_at_us=created_us,
        queued_at_us=created_us,
        created_index=FIRST_INDEX + number,
        modified_index=FIRST_INDEX + number,
        actor="uid:1000",
    )
    if number < running:
        _place(row, number % nodes, RUNNING)
    elif number < running + running // 10:
        _place(row, number % nodes, ASSIGNED)
    elif number % 20 == 19:
        _place(row, number % nodes, RUNNING)
        end(row, COMPLETED, START_US - number % 600 * SECOND_US)
    return row


def _place(row: types_pb2.Task, number: int, state: types_pb2.TaskState.ValueType) -> None:
    row.state, row.node = state, node_id(number)
    row.assigned_at_us = row.created_at_us + 2 * SECOND_US
    row.fence = row.modified_index
    if state == RUNNING:
        row.started_at_us = row.assigned_at_us + 4000


def end(row: types_pb2.Task, state: types_pb2.TaskState.ValueType, at_us: int) -> None:
    row.state = state
    row.completed_at_us = at_us
    row.result.exit_code = 0


def letter(number: int, nodes: int) -> types_pb2.Task:
    """A dead letter; the causes come in turn, the first ones more often."""
    fingerprint, code, said, blame = CAUSES[min(number % 15, number % 5)]
    row = task(number, nodes, 0)
    row.id = f"1m{number:014d}"
    row.state, row.node = DEAD, node_id(number * 31 % nodes)
    row.started_at_us = row.created_at_us + SECOND_US
    row.completed_at_us = row.dead_lettered_at_us = START_US - number % 3600 * SECOND_US
    row.attempt, row.fingerprint, row.error, row.blame = 4, fingerprint, f"exit code {code}: {said}", blame
    row.cause = types_pb2.CAUSE_EXIT
    row.result.exit_code = code
    return row


def members(workflow: types_pb2.Workflow) -> Iterator[types_pb2.Task]:
    """Fetch, a map of parts with their checks, a merge and what follows: states in the order of the members."""
    count, parts = workflow.count, max(1, (workflow.count - 5) // 2)
    done = count - workflow.remaining
    for number in range(count):
        key, template, parents = _member(number, parts, count)
        row = task(number, 1, 0)
        row.id, row.workflow_id, row.task_key, row.name = f"{workflow.id}.{number}", workflow.id, key, key
        row.member, row.template, row.state = number, template, PENDING
        row.depends_on.extend(parents)
        row.ClearField("node")
        if number < done:
            _place(row, number % 3, RUNNING)
            end(row, COMPLETED, START_US - (count - number) * SECOND_US // 8)
        elif number < done + 6 and number <= 2 * parts:
            _place(row, number % 3, RUNNING)
        if workflow.failures and number == done - 1:
            row.state, row.result.exit_code, row.error = FAILED, 1, "exit code 1: part is damaged"
        yield row


def _member(number: int, parts: int, count: int) -> tuple[str, str, list[int]]:
    """Key, template and parents of a member."""
    if number == 0:
        return "fetch", "", []
    if number <= parts:
        return f"part-{number - 1}", "part", [0]
    if number <= 2 * parts:
        return f"check-{number - parts - 1}", "check", [number - parts]
    if number == 2 * parts + 1:
        return "merge", "", list(range(parts + 1, 2 * parts + 1))
    return (
        ("index", "publish", "announce", "tidy")[min(3, number - 2 * parts - 2)]
        + ("" if number < 2 * parts + 6 else f"-{count - number}"),
        "",
        [2 * parts + 1 if number == 2 * parts + 2 else number - 1],
    )


def workflow(number: int, count: int) -> types_pb2.Workflow:
    """One of several: running, failing and complete ones in turn."""
    kind = number % 4
    remaining = (count // 3, count // 2, 0, count - 1)[kind]
    row = types_pb2.Workflow(
        id=f"1w{number:014d}",
        name=("nightly-render", "reindex", "release", "photos")[kind] + (f"-{number}" if number >= 4 else ""),
        state=types_pb2.WORKFLOW_STATE_COMPLETED if kind == 2 else types_pb2.WORKFLOW_STATE_RUNNING,
        run=1,
        count=count,
        remaining=remaining,
        failures=1 if kind == 1 else 0,
        policy=types_pb2.FAILURE_POLICY_CONTINUE,
        actor="uid:1000",
        created_at_us=START_US - (number + 2) * 400 * SECOND_US,
        started_at_us=START_US - (number + 2) * 399 * SECOND_US,
        created_index=FIRST_INDEX - 1000 + number,
        modified_index=FIRST_INDEX - 1000 + number,
    )
    if kind == 2:
        row.completed_at_us = START_US - 60 * SECOND_US
    return row
