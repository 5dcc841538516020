"""What ends a task that is a Job, and what it waits for meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.drivers.k8s import main as k8s
from node.drivers.k8s.judge import End, judge, told, waits
from node.payloads.k8s_job import K8sJob
from node.worker.exchange import CAUSES
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


OWN_LIMIT = "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi."
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
        (JOB, pod("Failed", None, reason="Evicted", message=OWN_LIMIT), 1, "exit"),
        (JOB, pod("Failed", ended(128, "StartError", message='exec: "/x": permission denied')), 128, "validation"),
        (JOB, pod("Failed", ended(1, "ContainerCannotRun", message="exec format error")), 1, "validation"),
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
    assert not cause or end.error.count(". ") >= 1, "a cause and a remedy"


def test_a_node_that_is_lost_is_named_and_not_the_tasks_fault() -> None:
    """Its kubelet says nothing any more, so the pod runs as far as anybody knows."""
    said = {
        **DISRUPTED[0],
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute",
    }
    end = judge(failed("BackoffLimitExceeded"), pod("Running", {"running": {}}, conditions=[said]))
    assert end is not None
    assert end.cause == "infrastructure"
    assert "DeletionByTaintManager: Taint manager: deleting due to NoExecute). It is put off" in end.error


def event(reason: str, message: str, at: int, kind: str = "Warning") -> dict[str, Any]:
    return {"type": kind, "reason": reason, "message": message, "lastTimestamp": f"2026-01-01T00:00:0{at}Z"}


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        ([event("FailedMount", 'MountVolume.SetUp failed: configmap "app" not found', 1)], "not_found"),
        ([event("FailedMount", "references non-existent secret key: a", 1)], "not_found"),
        ([event("FailedMount", "timed out waiting for the condition", 1)], ""),
        ([event("FailedAttachVolume", "Multi-Attach error", 1)], ""),
        (
            [event("FailedCreate", 'error looking up service account work/x: serviceaccount "x" not found', 1)],
            "not_found",
        ),
        ([event("FailedCreate", "pods is forbidden: exceeded quota: small", 1)], ""),
        ([event("FailedCreate", 'admission webhook "policy" denied the request', 1)], "validation"),
        ([event("FailedCreate", 'violates PodSecurity "restricted": is forbidden', 1)], "validation"),
    ],
)
def test_what_events_say_of_a_pod_that_does_not_start(events: list[dict[str, Any]], cause: str) -> None:
    wait = told(events)
    assert wait is not None
    assert wait.cause == cause
    assert told([*events, event("Pulling", "Pulling image", 2, "Normal")]) is None
    assert told([]) is None


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        ("ErrImagePull", "manifest unknown", "not_found"),
        ("ErrImagePull", "dial tcp 10.0.0.1:443: i/o timeout", "infrastructure"),
        ("ErrImagePull", "429 Too Many Requests", "rate_limited"),
        ("ImagePullBackOff", 'runtime "gvisor" not found', "not_found"),
        ("RegistryUnavailable", "x", "infrastructure"),
        ("CreateContainerError", "no command specified", "validation"),
        ("CreateContainerConfigError", 'secret "db" not found', "not_found"),
        ("InvalidImageName", "couldn't parse", "validation"),
        ("ContainerCreating", "", ""),
    ],
)
def test_what_a_container_waits_for_has_a_cause_unless_it_may_last(reason: str, message: str, cause: str) -> None:
    wait = waits(pod("Pending", {"waiting": {"reason": reason, "message": message}}))
    assert wait is not None
    assert wait.cause == cause


@pytest.mark.parametrize("cause", ["", *CAUSES])
def test_whatever_a_refusal_means_its_end_can_be_told(cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.drivers.k8s.judge.meaning", lambda said, what: (cause, said))
    wait = waits(pod("Pending", {"waiting": {"reason": "ErrImagePull", "message": "words"}}))
    assert wait is not None
    assert wait.cause
    assert wait.error.startswith("The pod cannot start: ErrImagePull: words. ")


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


def test_a_pull_that_fails_for_a_while_puts_the_task_off(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path, pull_grace_s=0.05)
    driven.start()
    name = double.schedule(double.job())
    with double.changed:  # not to be seen between the two
        double.waiting(name, "ErrImagePull", "dial tcp 10.0.0.1:443: i/o timeout")
    driven.says("i/o timeout")
    double.waiting(name, "ImagePullBackOff", 'Back-off pulling image "busybox:1"')
    assert driven.end() == 1
    assert driven.verdict["cause"] == "infrastructure"
    assert "i/o timeout" in driven.verdict["error"]


def test_a_pod_that_no_node_takes_in_time_ends_the_task(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path, job=K8sJob(image="busybox:1", schedule_timeout_s=0.05))
    driven.start()
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes."}]
    double.schedule(double.job(), node="", conditions=conditions)
    assert driven.end() == 1
    assert double.all("jobs") == []
    assert driven.verdict["cause"] == "timeout"
    assert driven.verdict["error"].startswith(
        "No node of the cluster took the pod within 0.05 s: Unschedulable: 0/3"
    )


def test_a_volume_that_is_not_there_is_said_by_events(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(k8s, "_EVENTS_AFTER_S", 0.0)
    monkeypatch.setattr(k8s, "_EVENTS_EVERY_S", 0.0)
    driven = Driven(double, tmp_path, pull_grace_s=0.05)
    driven.start()
    name = double.schedule(double.job())
    place = {"metadata": {"name": "e", "namespace": "work"}, "involvedObject": {"name": name, "kind": "Pod"}}
    double.put("events", {**place, **event("FailedMount", 'configmap "app" not found', 1)})
    double.waiting(name, "ContainerCreating")
    assert driven.end() == 1
    assert driven.verdict["cause"] == "not_found"
    assert 'configmap "app" not found' in driven.verdict["error"]


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
