"""The JSON documents, key by key: scripts rely on them."""

from __future__ import annotations

from typing import Any

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as types
from tui.documents import json_view
from tui.link.follow import exit_status

AT_US = 1_769_860_800_000_001
AT = "2026-01-31T12:00:00.000001Z"
NO_TERMS = dict.fromkeys(("cpu", "memory", "disk", "network", "gpu", "tasks", "gaming"), 0.0)


def full_task() -> types.Task:
    return types.Task(
        id="t1",
        name="build",
        state=types.TASK_STATE_DEAD_LETTER,
        priority=3,
        spec=types.TaskSpec(type=types.TASK_TYPE_SHELL, argv=[b"make", b"\xff"]),
        node="n1",
        attempt=2,
        run=1,
        fence=77,
        created_at_us=AT_US,
        assigned_at_us=AT_US,
        started_at_us=AT_US,
        completed_at_us=AT_US,
        dead_lettered_at_us=AT_US,
        error="killed by signal 9",
        cause=types.CAUSE_SIGNAL,
        result=types.TaskResult(
            signal=9,
            stdout=types.StreamSummary(total_bytes=5, head=b"hi\xff\n"),
            usage=types.Usage(
                wall_us=1, cpu_user_us=2, cpu_system_us=3, max_rss_bytes=4, read_bytes=5, written_bytes=6
            ),
        ),
        placement=types.Placement(node="n1", score=70.5, terms=types.ScoreTerms(cpu=30, memory=40.5)),
        operation="op1",
        fingerprint="f00d",
        blame=types.BLAME_NODE,
        failures=[
            types.Failure(
                run=1,
                node="n1",
                cause=types.CAUSE_EXIT,
                exit_code=3,
                fingerprint="f00d",
                blame=types.BLAME_NODE,
                error="exit code 3",
                at_us=AT_US,
            )
        ],
        annotations=[types.Annotation(at_us=AT_US, actor="ada", text="disk was full")],
    )


def full_event() -> types.Event:
    return types.Event(id="9-0", index=9, task="t1", type=types.EVENT_TYPE_DEAD_LETTERED, node="n1", at_us=AT_US)


FAILURES = [
    {
        "run": 1,
        "attempt": 0,
        "node": "n1",
        "cause": "exit",
        "error_type": "exit",
        "exit_code": 3,
        "signal": None,
        "fingerprint": "f00d",
        "blame": "node",
        "error": "exit code 3",
        "at": AT,
    }
]
RESULT = {
    "stdout_head": "hi\ufffd\n",
    "stdout_tail": "",
    "stderr_head": "",
    "stderr_tail": "",
    "truncated": True,
    "document": None,
    "usage": {
        "wall_us": 1,
        "cpu_user_us": 2,
        "cpu_system_us": 3,
        "max_rss_bytes": 4,
        "read_bytes": 5,
        "written_bytes": 6,
        "peak_memory_bytes": None,
        "peak_gpu_memory_bytes": None,
    },
}


def test_task() -> None:
    assert json_view.task(full_task(), [full_event()]) == {
        "id": "t1",
        "name": "build",
        "type": "shell",
        "state": "dead_letter",
        "priority": 3,
        "command": ["make", "\ufffd"],
        "node": "n1",
        "attempt": 2,
        "run": 1,
        "fence": 77,
        "exit_code": None,
        "signal": 9,
        "error": "killed by signal 9",
        "error_type": "signal",
        "remedy": "See its stderr, where a crash often leaves a message.",
        "put_offs": 0,
        "reason": None,
        "created_at": AT,
        "assigned_at": AT,
        "started_at": AT,
        "completed_at": AT,
        "ready_at": None,
        "dead_lettered_at": AT,
        "endpoints": None,
        "progress": None,
        "workflow_id": None,
        "task_key": None,
        "operation_id": "op1",
        "fingerprint": "f00d",
        "blame": "node",
        "failures": FAILURES,
        "annotations": [{"at": AT, "actor": "ada", "text": "disk was full"}],
        "placement": {"node": "n1", "score": 70.5, "terms": {**NO_TERMS, "cpu": 30.0, "memory": 40.5}},
        "result": RESULT,
        "events": [
            {
                "id": "9-0",
                "index": 9,
                "task": "t1",
                "type": "dead_lettered",
                "node": "n1",
                "detail": None,
                "at": AT,
                "actor": None,
                "operation": None,
                "workflow": None,
            }
        ],
    }


def test_what_is_absent_is_null() -> None:
    row = types.Task(id="t2", state=types.TASK_STATE_QUEUED, spec=types.TaskSpec(type=1, shell_command=b"ls | wc"))
    document = json_view.task(row)
    assert document["command"] == "ls | wc"
    assert document["state"] == "queued"
    null = (
        "node",
        "fence",
        "exit_code",
        "signal",
        "error",
        "reason",
        "started_at",
        "placement",
        "result",
        "events",
    )
    assert {name: document[name] for name in null} == dict.fromkeys(null)
    assert (document["attempt"], document["priority"]) == (0, 0)


def test_exit_code_0_is_not_null() -> None:
    row = types.Task(id="t", state=types.TASK_STATE_COMPLETED, result=types.TaskResult(exit_code=0))
    assert json_view.task(row)["exit_code"] == 0
    assert json_view.task(row)["signal"] is None


def test_state_names_are_those_of_the_semantics() -> None:
    assert json_view.task_states() == [
        "pending",
        "queued",
        "assigned",
        "running",
        "completed",
        "failed",
        "cancelled",
        "skipped",
        "dead_letter",
    ]


