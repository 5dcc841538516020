"""A task that is a Job is stopped; one whose machine was lost leaves no second Job behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.drivers.k8s import main as k8s
from node.drivers.k8s.manifest import FENCE as FENCE_LABEL
from tests.k8s.double import Double, echo
from tests.node.k8s_kit import FENCE, NAME, TASK, Driven, served


@pytest.fixture
def double() -> Iterator[Double]:
    with served() as double:
        yield double


def earlier(fence: int, *, over: bool = False) -> dict[str, Any]:
    conditions = [{"type": "Failed", "status": "True"}] if over else []
    labels = {"cortex/task": TASK, FENCE_LABEL: str(fence)}
    metadata = {"name": f"cortex-{TASK}-{fence}", "namespace": "work", "labels": labels}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "task", "image": "i"}]}}
    return {"metadata": metadata, "spec": {"template": template}, "status": {"conditions": conditions}}


def test_term_removes_the_job_and_waits_for_its_pod(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    driven.start()
    pod = double.schedule(double.job())
    double.run(pod)
    double.say(pod, "works")
    driven.writes("works\n")
    driven.stop()
    double.wait(lambda: double.job()["metadata"].get("deletionTimestamp"))
    double.say(pod, "says goodbye")
    driven.writes("says goodbye\n")
    assert driven.code == -1
    double.gone(pod)
    assert driven.end() == 143
    assert driven.verdict["cause"] == ""
    assert double.all("jobs") == []


def test_term_before_the_pod_is_there_removes_the_job(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    driven.start()
    driven.says("is submitted")
    driven.stop()
    assert driven.end() == 143
    assert double.all("jobs") == []


def test_what_a_container_says_that_begins_meanwhile_is_passed_on(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    driven.start()
    pod = double.schedule(double.job())
    driven.says("is submitted")
    driven.stop()
    double.wait(lambda: double.job()["metadata"].get("deletionTimestamp"))
    double.run(pod)
    double.say(pod, "up")
    driven.writes("up\n")
    double.gone(pod)
    assert driven.end() == 143


def test_last_words_that_come_late_are_waited_for_as_long_as_the_pod_had(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(k8s, "_LAST_WORDS_S", 0.0)
    driven = Driven(double, tmp_path, grace_s=60)
    driven.start()
    pod = double.schedule(double.job())
    double.run(pod)
    double.say(pod, "works")
    driven.writes("works\n")
    driven.stop()
    double.wait(lambda: double.job()["metadata"].get("deletionTimestamp"))
    double.delete("pods", "work", pod)
    double.delete("jobs", "work", double.job()["metadata"]["name"])
    driven.ends_not(0.3)
    double.say(pod, "bye")
    double.close_log(pod)
    assert driven.end() == 143
    assert driven.output == "works\nbye\n"


def test_term_before_a_pod_has_its_node_ends_with_the_pod(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    driven.start()
    double.schedule(double.job(), node="")
    driven.says("is submitted")
    driven.stop()
    assert driven.end() == 143
    assert double.all("jobs") == double.all("pods") == []


def test_term_while_the_api_refuses_the_job_ends_the_driver(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(k8s, "_SUBMITTED_S", 0.1)
    double.fail("POST", "jobs", 503, times=10_000)
    driven = Driven(double, tmp_path)
    driven.start()
    driven.says("The API is busy")
    driven.stop()
    assert driven.end() == 143
    assert double.count("DELETE") == 1


def test_a_removal_that_fails_is_tried_again(double: Double, tmp_path: Path) -> None:
    double.fail("DELETE", "jobs", 500)
    double.fail("DELETE", "jobs")
    driven = Driven(double, tmp_path)
    driven.start()
    driven.says("is submitted")
    driven.stop()
    assert driven.end() == 143
    assert double.all("jobs") == []
    assert double.count("DELETE") == 3


def test_the_job_of_an_earlier_attempt_ends_before_this_one_begins(double: Double, tmp_path: Path) -> None:
    lost = double.put("jobs", earlier(FENCE - 1))
    pod = double.schedule(lost)
    double.run(pod)
    driven = Driven(double, tmp_path)
    driven.start()
    double.wait(lambda: double.get("jobs", "work", lost["metadata"]["name"])["metadata"].get("deletionTimestamp"))  # type: ignore[index]
    driven.says("of an earlier attempt")
    assert double.get("jobs", "work", NAME) is None
    double.behave = echo(double)
    double.gone(pod)
    assert driven.end() == 0
    assert driven.output == "hello\n"


def test_what_an_earlier_attempt_left_ended_stays_for_its_ttl(double: Double, tmp_path: Path) -> None:
    double.put("jobs", earlier(FENCE - 1, over=True))
    double.behave = echo(double)
    driven = Driven(double, tmp_path)
    driven.start()
    assert driven.end() == 0
    assert len(double.all("jobs")) == 2


def test_an_attempt_that_is_no_more_the_last_does_nothing(double: Double, tmp_path: Path) -> None:
    double.put("jobs", earlier(FENCE + 1))
    driven = Driven(double, tmp_path)
    driven.start()
    assert driven.end() == 1
    assert driven.verdict["cause"] == "infrastructure"
    assert "A later attempt" in driven.verdict["error"]
    assert [job["metadata"]["labels"][FENCE_LABEL] for job in double.all("jobs")] == [str(FENCE + 1)]
