"""k8s_job tasks by the command line, on a real daemon whose kubeconfig leads to the double."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Cluster
from tests.k8s.double import Double, soon
from tests.k8s.kubelet import Kubelet

pytestmark = pytest.mark.e2e

ENDLESS = "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    double = Double()
    double.start()
    Kubelet(double)
    yield double
    double.stop()


@pytest.fixture(scope="module")
def cluster(double: Double, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("k8s")
    kubeconfig = double.kubeconfig(folder / "kubeconfig")
    cluster = Cluster(folder / "cluster", voters=1, environment={"KUBECONFIG": str(kubeconfig)})
    cluster.start()
    asyncio.run(serves(cluster))
    yield cluster
    cluster.close()


async def serves(cluster: Cluster) -> None:
    async with cluster.client() as client:
        await cluster.whole(client)


def submit(cluster: Cluster, *words: str) -> str:
    given = ("--type", "k8s_job", "--set", "image=busybox", "--set", "context=home", "--retries", "0")
    done = cluster.cortex("submit", "--json", *given, "--", *words)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["id"])


def job_of(double: Double, task: str) -> dict[str, Any] | None:
    jobs = (job for job in double.all("jobs") if job["metadata"]["labels"]["cortex/task"] == task)
    return next(jobs, None)


def says(double: Double, text: str) -> None:
    double.wait(lambda: any(text in line for log in double.logs.values() for _, line in log.lines))


def test_a_job_ends_as_its_container_does_and_shows_what_became_of_it(cluster: Cluster, double: Double) -> None:
    task = submit(cluster, "sh", "-c", "echo one; echo two; exit 3")
    waited = cluster.cortex("wait", task)
    assert (waited.returncode, waited.stdout) == (3, b"one\ntwo\n")
    shown = json.loads(cluster.cortex("task", task, "--json").stdout)
    assert (shown["type"], shown["state"], shown["exit_code"]) == ("k8s_job", "dead_letter", 3)
    node = json.loads(cluster.cortex("node", "n1", "--json").stdout)
    assert "k8s:home" in json.dumps(node)


def test_a_cancelled_job_leaves_the_cluster(cluster: Cluster, double: Double) -> None:
    task = submit(cluster, "sh", "-c", ENDLESS)
    soon(lambda: cluster.cortex("logs", task).stdout == b"up\n")
    assert cluster.cortex("cancel", "--wait", task).returncode == 0
    assert job_of(double, task) is None
    assert cluster.cortex("logs", task).stdout == b"up\nbye\n"


def test_a_job_goes_on_under_a_daemon_that_is_killed(cluster: Cluster, double: Double, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    task = submit(cluster, "sh", "-c", f"echo before; while [ ! -e {go_on} ]; do sleep 0.05; done; echo after")
    says(double, "before")
    cluster.kill("n1")
    cluster.start()
    asyncio.run(serves(cluster))
    go_on.touch()
    waited = cluster.cortex("wait", task)
    assert (waited.returncode, waited.stdout) == (0, b"before\nafter\n")
    assert len([job for job in double.all("jobs") if job["metadata"]["labels"]["cortex/task"] == task]) == 1


def test_a_killed_driver_does_not_leave_its_job(cluster: Cluster, double: Double) -> None:
    task = submit(cluster, "sh", "-c", ENDLESS)
    double.wait(lambda: job_of(double, task))
    os.kill(driver_of(task), signal.SIGKILL)
    ended = cluster.cortex("wait", task)
    assert ended.returncode == 128 + signal.SIGKILL
    found = job_of(double, task)
    assert found is None or "deletionTimestamp" in found["metadata"]


def driver_of(task: str) -> int:
    """Its pid."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                words = (place / "cmdline").read_bytes()
                environ = (place / "environ").read_bytes()
            except OSError:
                continue
            if b"node.drivers.k8s" in words and f"CORTEX_TASK={task}".encode() in environ:
                return int(place.name)
    raise AssertionError("it does not run")