def node_view(**fields: Any) -> pb.NodeView:
    row = types.Node(
        id="n1",
        address="127.0.0.1:7001",
        state=fields.pop("state", types.NODE_STATE_ACTIVE),
        role=types.NODE_ROLE_VOTER,
        online=fields.pop("online", True),
        slots=[
            types.Slots(type=types.TASK_TYPE_SHELL, count=4),
            types.Slots(type=types.TASK_TYPE_CONTAINER, count=2),
        ],
        labels=[types.Label(key="zone", value="a"), types.Label(key="ssd")],
        capabilities=["docker"],
    )
    return pb.NodeView(node=row, **fields)


def test_nodes() -> None:
    view = node_view(
        leader=True,
        scored=True,
        score=55.0,
        terms=types.ScoreTerms(cpu=55),
        running=2,
        assigned=3,
        age_us=1_500_000,
    )
    assert json_view.nodes(pb.ListNodesReply(nodes=[view], index=12)) == {
        "nodes": [
            {
                "id": "n1",
                "address": "127.0.0.1:7001",
                "state": "active",
                "message": None,
                "alarm": None,
                "suspect_reason": None,
                "operation": None,
                "role": "voter",
                "kind": None,
                "leader": True,
                "score": 55.0,
                "terms": {**NO_TERMS, "cpu": 55.0},
                "resources": None,
                "benchmark": None,
                "executors": [],
                "sandboxes": [],
                "slots": 4,
                "running": 2,
                "assigned": 3,
                "labels": ["zone=a", "ssd"],
                "capabilities": ["docker"],
                "age_s": 1.5,
            }
        ],
        "index": 12,
    }


def test_a_node_without_session_is_offline_and_unscored() -> None:
    document = json_view.node(node_view(online=False, state=types.NODE_STATE_CORDONED, age_us=-1))
    assert (document["state"], document["score"], document["terms"], document["age_s"]) == (
        "offline",
        None,
        None,
        None,
    )
    pending = json_view.node(node_view(online=False, state=types.NODE_STATE_PENDING_APPROVAL))
    assert pending["state"] == "pending_approval"


def test_status() -> None:
    reply = pb.StatusReply(
        leader="n1",
        term=3,
        index=10,
        applied=9,
        voters=[pb.VoterStatus(id="n1", address="h:1", up=True)],
        learners=[pb.VoterStatus(id="n4", address="h:4")],
        workers=2,
        healthy=True,
        level=1,
        version="0.1.0",
        node="n2",
        notice="n2 was removed from the voters.",
        alarms=[pb.NodeTrouble(node="n2", alarm="Its log grows.")],
    )
    assert json_view.status(reply) == {
        "leader": "n1",
        "term": 3,
        "index": 10,
        "applied": 9,
        "voters": [{"id": "n1", "address": "h:1", "role": "voter", "up": True}],
        "learners": [{"id": "n4", "address": "h:4", "role": "learner", "up": False}],
        "workers": 2,
        "healthy": True,
        "level": 1,
        "version": "0.1.0",
        "notice": "n2 was removed from the voters.",
        "alarms": [{"node": "n2", "alarm": "Its log grows."}],
    }


def test_why_and_mutations() -> None:
    verdicts = [
        pb.NodeVerdict(node="n1", eligible=True, score=50.0, terms=types.ScoreTerms(cpu=50)),
        pb.NodeVerdict(node="n2", reason="cordoned", flip="uncordon it"),
    ]
    reply = pb.WhyReply(task=full_task(), nodes=verdicts, index=7, past=True, note="n2 was not sampled")
    assert json_view.why(reply) == {
        "task": "t1",
        "state": "dead_letter",
        "nodes": [
            {
                "node": "n1",
                "verdict": "eligible",
                "score": 50.0,
                "terms": {**NO_TERMS, "cpu": 50.0},
                "reason": None,
                "flip": None,
            },
            {
                "node": "n2",
                "verdict": "ineligible",
                "score": None,
                "terms": None,
                "reason": "cordoned",
                "flip": "uncordon it",
            },
        ],
        "index": 7,
        "past": True,
        "note": "n2 was not sampled",
    }
    assert json_view.mutation(pb.MutationReply(operation_id="r1", index=4, ids=["a", "b"])) == {
        "operation_id": "r1",
        "index": 4,
        "ids": ["a", "b"],
    }


def test_output_pieces() -> None:
    assert json_view.output(pb.STREAM_KIND_STDERR, 3, b"\xff\x00") == {
        "stream": "stderr",
        "offset": 3,
        "data_b64": "/wA=",
    }


def ended(state: types.TaskState.ValueType, result: types.TaskResult | None = None) -> int:
    return exit_status(types.Task(state=state, result=result))


def test_exit_status_of_an_ended_task() -> None:
    assert ended(types.TASK_STATE_COMPLETED, types.TaskResult(exit_code=0)) == 0
    assert ended(types.TASK_STATE_COMPLETED, types.TaskResult(exit_code=3)) == 3  # a listed success code
    assert ended(types.TASK_STATE_DEAD_LETTER, types.TaskResult(exit_code=7)) == 7
    assert ended(types.TASK_STATE_FAILED, types.TaskResult(signal=9)) == 137
    assert ended(types.TASK_STATE_DEAD_LETTER) == 125
    assert ended(types.TASK_STATE_CANCELLED) == 125
    assert ended(types.TASK_STATE_CANCELLED, types.TaskResult(exit_code=0)) == 125
