"""A deterministic cluster for the console: rows are made from an index, time stands until it is moved."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1 import cluster_pb2, types_pb2

NOW_US = 1_750_000_000_000_000
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US

RUNNING = types_pb2.TASK_STATE_RUNNING
QUEUED = types_pb2.TASK_STATE_QUEUED
ASSIGNED = types_pb2.TASK_STATE_ASSIGNED
COMPLETED = types_pb2.TASK_STATE_COMPLETED
FAILED = types_pb2.TASK_STATE_FAILED
CANCELLED = types_pb2.TASK_STATE_CANCELLED
DEAD = types_pb2.TASK_STATE_DEAD_LETTER


def terms(cpu: float, memory: float, disk: float, network: float, tasks: int) -> types_pb2.ScoreTerms:
    return types_pb2.ScoreTerms(
        cpu=0.3 * (100 - cpu),
        memory=0.3 * (100 - memory),
        disk=0.15 * (100 - disk),
        network=0.1 * (100 - network),
        tasks=-5.0 * tasks,
    )


def resources(cpu: float, memory: float, disk: float, network: float, gpus: Sequence[float]) -> types_pb2.Resources:
    """A sample of a machine, from percentages."""
    return types_pb2.Resources(
        sampled_at_us=NOW_US,
        cpu_percent=cpu,
        cores=8,
        load_1m=cpu / 12.5,
        memory_total_bytes=32 * 2**30,
        memory_available_bytes=int(32 * 2**30 * (1 - memory / 100)),
        disk_total_bytes=1000 * 2**30,
        disk_free_bytes=int(1000 * 2**30 * (1 - disk / 100)),
        disk_io_percent=disk / 5,
        rx_bytes_per_s=network * 1_250_000,
        tx_bytes_per_s=network * 400_000,
        link_bits_per_s=1_000_000_000,
        gpus=[
            types_pb2.Gpu(name="RTX 4090", memory_total_bytes=24 * 2**30, utilisation_percent=gpu) for gpu in gpus
        ],
    )


def node_view(
    name: str,
    *,
    cpu: float = 20,
    memory: float = 40,
    disk: float = 50,
    network: float = 2,
    running: int = 0,
    assigned: int = 0,
    gpus: Sequence[float] = (),
    state: types_pb2.NodeState.ValueType = types_pb2.NODE_STATE_ACTIVE,
    role: types_pb2.NodeRole.ValueType = types_pb2.NODE_ROLE_VOTER,
    online: bool = True,
    leader: bool = False,
    sampled: bool = True,
    index: int = 1,
    age_us: int = 300_000,
) -> cluster_pb2.NodeView:
    view = cluster_pb2.NodeView(
        node=types_pb2.Node(
            id=name,
            hostname=f"{name}.lab",
            address=f"10.0.0.{len(name)}:7400",
            state=state,
            role=role,
            online=online,
            slots=[types_pb2.Slots(type=types_pb2.TASK_TYPE_SHELL, count=8)],
            joined_at_us=NOW_US - 90 * MINUTE_US,
            changed_at_us=NOW_US - 5 * MINUTE_US,
            modified_index=index,
            version="0.1.0",
        ),
        assigned=assigned,
        running=running,
        leader=leader,
        age_us=age_us if sampled else -1,
    )
    if sampled:
        points = terms(cpu, memory, disk, network, running + assigned)
        view.scored = True
        view.terms.CopyFrom(points)
        view.score = points.cpu + points.memory + points.disk + points.network + points.tasks
        view.resources.CopyFrom(resources(cpu, memory, disk, network, gpus))
    return view


def task(
    number: int,
    name: str,
    state: types_pb2.TaskState.ValueType,
    command: str = "",
    *,
    node: str = "",
    priority: int = 5,
    attempt: int = 0,
    created_s: float = 60,
    started_s: float = 0,
    ended_s: float = 0,
    exit_code: int | None = None,
    error: str = "",
    index: int = 0,
    reason: str = "",
) -> types_pb2.Task:
    """A task of which times are given in seconds before now."""
    row = types_pb2.Task(
        id=f"01jx{number:08d}",
        name=name,
        state=state,
        priority=priority,
        spec=types_pb2.TaskSpec(
            type=types_pb2.TASK_TYPE_SHELL,
            shell_command=(command or f"./{name}.sh").encode(),
            timeout_ms=300_000,
            kill_timeout_ms=5000,
            retry=types_pb2.RetryPolicy(max_retries=3, backoff_ms=1000, backoff_multiplier=2, retryable=True),
        ),
        node=node,
        attempt=attempt,
        run=1,
        created_at_us=NOW_US - int(created_s * SECOND_US),
        queued_at_us=NOW_US - int(created_s * SECOND_US),
        modified_index=index or number,
        created_index=number,
        error=error,
        reason=reason,
        actor="uid:1000",
    )
    if started_s:
        row.started_at_us = NOW_US - int(started_s * SECOND_US)
        row.assigned_at_us = row.started_at_us - 2000
        row.fence = 1000 + number
    if node:
        row.placement.CopyFrom(
            types_pb2.Placement(
                node=node, score=61.5, terms=terms(30, 40, 50, 5, 1), reason="best of 3 eligible nodes"
            )
        )
    if ended_s:
        _end(row, ended_s, error if exit_code else "")
    if exit_code is not None:
        row.result.exit_code = exit_code
        if exit_code:
            row.cause = types_pb2.CAUSE_EXIT
            row.fingerprint = f"f{exit_code:03d}a9c41e77"
    return row


def _end(row: types_pb2.Task, ended_s: float, last_words: str) -> None:
    row.completed_at_us = NOW_US - int(ended_s * SECOND_US)
    if row.state == DEAD:
        row.dead_lettered_at_us = row.completed_at_us
    row.result.usage.wall_us = max(0, row.completed_at_us - row.started_at_us)
    row.result.usage.cpu_user_us = row.result.usage.wall_us // 2
    row.result.usage.max_rss_bytes = 48 * 2**20
    if last_words:
        said = f"trying\n{last_words}\n".encode()
        row.result.stderr.CopyFrom(types_pb2.StreamSummary(total_bytes=40, head=said))
    row.result.stdout.CopyFrom(types_pb2.StreamSummary(total_bytes=24, head=b"one line\nanother line\n"))


def sample_tasks() -> list[types_pb2.Task]:
    return [
        task(1, "render", RUNNING, "blender -b scene.blend -a", node="anvil", priority=8, started_s=754,
             created_s=760),
        task(2, "backup", RUNNING, "restic backup /srv --tag nightly", node="birch", started_s=41, created_s=44),
        task(3, "index", ASSIGNED, "./reindex --all", node="birch", created_s=9),
        task(4, "train", QUEUED, "python train.py --epochs 40", priority=7, created_s=320,
             reason="no node has a GPU free: anvil 97% busy"),
        task(5, "thumbs", QUEUED, "make thumbs", priority=2, created_s=33, attempt=1),
        task(6, "hello", COMPLETED, "echo hello, world", node="anvil", created_s=130, started_s=129, ended_s=128,
             exit_code=0),
        task(7, "lint", FAILED, "ruff check .", node="cedar", created_s=400, started_s=399, ended_s=395,
             exit_code=1, error="exit 1: 3 errors found"),
        task(8, "sync", CANCELLED, "rsync -a /a /b", node="cedar", created_s=900, started_s=899, ended_s=600,
             reason="cancelled by uid:1000"),
        task(9, "flaky", DEAD, "sh -c 'exit 7'", node="birch", attempt=3, created_s=700, started_s=500, ended_s=498,
             exit_code=7, error="exit 7 on all 4 attempts"),
        task(10, "fetch", DEAD, "curl -f https://example.org/data", node="cedar", attempt=3, created_s=4000,
             started_s=3600, ended_s=3590, exit_code=22, error="curl: (22) The requested URL returned error: 404"),
    ]  # fmt: skip


def sample_nodes() -> list[cluster_pb2.NodeView]:
    return [
        node_view("anvil", cpu=72, memory=61, disk=48, network=12, running=1, gpus=[97], leader=True),
        node_view("birch", cpu=18, memory=34, disk=71, network=3, running=1, assigned=1),
        node_view("cedar", cpu=4, memory=22, disk=93, network=0.2),
        node_view(
            "dune", cpu=2, memory=12, disk=20, network=0, role=types_pb2.NODE_ROLE_WORKER,
            state=types_pb2.NODE_STATE_CORDONED,
        ),
        node_view("elm", role=types_pb2.NODE_ROLE_WORKER, online=False, sampled=False),
    ]  # fmt: skip


def event(
    index: int,
    kind: types_pb2.EventType.ValueType,
    *,
    task_id: str = "",
    node: str = "",
    detail: str = "",
    before_s: float = 0,
    attempt: int = 0,
    actor: str = "",
) -> types_pb2.Event:
    return types_pb2.Event(
        id=f"{index}-0",
        index=index,
        task=task_id,
        type=kind,
        node=node,
        detail=detail,
        at_us=NOW_US - int(before_s * SECOND_US),
        attempt=attempt,
        run=1 if task_id else 0,
        actor=actor,
    )


def sample_events() -> list[types_pb2.Event]:
    flaky, render = "01jx00000009", "01jx00000001"
    return [
        event(11, types_pb2.EVENT_TYPE_NODE_JOINED, node="elm", detail="joined as a worker", before_s=5400),
        event(20, types_pb2.EVENT_TYPE_SUBMITTED, task_id=render, before_s=760, actor="uid:1000"),
        event(21, types_pb2.EVENT_TYPE_ASSIGNED, task_id=render, node="anvil", detail="score 61.5", before_s=754.1),
        event(22, types_pb2.EVENT_TYPE_STARTED, task_id=render, node="anvil", before_s=754),
        event(30, types_pb2.EVENT_TYPE_FAILED, task_id=flaky, node="cedar", detail="exit 7, retried in 1.4 s",
              before_s=520, attempt=2),
        event(31, types_pb2.EVENT_TYPE_RETRIED, task_id=flaky, before_s=518.6, attempt=3),
        event(32, types_pb2.EVENT_TYPE_STARTED, task_id=flaky, node="birch", before_s=500, attempt=3),
        event(33, types_pb2.EVENT_TYPE_DEAD_LETTERED, task_id=flaky, node="birch", before_s=498, attempt=3,
              detail="exit 7 on all 4 attempts"),
        event(40, types_pb2.EVENT_TYPE_NODE_OFFLINE, node="elm", detail="no heartbeat for 15 s", before_s=320),
        event(41, types_pb2.EVENT_TYPE_NODE_CORDONED, node="dune", detail="kernel update", before_s=300,
              actor="uid:1000"),
    ]  # fmt: skip


def operation(
    number: int,
    kind: types_pb2.OperationKind.ValueType,
    state: types_pb2.OperationState.ValueType,
    *,
    cause: str = "",
    canary: bool = False,
    ids: Sequence[str] = (),
    before_s: float = 60,
    total: int = 0,
    issued: int = 0,
    succeeded: int = 0,
    failed: int = 0,
    reason: str = "",
    outcome: str = "",
) -> types_pb2.Operation:
    """An operation that was asked for so many seconds ago."""
    row = types_pb2.Operation(
        id=f"01op{number:08d}",
        kind=kind,
        state=state,
        bulk=types_pb2.BulkPlan(ids=ids, fingerprint=cause, canary=canary),
        counts=types_pb2.OperationCounts(total=total, issued=issued, succeeded=succeeded, failed=failed),
        created_at_us=NOW_US - int(before_s * SECOND_US),
        actor="uid:1000",
        reason=reason,
        outcome=outcome,
        created_index=1000 + number,
        modified_index=1000 + number,
    )
    row.not_before_us = row.created_at_us + 10 * SECOND_US
    if state != types_pb2.OPERATION_STATE_SCHEDULED:
        row.begun_at_us = row.not_before_us
    if state not in (types_pb2.OPERATION_STATE_SCHEDULED, types_pb2.OPERATION_STATE_RUNNING):
        row.ended_at_us = row.begun_at_us + 5 * SECOND_US
    return row


def sample_operations() -> list[types_pb2.Operation]:
    retry, discard = types_pb2.OPERATION_KIND_RETRY, types_pb2.OPERATION_KIND_DISCARD
    return [
        operation(1, retry, types_pb2.OPERATION_STATE_STOPPED, cause="a1b2c3d4e5f60718", canary=True, before_s=900,
                  total=120, issued=1, failed=1, outcome="1 of 1 failed the same way again; 119 are untouched"),
        operation(2, discard, types_pb2.OPERATION_STATE_DONE, ids=["01jx00000091", "01jx00000092"], before_s=600,
                  total=2, issued=2, reason="the disk was replaced", outcome="2 of 2 tasks"),
        operation(3, retry, types_pb2.OPERATION_STATE_RUNNING, cause="0123456789abcdef", canary=True, before_s=40,
                  total=50, issued=5, succeeded=4),
        operation(4, retry, types_pb2.OPERATION_STATE_SCHEDULED, cause="f007a9c41e77", before_s=3),
    ]  # fmt: skip
