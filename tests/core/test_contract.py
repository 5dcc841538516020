"""What is in old logs must mean the same for ever: tags and numbers that are never changed."""

from __future__ import annotations

from cortex.v1.log_pb2 import Command, Entry
from cortex.v1.types_pb2 import NodeState, TaskState, TaskType
from node.core import machine
from node.core.model import ENDED, LIVE

COMMAND_TAGS = {
    "noop": 1,
    "config_change": 2,
    "task_submit": 3,
    "task_complete": 4,
    "node_join": 5,
    "node_leave": 6,
    "context_update": 7,
    "memory_write": 8,
    "task_assign": 10,
    "task_started": 11,
    "task_failed": 12,
    "task_cancel": 13,
    "task_retry": 14,
    "task_dead_letter": 15,
    "workflow_submit": 16,
    "workflow_advance": 17,
    "node_approve": 18,
    "node_cordon": 19,
    "operation_start": 20,
    "operation_advance": 21,
    "operation_stop": 22,
    "workflow_resume": 23,
    "settings_change": 24,
    "level_raise": 25,
    "history_trim": 26,
    "task_lost": 27,
    "task_recalled": 28,
    "task_stopped": 29,
    "task_migrate": 30,
    "workflow_cancel": 31,
    "task_priority": 32,
    "task_annotate": 33,
    "task_escalate": 34,
    "node_suspect": 35,
    "node_alarm": 36,
    "task_ready": 37,
}


def test_command_tags() -> None:
    fields = Command.DESCRIPTOR.oneofs_by_name["kind"].fields
    found = {field.name: field.number for field in fields}
    assert {name: found.get(name) for name in COMMAND_TAGS} == COMMAND_TAGS
    assert 9 not in found.values()
    assert all(number > 30 for name, number in found.items() if name not in COMMAND_TAGS)


def test_command_tags_on_the_wire() -> None:
    for name, number in COMMAND_TAGS.items():
        command = Command()
        getattr(command, name).SetInParent()
        key = number << 3 | 2
        prefix = bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])
        assert command.SerializeToString() == prefix + b"\0"


def test_entry_tags() -> None:
    found = {field.name: field.number for field in Entry.DESCRIPTOR.fields}
    assert found.items() >= {
        ("level", 1),
        ("at_us", 2),
        ("client", 3),
        ("request_id", 4),
        ("actor", 5),
        ("proposal_id", 6),
        ("commands", 7),
        ("batch", 8),
    }


def test_states_and_types() -> None:
    assert [name.removeprefix("TASK_STATE_").lower() for name in TaskState.keys()[1:]] == [
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
    assert frozenset({5, 6, 7, 8, 9}) == ENDED
    assert frozenset({1, 2, 3, 4}) == LIVE
    assert TaskType.Value("TASK_TYPE_SHELL") == 1
    assert NodeState.Value("NODE_STATE_ACTIVE") == 2


def test_kinds_that_this_level_applies() -> None:
    later = {
        "context_update",
        "memory_write",
        "node_approve",
    }
    assert set(machine.KIND_LEVELS) == set(COMMAND_TAGS) - later
