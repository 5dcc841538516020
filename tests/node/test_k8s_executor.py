"""The executor of k8s_job tasks: what it finds, what it prepares, what it cleans up after killed drivers."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cortex.v1.types_pb2 import EnvVar, TaskSpec
from cortex.v1.worker_pb2 import Assignment
from node.core.faults import Fault
from node.worker.exchange import Exchange
from node.worker.executors.k8s_job import K8sJobExecutor
from node.worker.executors.port import CannotPrepare, Setup, Untraceable
from node.worker.port import AttemptKey
from tests.k8s.double import Double, echo
from tests.node.k8s_kit import FENCE, NAME, TASK, served
from tests.node.supervisor_kit import supervised

NAMESPACE = "work"


@pytest.fixture
def double() -> Iterator[Double]:
    with served() as double:
        yield double


def executor(double: Double, folder: Path, **options: Any) -> K8sJobExecutor:
    options = {"kubeconfig": str(double.kubeconfig(folder / "kubeconfig"))} | options
    return K8sJobExecutor(Setup(folder, {"PATH": "/bin", "HOME": str(folder)}, options))


def assignment(payload: dict[str, Any] | None = None, **fields: Any) -> Assignment:
    spec = TaskSpec(payload=json.dumps({"image": "busybox"} | (payload or {})).encode(), **fields)
    return Assignment(task=TASK, fence=FENCE, run=1, name="n", spec=spec)


def test_it_offers_the_contexts_that_answer(double: Double, tmp_path: Path) -> None:
    away = Double()
    away.start()
    away.kubeconfig(tmp_path / "away", context="away")
    away.stop()
    files = f"{double.kubeconfig(tmp_path / 'kubeconfig')}:{tmp_path / 'away'}:{tmp_path / 'none'}"
    offer = executor(double, tmp_path, kubeconfig=files).probe()
    assert offer.available
    assert offer.capabilities == ["k8s:home"]
    assert "home (default) v1.34.2+k3s1" in offer.detail


def test_without_a_kubeconfig_it_says_so(double: Double, tmp_path: Path) -> None:
    offer = K8sJobExecutor(Setup(tmp_path, {"HOME": str(tmp_path)})).probe()
    assert not offer.available
    assert "There is no kubeconfig" in offer.reason
    assert "Set kubeconfig" in offer.reason


def test_a_context_that_may_not_list_jobs_is_not_offered(double: Double, tmp_path: Path) -> None:
    double.fail("GET", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", 403, reason="Forbidden")
    offer = executor(double, tmp_path).probe()
    assert not offer.available
    assert "home: the double was told to answer 403" in offer.reason


def test_without_its_library_it_says_what_to_install(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightkube", None)
    monkeypatch.delitem(sys.modules, "node.drivers.k8s.api")
    monkeypatch.delattr("node.drivers.k8s.api", raising=False)
    offer = executor(double, tmp_path).probe()
    assert not offer.available
    assert "pip install 'cortex-cluster[k8s]'" in offer.reason


def test_the_order_has_the_task_and_the_drivers_environment_has_not(double: Double, tmp_path: Path) -> None:
    executor_ = executor(double, tmp_path, namespace="jobs", pull_grace_s=5)
    executor_.probe()
    env = [EnvVar(name="A", value="ä".encode()), EnvVar(name="HTTPS_PROXY", value=b"http://x")]
    command = executor_.prepare(assignment(argv=[b"echo", b"x"], env=env, kill_timeout_ms=9000, timeout_ms=1500))
    assert b"A" not in command.env
    assert b"HTTPS_PROXY" not in command.env
    assert command.env[b"CORTEX_TASK"] == TASK.encode()
    order = json.loads(command.order or b"")
    assert (order["argv"], order["context"], order["namespace"]) == (["echo", "x"], "home", "jobs")
    assert (order["grace_s"], order["timeout_s"], order["pull_grace_s"]) == (7, 2, 5.0)
    assert order["env"]["A"] == "ä"
    assert order["env"]["CORTEX_FENCE"] == str(FENCE)


def test_what_is_no_text_is_the_tasks_flaw(double: Double, tmp_path: Path) -> None:
    executor_ = executor(double, tmp_path)
    executor_.probe()
    assert "no UTF-8" in json.loads(executor_.prepare(assignment(argv=[b"\xff"])).order or b"")["flaw"]


def test_a_context_that_is_not_here_cannot_be_prepared(double: Double, tmp_path: Path) -> None:
    executor_ = executor(double, tmp_path)
    executor_.probe()
    with pytest.raises(CannotPrepare, match="no context 'gke'"):
        executor_.prepare(assignment({"context": "gke"}))


def test_no_other_context_stands_for_the_default(double: Double, tmp_path: Path) -> None:
    executor_ = executor(double, tmp_path, context="away")
    assert executor_.probe().available
    with pytest.raises(CannotPrepare, match="no context 'away' that answers, it has home"):
        executor_.prepare(assignment())
    executor_.prepare(assignment({"context": "home"}))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"kubeconfg": "x"}, "kubeconfg"),
        ({"kubeconfig": 5}, "kubeconfig"),
        ({"contexts": [1]}, "contexts"),
        ({"contexts": [str(number) for number in range(17)]}, "contexts"),
        ({"namespace": []}, "namespace"),
        ({"pull_grace_s": "soon"}, "pull_grace_s"),
        ({"unreachable_s": -1}, "unreachable_s"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, options: dict[str, object], names: str) -> None:
    with pytest.raises(Fault) as caught:
        K8sJobExecutor(Setup(tmp_path, {}, options))
    assert f"Setting {names} of [executor.k8s_job]" in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("cluster_wide", [True, False])
def test_jobs_that_no_attempt_holds_are_ended(double: Double, tmp_path: Path, cluster_wide: bool) -> None:
    executor_ = executor(double, tmp_path)
    executor_.probe()
    owner = json.loads(executor_.prepare(assignment()).order or b"")["owner"]
    for fence, owned_by in ((1, owner), (2, owner), (3, "another")):
        labels = {"cortex/task": TASK, "cortex/fence": str(fence), "cortex/owner": owned_by}
        double.put("jobs", {"metadata": {"name": f"j{fence}", "namespace": "work", "labels": labels}, "spec": {}})
    double.finish("work", "j1", "Complete")
    double.put("jobs", {"metadata": {"name": "j4", "namespace": "work", "labels": {
        "cortex/task": TASK, "cortex/fence": "4", "cortex/owner": owner}}, "spec": {}})  # fmt: skip
    if not cluster_wide:
        double.fail("GET", "/apis/batch/v1/jobs", 403, reason="Forbidden", times=100)
    executor_.adopt([AttemptKey(TASK, 4)])
    assert [job["metadata"]["name"] for job in double.all("jobs")] == ["j1", "j3", "j4"]
    executor_.remove(AttemptKey(TASK, 4), b"")
    assert [job["metadata"]["name"] for job in double.all("jobs")] == ["j1", "j3"]


def test_after_a_restart_only_the_context_of_the_order_is_asked(double: Double, tmp_path: Path) -> None:
    executor_ = executor(double, tmp_path)
    executor_.probe()
    command = executor_.prepare(assignment({"namespace": "batch"}))
    assert command.order is not None
    owner = json.loads(command.order)["owner"]
    labels = {"cortex/task": TASK, "cortex/fence": str(FENCE), "cortex/owner": owner}
    double.put("jobs", {"metadata": {"name": "j", "namespace": "batch", "labels": labels}, "spec": {}})
    double.fail("GET", "/apis/batch/v1/jobs", 403, reason="Forbidden", times=100)
    with served() as other:
        both = f"{double.kubeconfig(tmp_path / 'kubeconfig')}:{other.kubeconfig(tmp_path / 'other', 'other')}"
        # As after a start while its own context was away.
        begun = executor(double, tmp_path, kubeconfig=both, contexts=["other"])
        begun.probe()
        asked = len(other.requests)
        begun.remove(AttemptKey(TASK, FENCE), command.order)
        assert len(other.requests) == asked
    assert double.all("jobs") == []


def test_a_context_that_nothing_names_any_more_is_said_with_what_to_do(double: Double, tmp_path: Path) -> None:
    executor_ = executor(double, tmp_path)
    executor_.probe()
    order = executor_.prepare(assignment()).order or b""
    double.kubeconfig(tmp_path / "kubeconfig", "other")
    with pytest.raises(Untraceable, match=r"No context 'home' in the kubeconfig any more\. Put it back"):
        executor_.remove(AttemptKey(TASK, FENCE), order)


def test_the_owner_stays_the_same_for_a_data_folder(double: Double, tmp_path: Path) -> None:
    owners = []
    for _ in range(2):
        executor_ = executor(double, tmp_path)
        executor_.probe()
        owners.append(json.loads(executor_.prepare(assignment()).order or b"")["owner"])
    assert owners[0] == owners[1] != ""


async def test_the_driver_runs_under_a_supervisor(double: Double, tmp_path: Path) -> None:
    double.behave = echo(double, ("from the cluster",), code=6)
    executor_ = executor(double, tmp_path)
    await asyncio.to_thread(executor_.probe)
    command = executor_.prepare(assignment(argv=[b"echo"]))
    exchange = Exchange(tmp_path / "exchange")
    key = AttemptKey(TASK, FENCE)
    env = {**command.env, **exchange.prepare(key, command.order or b"")}
    async with supervised(tmp_path) as watched:
        result = await watched.run(*command.argv, env=env)
    assert result.exit_code == 6
    assert result.stdout.head == b"from the cluster\n"
    verdict = exchange.verdict(key)
    assert verdict is not None
    assert json.loads(verdict.document)["job"] == NAME
    assert json.loads(verdict.document)["context"] == "home"
