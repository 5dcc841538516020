"""Clusters as nodes of kind k8s: measured through a node, shown beside it, while it is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import (
    TASK_STATE_RUNNING,
    TASK_TYPE_K8S_JOB,
    Constraints,
    Label,
    Node,
    Resources,
    Task,
    TaskSpec,
)
from cortex.v1.worker_pb2 import Attached, Sample
from node.core.state import ClusterState
from node.leader.attached import LIMIT, checked, views
from node.leader.roster import Known
from node.worker.executors.k8s_job import K8sJobExecutor
from node.worker.executors.port import Setup
from tests.k8s.double import Double
from tests.node.k8s_kit import served
from tests.node.leader_kit import Cluster, machine_node, virtual


@pytest.fixture
def double() -> Iterator[Double]:
    with served() as double:
        yield double


def measured(double: Double, folder: Path) -> Attached:
    """What is told of the one context, by an executor that has just begun."""
    options: dict[str, object] = {"kubeconfig": str(double.kubeconfig(folder / "kubeconfig"))}
    executor = K8sJobExecutor(Setup(folder, {}, options))
    executor.probe()
    (row,) = executor.measure()
    return row


def test_a_cluster_is_the_sum_of_its_ready_nodes(double: Double, tmp_path: Path) -> None:
    double.add_node("a", cpu="3500m", memory="8Gi", **{"nvidia.com/gpu": "2"})
    double.add_node("b", cpu="4", memory="8388608Ki")
    double.add_node("c", ready=False)
    for name in ("a", "b", "c"):
        double.put("usage", {"metadata": {"name": name}, "usage": {"cpu": "1500000000n", "memory": "2Gi"}})
    row = measured(double, tmp_path)
    assert (row.node.id, row.node.kind, row.node.online, row.node.address) == ("home", "k8s", True, double.url)
    capacity = row.node.capacity
    assert (capacity.cpu_millis, capacity.memory_bytes, capacity.gpus) == (7500, 16 * 2**30, 2)
    assert Label(key="nodes", value="2 of 3 ready") in row.node.labels
    assert row.resources.cpu_percent == 40.0
    assert not [label for label in row.node.labels if label.key.startswith("pool")]
    assert row.resources.memory_available_bytes == 12 * 2**30


def test_pools_of_a_provider_are_told_apart(double: Double, tmp_path: Path) -> None:
    for name, pool, ready in (("a", "big", True), ("b", "big", False), ("c", "gpus", True), ("d", "", True)):
        double.add_node(
            name, cpu="7500m", memory="16Gi", ready=ready, **{"nvidia.com/gpu": "2" if pool == "gpus" else "0"}
        )
        labels = {"cloud.google.com/gke-nodepool": pool} if pool else {}
        double.edit("nodes", "", name, lambda node, labels=labels: node["metadata"].update(labels=labels))  # type: ignore[misc]
    row = measured(double, tmp_path)
    assert [(label.key, label.value) for label in row.node.labels if label.key.startswith("pool")] == [
        ("pool big", "1 of 2 ready, 7.5 cores, 17.2 GB"),
        ("pool gpus", "1 of 1 ready, 7.5 cores, 17.2 GB, 2 GPUs"),
    ]
    assert checked("n1", [told("n1/home", labels=list(row.node.labels))]), "they can be shown"


def test_without_a_metrics_server_nothing_is_said_of_use(double: Double, tmp_path: Path) -> None:
    double.add_node("a")
    double.fail("GET", "metrics.k8s.io", 404, reason="NotFound")
    row = measured(double, tmp_path)
    assert not row.HasField("resources")
    assert row.node.capacity.cpu_millis == 4000


def test_nodes_that_may_not_be_listed_are_said(double: Double, tmp_path: Path) -> None:
    double.fail("GET", "/api/v1/nodes", 403, reason="Forbidden")
    row = measured(double, tmp_path)
    assert row.node.online
    assert "may not be listed" in row.node.message


def test_a_cluster_that_answers_no_more_is_offline_and_keeps_its_size(double: Double, tmp_path: Path) -> None:
    double.add_node("a")
    options: dict[str, object] = {"kubeconfig": str(double.kubeconfig(tmp_path / "kubeconfig"))}
    executor = K8sJobExecutor(Setup(tmp_path, {}, options))
    executor.probe()
    executor.measure()
    double.fail("GET", "/version")
    (row,) = executor.measure()
    assert not row.node.online
    assert row.node.message.startswith("does not answer: The API cannot be reached")
    assert row.node.capacity.cpu_millis == 4000


def told(name: str, **fields: object) -> Attached:
    return Attached(node=Node(id=name, kind="k8s", online=True, **fields))  # type: ignore[arg-type]


def test_only_what_is_right_is_shown() -> None:
    right = told("w1/home")
    wrong = [
        told("w2/home"),
        told("home"),
        told("w1/a\x1b[2J"),
        told("w1/b", message="x" * 600),
        Attached(node=Node(id="w1/c")),
        told("w1/d", labels=[Label(key="k", value="v" * 499)] * 100),
    ]
    assert checked("w1", [right, *wrong]) == [right]
    assert len(checked("w1", [told(f"w1/{number}") for number in range(100)])) == LIMIT


def test_a_cluster_is_listed_beside_its_node_while_that_is_heard() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        home = told("n1/home", labels=[Label(key="default")])
        home.resources.CopyFrom(Resources(cpu_percent=25, sampled_at_us=70_000_000))
        resources = Resources(memory_total_bytes=1, sampled_at_us=90_000_000)
        await worker.send(sample=Sample(resources=resources, attached=[home, told("n1/away")]))
        await asyncio.sleep(1)  # of virtual time
        shown = {view.node.id: view for view in cluster.leadership.node_views()}
        assert list(shown) == ["n1", "n1/away", "n1/home"]
        assert shown["n1/home"].age_us >= 20_000_000
        assert not shown["n1/home"].scored
        assert shown["n1/away"].age_us == -1
        await worker.break_off()
        assert [view.node.id for view in cluster.leadership.node_views()] == ["n1"]
        await cluster.stop()

    virtual(main)


def test_tasks_count_where_they_run() -> None:
    state = ClusterState()
    for number, names in enumerate([["k8s:home"], ["k8s:away"], []]):
        spec = TaskSpec(type=TASK_TYPE_K8S_JOB, constraints=Constraints(capabilities=names))
        state.tasks[str(number)] = Task(id=str(number), state=TASK_STATE_RUNNING, spec=spec)
    state.by_node["w1"] = set(state.tasks)
    known = Known(0, session=object())  # type: ignore[arg-type]
    known.attached = [told("w1/away"), told("w1/home", labels=[Label(key="default")])]
    counts = {view.node.id: view.running for view in views(state, "w1", known, 0)}
    assert counts == {"w1/away": 1, "w1/home": 2}
