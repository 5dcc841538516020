"""What an answer of the model's API makes of a task: the documentation's table, row by row, by the stand-in."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from node.drivers.agent.end import End, judge
from node.drivers.agent.stream import Story
from tests.agents.stand_in import StandIn

PAGE = Path(__file__).resolve().parents[2] / "docs" / "executors.md"
NOW_S = 1_800_000_000.0
# As users are told of a cause.
TYPES = {"cannot_start": "infrastructure"}

# The first cell of a row -> what the agent does, the cause, and how long it is to wait.
ROWS: dict[str, tuple[tuple[str, ...], str, int]] = {
    "400 invalid request": (('status 400 {"error": {"type": "invalid_request_error"}}',), "validation", 0),
    "prompt is too long": (("status 400 Prompt is too long",), "validation", 0),
    "401 credentials that are not valid": (("status 401 invalid x-api-key",), "cannot_start", 0),
    "not logged in": (("error Not logged in · Please run /login",), "cannot_start", 0),
    "402 no credit": (("error Credit balance is too low",), "cannot_start", 0),
    "403 no permission": (('status 403 {"error": {"type": "permission_error"}}',), "cannot_start", 0),
    "404 no such model": (('status 404 {"error": {"type": "not_found_error"}}',), "validation", 0),
    "408 its request took too long": (("status 408 Request timeout",), "infrastructure", 0),
    "413 request is too large": (("status 413 request_too_large",), "validation", 0),
    "429 come back later": (("retry-after 7",), "rate_limited", 7_000),
    "a usage limit is reached": (("limit 3600",), "rate_limited", 3_600_000),
    "500 internal error": (("status 500 Internal server error",), "infrastructure", 0),
    "502, 504 gateway": (("status 502 Bad gateway",), "infrastructure", 0),
    "503 unavailable": (("retrying 503", "exit 1"), "infrastructure", 700),
    "529 overloaded": (("overloaded",), "rate_limited", 0),
    "no connection": (("error API Error: Connection error. (ECONNREFUSED)",), "infrastructure", 0),
    "turns are used up": (("turns 2", "max-turns"), "exit", 0),
    "budget is used up": (("turns 1", "budget"), "exit", 0),
    "anything else": (("error 3 tests fail",), "exit", 0),
}


def table() -> dict[str, str]:
    """The rows as the documentation has them: what is answered -> the type of the failure."""
    _, _, text = PAGE.read_text().partition("| the API, or the agent, says |")
    lines = text.split("\n\n")[0].splitlines()[2:]
    cells = ([cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines)
    return {said: kind for said, kind, _ in cells}


def ended(monkeypatch: pytest.MonkeyPatch, *lines: str) -> End:
    """How an agent that does this is judged."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr("tests.agents.stand_in.time.time", lambda: NOW_S)
    agent = StandIn([])
    *first, last = lines
    for line in first:
        agent.step(line)
    with pytest.raises(SystemExit) as left:
        agent.step(last)
    story = Story()
    for line in out.getvalue().splitlines():
        story.take(line.encode())
    return judge(story, int(str(left.value.code)), "", 10, NOW_S)


@pytest.mark.parametrize("said", ROWS)
def test_an_answer_of_the_api(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    lines, cause, after_ms = ROWS[said]
    end = ended(monkeypatch, *lines)
    assert (end.cause, end.retry_after_ms) == (cause, after_ms)
    assert end.error
    assert end.code
    assert table()[said] == TYPES.get(cause, cause)


def test_each_row_of_the_table_is_tried() -> None:
    assert list(table()) == list(ROWS)


@pytest.mark.parametrize("status", [500, 502, 504, 520])
def test_a_failing_server_is_not_the_task_s_fault(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    assert ended(monkeypatch, f"status {status} Oh.").cause == "infrastructure"


@pytest.mark.parametrize("words", ["401 no", "402 no", "403 no", "400 Your credit balance is too low"])
def test_an_account_that_will_not_do_says_what_to_do(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    end = ended(monkeypatch, f"status {words}")
    assert end.cause == "cannot_start"
    assert end.error.startswith("The agent's account on this machine cannot be used: ")
    assert end.error.endswith(". Log the agent in there, or correct its secret, and retry the task.")
