"""Types of errors: one for every cause, and what users are told of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cortex.v1 import types_pb2 as t
from tui.documents import json_view
from tui.drawing.gist import gist, payload_text
from tui.store import ends
from tui.store.waiting import wait_reason

DOCS = Path(__file__).resolve().parents[2] / "docs" / "errors.md"
NOON_US = 1_767_960_000_000_000  # 2026-01-09 12:00:00


def test_every_cause_has_a_type() -> None:
    assert set(ends.BY_CAUSE) == {number for number in t.Cause.values() if number}


def test_the_table_of_the_documentation_is_the_table() -> None:
    rows = {f"| `{each.name}` | {each.meaning} | {each.remedy} |" for each in ends.BY_CAUSE.values()}
    assert rows <= set(DOCS.read_text().splitlines())


@pytest.mark.parametrize(
    ("task", "wanted"),
    [
        (t.Task(state=t.TASK_STATE_DEAD_LETTER, cause=t.CAUSE_OUT_OF_MEMORY, error="x"), "oom"),
        (t.Task(state=t.TASK_STATE_DEAD_LETTER, cause=t.CAUSE_CANNOT_START, error="x"), "infrastructure"),
        (t.Task(state=t.TASK_STATE_FAILED, condition_error="x"), "validation"),
        (t.Task(state=t.TASK_STATE_CANCELLED), "cancelled"),
        (t.Task(state=t.TASK_STATE_QUEUED, cause=t.CAUSE_RATE_LIMITED, error="x"), "rate_limited"),
        (t.Task(state=t.TASK_STATE_COMPLETED, cause=t.CAUSE_EXIT, error="x"), None),
        (t.Task(state=t.TASK_STATE_RUNNING), None),
    ],
)
def test_type_of_a_task(task: t.Task, wanted: str | None) -> None:
    found = json_view.task(task)
    assert found["error_type"] == wanted
    assert bool(found["remedy"]) == bool(wanted)


def test_what_is_put_off_says_until_when_and_since_what() -> None:
    task = t.Task(state=t.TASK_STATE_QUEUED, cause=t.CAUSE_RATE_LIMITED, error="It is busy.")
    task.scheduled_after_us = NOON_US + 90_000_000
    said = "put off until 12:01:30 UTC, since It is busy."
    assert ends.put_off_text(task, NOON_US) == said
    assert wait_reason(task, {}, NOON_US) == said
    assert ends.put_off_text(task, task.scheduled_after_us) == ""
    task.cause = t.CAUSE_EXIT
    assert ends.put_off_text(task, NOON_US) == ""


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (b'{"context": "c", "prompt": "Count \\"all\\"\\nof them"}', b'Count "all"'),
        (b'{"prompt": "\\ud83d\\ude00 \xc3\xa9"}', "\U0001f600 é".encode()),
        (b'{"message": "\\ud83d"}', b"?"),
        (b'{"handler": "resize"}', b"resize"),
        (b'{"prompt": ""}', b""),
        (b'{"prompt": 5', b""),
        (b"", b""),
    ],
)
def test_what_a_task_without_a_command_is_about(payload: bytes, wanted: bytes) -> None:
    assert gist(payload) == wanted


@pytest.mark.parametrize(
    ("document", "wanted"), [(b"", None), (b'{"a": "\xc3\xa9"}', {"a": "é"}), (b"{", None), (b"[" * 50_000, None)]
)
def test_the_document_of_a_result(document: bytes, wanted: object) -> None:
    result = t.TaskResult(document=document)
    assert ends.document(result) == wanted
    assert ends.document_text(result) == (json.dumps(wanted, indent=2, ensure_ascii=False) if wanted else "")


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", ""),
        (b'{"image": "app:1", "cpus": 1.5, "labels": {"a": "b"}}', 'image app:1, cpus 1.5, labels {"a": "b"}'),
        (b'{"handler": "resize", "data": {"token": "hunter2"}}', "handler resize, data (token)"),
        (b'{"prompt": "one\\n  two"}', "prompt one two"),
        (b'{"prompt": "' + b"x" * 200 + b'"}', "prompt " + "x" * 99 + "…"),
        (b"\xff", "1 bytes"),
        (b"[" * 100_000, "100000 bytes"),
    ],
)
def test_what_a_payload_says_on_one_line(payload: bytes, said: str) -> None:
    assert payload_text(payload) == said
