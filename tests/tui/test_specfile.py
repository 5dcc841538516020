"""A task's specification as a file to be edited: there and back it is the same, and only text is shown."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from cortex.v1 import types_pb2
from node.core import validate
from tui.link.target import editor
from tui.written import specfile
from tui.written.taskspec import SETTERS, BadField, task_request

FULL: dict[str, Any] = {
    "type": "service",
    "payload": {"restart": {"policy": "never"}, "ready": {"port": 80}},
    "command": ["sh", "-c", "echo 'a: b' # c\n\ttrue"],
    "env": {"A": "b c", "EMPTY": "", "Ü": "ö\n"},
    "cwd": "/tmp",
    "timeout": "1h30m",
    "queue_timeout": "1500ms",
    "kill_timeout": "4s",
    "on_lost": "wait(2m)",
    "locks": ["one", "two"],
    "limit": "k=e=y=3",
    "constraints": {
        "node_labels": ["rack=a", "ssd"],
        "min_disk_gb": 5,
        "requires_gpu": True,
        "target_node": "n1",
        "capabilities": ["gpu"],
        "preferred_capabilities": ["fast"],
        "excluded_nodes": ["n9"],
    },
    "requests": {"cpu_millis": 500, "memory": "1GiB", "gpus": 1},
    "retry_policy": {
        "max_retries": 0,
        "backoff_ms": 5,
        "backoff_multiplier": 1.5,
        "max_backoff_ms": 7,
        "retryable": False,
        "jitter": "equal",
        "max_elapsed_ms": 9,
    },
    "success_codes": [3, 4],
    "no_retry_codes": [9],
    "on_exhausted": "fail",
    "sandbox": "none",
    "stall_after": "1h",
    "idle_timeout": "10m",
}


def task_of(fields: dict[str, Any]) -> types_pb2.Task:
    """A task as the cluster has it: every default is filled in."""
    submit = validate.complete(task_request(fields), "t1")
    return types_pb2.Task(id="t1", name=submit.name, spec=submit.spec)


@pytest.mark.parametrize(
    "fields", [{"command": "exit 3"}, {"command": ["true"]}, FULL], ids=["string", "list", "full"]
)
def test_there_and_back(fields: dict[str, Any]) -> None:
    task = task_of(fields)
    text = specfile.dump(task)
    assert text.startswith("# Task t1 will be run again as follows.")
    assert specfile.parse(text, task) == task.spec


def test_every_key_of_a_specification_is_written() -> None:
    """But for those that are another spelling, and those that a retry keeps."""
    spelt_otherwise = {"retries", "on", "label", "gpu", "mem", "capabilities", "prefer_capabilities"}
    shown = set(yaml.safe_load(specfile.dump(task_of(FULL))))
    assert shown == set(SETTERS) - spelt_otherwise - {"name", "key", "priority"}


def test_what_no_key_stands_for_is_kept() -> None:
    task = task_of({"command": ["true"]})
    task.spec.payload = b"{}"
    edited = specfile.parse(specfile.dump(task), task)
    assert edited == task.spec


def test_a_payload_is_edited_as_what_it_says() -> None:
    task = task_of({"type": "service", "command": ["true"], "payload": {"ready": {"port": 80}}})
    text = specfile.dump(task)
    assert specfile.parse(text.replace("port: 80", "port: 81"), task).payload == b'{"ready": {"port": 81}}'
    without = text.replace("payload:\n  ready: {port: 80}\n", "")
    assert without != text
    assert specfile.parse(without, task).payload == b""


@pytest.mark.parametrize("length", ["0", "5m"])
def test_lengths_of_none_are_lengths(length: str) -> None:
    task = task_of({"command": ["true"], "stall_after": length, "idle_timeout": length})
    assert specfile.parse(specfile.dump(task), task) == task.spec


@pytest.mark.parametrize("field", ["command", "env"])
def test_bytes_that_are_no_text(field: str) -> None:
    task = task_of({"command": ["true"]})
    if field == "command":
        task.spec.argv.append(b"\xff")
    else:
        task.spec.env.add(name="A", value=b"\xff")
    with pytest.raises(BadField, match="bytes that are no text") as refused:
        specfile.dump(task)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "line 1: it is no YAML"),
        ("a: [b", "it is no YAML"),
        ("5", "the file: it is no map"),
        ("", "the file: it is no map"),
        ("command: [true]\nname: x", "name: a retry keeps it"),
        ("command: ls\ncolour: red", "colour: there is no such key"),
        ("cwd: /tmp", "command: there is none"),
        ("command: ls\ntimeout: soon", "timeout: 'soon' is no duration"),
        ("!!python/object:os.system {}", "it is no YAML"),
    ],
)
def test_what_cannot_be_understood(text: str, said: str) -> None:
    with pytest.raises(BadField, match=r".") as refused:
        specfile.parse(text, task_of({"command": ["true"]}))
    assert said in str(refused.value)


def test_only_what_differs_is_told() -> None:
    assert specfile.difference("a: 1\nb: 2\nc: 3\n", "a: 1\nb: 5\nc: 3\n") == [
        "--- before",
        "+++ after",
        " a: 1",
        "-b: 2",
        "+b: 5",
        " c: 3",
    ]


def test_which_editor() -> None:
    assert editor({}) == ["vi"]
    assert editor({"EDITOR": "nano"}) == ["nano"]
    assert editor({"VISUAL": "code -w", "EDITOR": "nano"}) == ["code", "-w"]
    assert editor({"EDITOR": "  "}) == ["vi"]
    assert editor({"EDITOR": "it's"}) == ["it's"]
