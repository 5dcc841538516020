"""What ends a task that is a Job, and what it waits for meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.drivers import k8s
from node.drivers.k8s_judge import End, judge, waits
from tests.k8s.double import Double
from tests.node.k8s_kit import NAME, Driven, served

JOB: dict[str, Any] = {"metadata": {"name": "j", "uid": "u"}, "status": {}}


@pytest.fixture
def double() -> Iterator[Double]:
    with served() as double:
        yield double


def pod(phase: str, state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    containers = [
        {"name": "sidecar", "state": {"terminated": {"exitCode": 9}}},
        {"name": "task", "state": state or {}},
    ]
    return {"metadata": {"name": "p"}, "status": {"phase": phase, "containerStatuses": containers, **status}}


def ended(code: int, reason: str = "Error", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, **more}}


def failed(reason: str) -> dict[str, Any]:
    return {**JOB, "status": {"conditions": [{"type": "Failed", "status": "True", "reason": reason}]}}


DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "x"}]


@pytest.mark.parametrize(
    ("job", "seen", "code", "cause"),
    [
        (JOB, pod("Succeeded", ended(0, "Completed")), 0, ""),
        (JOB, pod("Failed", ended(3)), 3, ""),
        (JOB, pod("Failed", ended(137, "OOMKilled")), 137, "oom"),
        (JOB, pod("Failed", ended(128, "StartError", message="exec: no such file")), 128, "not_found"),
        (JOB, pod("Failed", ended(143), reason="Evicted", message="disk"), 1, "infrastructure"),
        (JOB, pod("Failed", None, reason="Evicted"), 1, "infrastructure"),
        (JOB, pod("Failed", ended(143), conditions=DISRUPTED), 1, "infrastructure"),
        (JOB, pod("Succeeded", ended(0), conditions=DISRUPTED), 0, ""),
        (JOB, pod("Unknown", None, reason="NodeLost"), 1, "infrastructure"),
        (JOB, pod("Failed", None, reason="OutOfcpu"), 1, "infrastructure"),
        (JOB, pod("Failed", ended(137), reason="DeadlineExceeded"), 137, "timeout"),
        (failed("DeadlineExceeded"), None, 137, "timeout"),
        (failed("BackoffLimitExceeded"), pod("Running", {"running": {}}), 1, "infrastructure"),
        ({**JOB, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}, None, 0, ""),
        (None, pod("Running", {"running": {}}), 1, "exit"),
    ],
)
def test_every_end_has_its_cause(job: Any, seen: Any, code: int, cause: str) -> None:
    end = judge(job, seen)
    assert end is not None
    assert (end.code, end.cause) == (code, cause)
    assert bool(end.error) == bool(cause)


DELETED = {"deletionTimestamp": "2026-01-01T00:01:30Z", "deletionGracePeriodSeconds": 30}


@pytest.mark.parametrize(
    ("job", "finished", "code", "cause"),
    [
        (JOB, "2026-01-01T00:01:02Z", 1, "infrastructure"),
        (JOB, None, 1, "infrastructure"),
        (JOB, "2026-01-01T00:00:59Z", 143, ""),
        ({**JOB, "metadata": {**JOB["metadata"], "deletionTimestamp": "x"}}, "2026-01-01T00:01:02Z", 1, "exit"),
        (None, "2026-01-01T00:01:02Z", 1, "exit"),
    ],
)
def test_a_pod_that_is_deleted_is_not_the_tasks_fault(job: Any, finished: Any, code: int, cause: str) -> None:
    """But for one that had ended before: the cluster cleans up."""
    seen = pod("Failed", ended(143, finishedAt=finished))
    seen["metadata"] = {"name": "p", **DELETED}
    end = judge(job, seen)
    assert end is not None
    assert (end.code, end.cause) == (code, cause)
    seen["status"]["containerStatuses"][1]["state"] = ended(0)
    assert judge(job, seen) == End(0)


@pytest.mark.parametrize("seen", [None, pod("Pending"), pod("Running", {"running": {}})])
def test_what_runs_or_waits_has_no_end(seen: Any) -> None:
    assert judge(JOB, seen) is None


def test_a_container_that_runs_waits_for_nothing() -> None:
    assert waits(pod("Running", {"running": {}})) is None
    assert waits(None) is not None


def test_the_end_of_a_job_by_its_sidecar_alone_is_none() -> None:
    assert judge(JOB, pod("Running", {"running": {}})) is None
    assert judge(JOB, pod("Failed", ended(4))) == End(4)


def test_an_image_that_does_not_come_fails_after_its_grace_and_its_job_goes(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path, pull_grace_s=0.05)
    driven.start()
    name = double.schedule(double.job())
    double.waiting(name, "ErrImagePull", "manifest unknown")
    double.wait(lambda: double.job()["metadata"].get("deletionTimestamp"))
    assert driven.end() == 1
    assert driven.verdict["cause"] == "not_found"
    assert "manifest unknown" in driven.verdict["error"]
    assert any("ErrImagePull" in message for message in driven.told)


def test_an_image_that_comes_late_runs(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path, pull_grace_s=3600.0)
    driven.start()
    name = double.schedule(double.job())
    double.waiting(name, "ImagePullBackOff", "Back-off")
    driven.says("ImagePullBackOff")
    double.run(name)
    double.exit(name, 0)
    assert driven.end() == 0


def test_a_name_that_no_image_has_fails_at_once(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path, pull_grace_s=3600.0)
    driven.start()
    double.waiting(double.schedule(double.job()), "InvalidImageName", "couldn't parse")
    assert driven.end() == 1
    assert driven.verdict["cause"] == "validation"


def test_a_pod_without_room_says_so_and_waits(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    driven.start()
    message = "0/3 nodes are available: 3 Insufficient cpu."
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]
    name = double.schedule(double.job(), node="", conditions=conditions)
    driven.says(f"Unschedulable: {message}")
    double.edit("pods", "work", name, lambda thing: thing["status"].update(conditions=[]))
    double.run(name)
    double.exit(name, 0)
    assert driven.end() == 0


def test_why_no_pod_comes_is_told(double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k8s, "_EVENTS_AFTER_S", 0.0)
    monkeypatch.setattr(k8s, "_EVENTS_EVERY_S", 0.0)
    driven = Driven(double, tmp_path)
    driven.start()
    job = double.job()
    event = {
        "metadata": {"name": "e", "namespace": "work"},
        "involvedObject": {"name": NAME, "kind": "Job"},
        "type": "Warning",
        "reason": "FailedCreate",
        "message": "exceeded quota: small",
    }
    double.put("events", event)
    driven.says("FailedCreate: exceeded quota: small")
    name = double.schedule(job)
    double.run(name)
    double.exit(name, 0)
    assert driven.end() == 0


def test_a_pod_that_was_evicted_is_not_the_tasks_fault(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    driven.start()
    name = double.schedule(double.job())
    double.run(name)
    double.exit(name, 137, reason="Error", conditions=DISRUPTED)
    assert driven.end() == 1
    assert driven.verdict["cause"] == "infrastructure"
    assert "PreemptionByScheduler" in driven.verdict["error"]


def test_a_job_that_somebody_deletes_has_ended(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    driven.start()
    double.job()
    double.wait(lambda: double.watching == 2)
    double.delete("jobs", "work", NAME)
    assert driven.end() == 1
    assert driven.verdict["cause"] == "exit"
    assert "was deleted from the cluster" in driven.verdict["error"]
