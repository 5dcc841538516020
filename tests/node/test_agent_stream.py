"""What agents tell, line by line, and how their ends are judged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.drivers.agent import template
from node.drivers.agent.end import DOCUMENT_LIMIT_BYTES, judge
from node.drivers.agent.secret_files import SecretError, Secrets
from node.drivers.agent.stream import Lines, Story

NOW_S = 1_800_000_000.0
WORDS = st.sampled_from(
    ["type", "subtype", "result", "assistant", "user", "system", "init", "api_retry", "rate_limit_event", "message",
     "content", "text", "tool_use", "name", "input", "id", "is_error", "error", "rate_limit", "num_turns", "usage",
     "session_id", "rate_limit_info", "status", "rejected", "resetsAt", "retry_delay_ms", "error_status", "errors"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


def told(*events: dict[str, Any]) -> Story:
    story = Story()
    for event in events:
        story.take(json.dumps(event).encode())
    return story


def result(**more: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "is_error": False, "result": "done", **more}


@given(st.binary(max_size=200), st.lists(st.integers(1, 20), max_size=20))
def test_lines_are_the_same_however_they_come(data: bytes, cuts: list[int]) -> None:
    lines = Lines(limit_bytes=1000)
    found: list[bytes | None] = []
    at = 0
    for size in [*cuts, len(data)]:
        found += lines.feed(data[at : at + size])
        at += size
    found += lines.rest()
    assert found == data.removesuffix(b"\n").split(b"\n") if data else found == []


def test_of_a_line_that_is_too_long_only_that_is_known() -> None:
    lines = Lines(limit_bytes=4)
    assert [*lines.feed(b"ab\nabc"), *lines.feed(b"de"), *lines.feed(b"fg\nxy\n12345")] == [b"ab", None, b"xy"]
    assert list(lines.rest()) == [None]


@settings(max_examples=60)
@given(st.lists(st.dictionaries(WORDS, VALUES, max_size=6), max_size=6), st.integers(-20, 255))
def test_nothing_that_is_told_breaks_the_driver(events: list[dict[str, Any]], code: int) -> None:
    story = told(*events)
    end = judge(story, code, "", 10, NOW_S)
    assert end.cause in ("", "exit", "signal", "rate_limited", "infrastructure", "validation", "cannot_start")
    assert (end.code == 0) == (not end.cause)
    assert 0 <= end.retry_after_ms <= 86_400_000
    assert end.document is None or len(json.dumps(end.document)) <= 16 * 1024


def test_a_message_in_pieces_is_one_turn() -> None:
    piece = {"type": "assistant", "message": {"id": "m1", "content": [{"type": "text", "text": "a"}]}}
    assert told(piece, piece, {**piece, "message": {"id": "m2"}}).turns == 2


@pytest.mark.parametrize(
    ("more", "code", "cause", "says", "after_ms"),
    [
        ({}, 0, "", "", 0),
        ({}, 1, "exit", "gave a result, and ended with exit code 1", 0),
        ({"result": "We talked about rate limits and API Error: 429."}, 0, "", "", 0),
        (
            {"result": f"Claude AI usage limit reached|{NOW_S + 60:.0f}"},
            0,
            "rate_limited",
            "limits how much",
            60_000,
        ),
        ({"is_error": True, "result": "You've hit your session limit"}, 1, "rate_limited", "session limit", 0),
        ({"is_error": True, "result": "Error: 429 {} retry-after: 2.5"}, 1, "rate_limited", "429", 2_500),
        ({"is_error": True, "result": "x", "api_error_status": 529}, 1, "rate_limited", "overloaded", 0),
        ({"is_error": True, "result": "API Error: Connection error."}, 1, "infrastructure", "now", 0),
        ({"is_error": True, "result": "API Error: 500 {}"}, 1, "infrastructure", "now", 0),
        ({"is_error": True, "result": "Credit balance is too low"}, 1, "cannot_start", "account", 0),
        ({"is_error": True, "result": "Prompt is too long"}, 1, "validation", "too long", 0),
        ({"is_error": True, "result": "I could not do it."}, 1, "exit", "could not do it", 0),
        ({"subtype": "error_max_turns"}, 0, "exit", "used up its 10 turns", 0),
        ({"subtype": "error_during_execution", "errors": [{"a": 1}], "result": None}, 1, "exit", '"a": 1', 0),
    ],
)
def test_how_an_end_is_judged(more: dict[str, Any], code: int, cause: str, says: str, after_ms: int) -> None:
    end = judge(told(result(**more)), code, "", 10, NOW_S)
    assert (end.cause, end.retry_after_ms) == (cause, after_ms)
    assert re.search(re.escape(says), end.error)


def test_a_call_that_went_well_after_all_is_no_trouble() -> None:
    retry = {"type": "system", "subtype": "api_retry", "error_status": 529, "retry_delay_ms": 500}
    message = {"type": "assistant", "message": {"id": "m", "content": []}}
    assert judge(told(retry, message), 2, "gone", 10, NOW_S).cause == "exit"
    assert judge(told(retry), 2, "gone", 10, NOW_S).cause == "rate_limited"


@pytest.mark.parametrize("text", ["x" * 100_000, "é" * 100_000, "\U0001f600" * 50_000])
def test_a_long_answer_is_kept_in_part(text: str) -> None:
    document = judge(told(result(result=text)), 0, "", 10, NOW_S).document
    assert document is not None
    assert document["truncated"]
    assert text.startswith(document["result"])
    assert DOCUMENT_LIMIT_BYTES // 3 < len(json.dumps(document)) <= DOCUMENT_LIMIT_BYTES


def test_a_command_by_template() -> None:
    words: list[template.Word] = ["x", "{max_turns}", ["-m", "{model}"], "--tools={tools}", "{tools}", "{flags}"]
    assert template.flaw(["x", "{max_turns}", ["{model}"]], ("max_turns",)).startswith("{model} is no placeholder")
    values: dict[str, template.Value] = {"max_turns": "3", "model": "", "tools": ("a", "b c"), "flags": ()}
    assert template.expanded(words, values) == ["x", "3", "--tools=a,b c", "a", "b c"]
    assert template.expanded(words, {**values, "model": "m"})[:4] == ["x", "3", "-m", "m"]


def test_secrets_of_one_file(tmp_path: Path) -> None:
    place = tmp_path / "secrets"
    place.write_text("# mine\na=one=1\n\nb = two\n")
    place.chmod(0o600)
    secrets = Secrets(str(place))
    assert secrets.filled("Bearer secret:a, secret:b") == "Bearer one=1, two"
    assert secrets.hidden("one=1 is said") == "secret:a is said"
    for name in ("c", "..", "mine"):
        with pytest.raises(SecretError, match=f"no secret {re.escape(name)}"):
            secrets.value(name)


def test_a_secret_that_is_part_of_another_and_as_json_has_it(tmp_path: Path) -> None:
    place = tmp_path / "secrets"
    place.write_text('a=tail-of\nb=the-tail-of-"it"\n')
    place.chmod(0o600)
    secrets = Secrets(str(place))
    assert secrets.filled("secret:a secret:b") == 'tail-of the-tail-of-"it"'
    said = json.dumps({"key": 'the-tail-of-"it"', "other": "tail-of"})
    assert secrets.hidden(f'{said} the-tail-of-"it"') == '{"key": "secret:b", "other": "secret:a"} secret:b'


@pytest.mark.parametrize("place", [155, 495, 19_995])
def test_a_secret_is_taken_out_before_anything_is_cut(place: int) -> None:
    story = Story(lambda text: text.replace("hunter2-hunter2", "secret:a"))
    text = "x" * place + "hunter2-hunter2"
    blocks = [{"type": "text", "text": text}, {"type": "tool_use", "name": "Bash", "input": {"command": text}}]
    lines = story.take(json.dumps({"type": "assistant", "message": {"content": blocks}}).encode())
    lines += story.take(text.encode())
    story.take(json.dumps({"type": "result", "is_error": True, "result": text, "usage": {text: 1}}).encode())
    end = judge(story, 1, "", 10, NOW_S)
    for told in (*lines, story.step, *story.plain, end.error, json.dumps(end.document)):
        assert "hunter" not in told


@pytest.mark.parametrize("name", [".", "..", "folder"])
def test_what_is_no_secret(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SecretError):
        Secrets(str(tmp_path)).value(name)
