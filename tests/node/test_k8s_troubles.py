"""An API that refuses, breaks off, forgets and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.double import Double, echo
from tests.node.k8s_kit import NAME, Driven, served

NAMESPACE = "work"


@pytest.fixture
def double() -> Iterator[Double]:
    with served() as double:
        yield double


@pytest.mark.parametrize(
    ("status", "reason", "cause", "says"),
    [
        (403, "Forbidden", "validation", "Give the user of the context a role"),
        (404, "NotFound", "not_found", "Name a namespace that exists"),
        (422, "Invalid", "validation", "Correct the payload"),
    ],
)
def test_a_refusal_ends_the_task_with_its_cause(
    double: Double, tmp_path: Path, status: int, reason: str, cause: str, says: str
) -> None:
    double.fail("POST", "jobs", status, reason=reason)
    driven = Driven(double, tmp_path)
    driven.start()
    assert driven.end() == 1
    assert driven.verdict["cause"] == cause
    assert says in driven.verdict["error"]
    assert double.count("POST") == 1


def test_a_token_that_the_api_does_not_know_is_said(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    double.token = "another"
    driven.start()
    assert driven.end() == 1
    assert (driven.verdict["cause"], "Unauthorized" in driven.verdict["error"]) == ("cannot_start", True)
    assert "Renew the credentials of the context" in driven.verdict["error"]
    asked = double.count(f"GET /apis/batch/v1/namespaces/{NAMESPACE}/jobs?")
    assert asked == 2, "it is asked once more, no more often"


def test_a_plugin_that_is_missing_is_the_nodes_matter(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./absent",
        "installHint": "Install it so.",
    }
    double.kubeconfig(tmp_path / "kubeconfig", exec=plugin)
    driven.start()
    assert driven.end() == 1
    assert driven.verdict["cause"] == "cannot_start"
    assert driven.verdict["error"].endswith("is not on this node. Install it so.")


def test_a_token_that_expires_and_is_renewed_does_not_disturb_a_task(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    driven.start()
    pod = double.schedule(double.job())
    double.run(pod)
    double.say(pod, "before")
    driven.writes("before\n")
    double.token = "the next"
    for part in ("jobs?", "pods?", "log?"):
        double.fail("GET", part, after_lines=0)
    double.compact()
    driven.says("Unauthorized")
    double.kubeconfig(tmp_path / "kubeconfig")
    double.say(pod, "after")
    double.exit(pod, 3)
    assert driven.end() == 3
    assert driven.output == "before\nafter\n"


def test_a_task_whose_token_is_not_renewed_is_put_off(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path, unreachable_s=0.1)
    driven.start()
    double.job()
    double.wait(lambda: double.watching == 2)
    double.token = "the next"
    double.compact()
    assert driven.end() == 1
    assert driven.verdict["cause"] == "infrastructure"
    assert "Renew the credentials of the context" in driven.verdict["error"]


def test_a_cluster_that_asks_to_come_later_puts_the_task_off(double: Double, tmp_path: Path) -> None:
    double.fail("POST", "jobs", 429, reason="TooManyRequests", headers={"Retry-After": "120"})
    driven = Driven(double, tmp_path)
    driven.start()
    assert driven.end() == 1
    assert (driven.verdict["cause"], driven.verdict["retry_after_ms"]) == ("rate_limited", 120_000)
    assert double.count("POST") == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(double: Double, tmp_path: Path, status: int) -> None:
    double.fail("POST", "jobs", status)
    double.fail("GET", "jobs?labelSelector", status)
    double.behave = echo(double)
    driven = Driven(double, tmp_path)
    driven.start()
    assert driven.end() == 0
    assert double.count("POST") == 2


def test_a_job_whose_answer_was_lost_is_taken_up_not_made_twice(double: Double, tmp_path: Path) -> None:
    double.behave = echo(double)
    double.fail("POST", "jobs", before=False)
    driven = Driven(double, tmp_path)
    driven.start()
    assert driven.end() == 0
    assert driven.output == "hello\n"
    assert len(double.all("jobs")) == 1


def test_a_job_of_that_name_that_is_anothers_is_left_alone(double: Double, tmp_path: Path) -> None:
    double.put("jobs", {"metadata": {"name": NAME, "namespace": "work"}, "spec": {}})
    driven = Driven(double, tmp_path)
    driven.start()
    assert driven.end() == 1
    assert driven.verdict["cause"] == "validation"
    assert double.count("DELETE") == 0


def test_watches_that_break_off_go_on_where_they_were(double: Double, tmp_path: Path) -> None:
    for resource in ("jobs", "pods"):
        double.fail("GET", f"{resource}?", after_lines=1, times=4)
    double.fail("GET", "pods?", 500)
    driven = Driven(double, tmp_path)
    driven.start()
    pod = double.schedule(double.job())
    double.run(pod)
    double.say(pod, "a")
    driven.writes("a\n")
    double.exit(pod, 5)
    assert driven.end() == 5
    listed = [each for each in double.requests if "watch" not in each and f"metadata.name%3D{NAME}" in each]
    assert len(listed) == 1


@pytest.mark.parametrize("how", ["event", "status"])
def test_a_version_that_expired_is_listed_anew(double: Double, tmp_path: Path, how: str) -> None:
    driven = Driven(double, tmp_path)
    driven.start()
    double.job()
    double.wait(lambda: double.watching == 2)
    pod = double.schedule(double.job())
    double.run(pod)
    double.say(pod, "lives")
    driven.writes("lives\n")
    if how == "status":
        double.fail("GET", "watch=true", 410, reason="Expired", times=2)
    double.compact()
    double.wait(lambda: double.count(f"GET /api/v1/namespaces/{NAMESPACE}/pods?") >= 4)
    double.exit(pod, 0)
    assert driven.end() == 0


def test_bookmarks_keep_a_quiet_watch_fresh(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    driven.start()
    double.job()
    double.wait(lambda: double.watching == 2)
    double.fail("GET", "pods?", after_lines=1)  # the watch after this one
    version = double.bookmark("pods")
    double.put("events", {"metadata": {"name": "other", "namespace": "work"}})
    pod = double.schedule(double.job())
    double.run(pod)
    double.exit(pod, 0)
    assert driven.end() == 0
    assert version > 0


def test_an_api_that_goes_away_and_comes_back_is_waited_for(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    driven.start()
    pod = double.schedule(double.job())
    double.run(pod)
    double.say(pod, "before")
    driven.writes("before\n")
    outage = [double.fail("GET", part, times=10_000) for part in ("jobs?", "pods?", "log?")]
    double.compact()
    driven.says("The API cannot be reached")
    double.say(pod, "during")
    double.exit(pod, 7)
    with double.changed:
        for fault in outage:
            double.faults.remove(fault)
    assert driven.end() == 7
    assert driven.output == "before\nduring\n"


def test_an_api_that_stays_away_puts_the_task_off(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path, unreachable_s=0.1)
    driven.start()
    double.job()
    double.wait(lambda: double.watching == 2)
    for part in ("jobs?", "pods?"):
        double.fail("GET", part, 503, times=10_000)
    double.compact()
    assert driven.end() == 1
    assert driven.verdict["cause"] == "infrastructure"
    assert double.all("jobs") == []


def test_each_line_comes_once_over_logs_that_break_off(double: Double, tmp_path: Path) -> None:
    double.fail("GET", "log?", after_lines=2)
    double.fail("GET", "log?", 500)
    double.fail("GET", "log?", after_lines=0)
    double.fail("GET", "log?", after_lines=3)
    driven = Driven(double, tmp_path)
    driven.start()
    pod = double.schedule(double.job())
    double.run(pod)
    # Some of one instant: they cannot be told apart by it.
    double.say(pod, "1", "2", "2", instant="2026-01-01T00:00:00.25Z")
    double.say(pod, "3", instant="2026-01-01T00:00:00.5Z")
    double.say(pod, "4", "5", instant="2026-01-01T00:00:01Z")
    double.exit(pod, 0)
    assert driven.end() == 0
    assert driven.output == "1\n2\n2\n3\n4\n5\n"


def test_a_log_that_nobody_can_read_does_not_change_the_end(
    double: Double, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    double.fail("GET", "log?", 403, reason="Forbidden", times=10_000)
    double.behave = echo(double, code=4)
    driven = Driven(double, tmp_path)
    driven.start()
    assert driven.end() == 4
    assert driven.output == ""
    assert "the rest of the log could not be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"context": "away"}, "away"),
        ({"kubeconfig": ("/nowhere/config",)}, "There is no kubeconfig"),
        ({"flaw": "Its command is no UTF-8."}, "no UTF-8"),
    ],
)
def test_what_cannot_begin_says_why(double: Double, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    driven = Driven(double, tmp_path, **changes)
    driven.start()
    assert driven.end() == 1
    assert says in driven.verdict["error"]
