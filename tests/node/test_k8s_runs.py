"""A Job from its submission to its end, against an API over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.payloads.k8s_job import K8sJob
from node.payloads.k8s_pod import EmptyDir, Toleration, Volume
from tests.k8s.double import Double, echo
from tests.node.k8s_kit import NAME, TASK, Driven, served

# A Job with everything that can be asked for.
ASKED = K8sJob(
    image="r.example/app:2",
    args=("--x", "$(HOME)"),
    requests={"cpu": 2, "memory": "1Gi"},
    limits={"memory": "2Gi"},
    gpu=1,
    node_selector={"kubernetes.io/arch": "arm64"},
    service_account="builder",
    labels={"team": "a"},
    env_secrets=("credentials",),
    env_config_maps=("settings",),
    secret_env={"PASSWORD": "db/password.txt"},
    tolerations=(
        Toleration(key="gpu", operator="Exists", effect="NoSchedule"),
        Toleration(key="spot", value="yes", effect="NoExecute", toleration_seconds=60),
    ),
    volumes=(
        Volume(path="/etc/app", config_map="app", items={"a.toml": "conf/a.toml"}, optional=True),
        Volume(path="/keys", secret="tls", mode="0400"),
        Volume(path="/data", claim="models", sub_path="v7", read_only=True),
        Volume(path="/scratch", empty_dir=EmptyDir(medium="Memory", size_limit="1Gi")),
    ),
    pull_secrets=("registry",),
    pull_policy="Always",
    ttl_s=120,
)


@pytest.fixture
def double() -> Iterator[Double]:
    with served() as double:
        yield double


def test_a_job_runs_its_log_is_the_output_its_exit_code_the_tasks(double: Double, tmp_path: Path) -> None:
    double.behave = echo(double, ("one", "two", "käse"), code=3)
    driven = Driven(double, tmp_path)
    driven.start()
    assert driven.end() == 3
    assert driven.output == "one\ntwo\nkäse\n"
    document = driven.verdict["document"]
    assert driven.verdict["cause"] == ""
    assert document["job"] == NAME
    assert (document["namespace"], document["node"], document["exit_code"]) == ("work", "node-a", 3)


def test_the_job_is_what_the_task_asks_for(double: Double, tmp_path: Path) -> None:
    double.behave = echo(double)
    driven = Driven(
        double, tmp_path, job=ASKED, argv=("run",), env={"A": "$(B)"}, cwd="/srv", timeout_s=60, grace_s=3, name="n"
    )
    driven.start()
    assert driven.end() == 0
    made = double.job()
    spec, pod = made["spec"], made["spec"]["template"]["spec"]
    assert made["metadata"]["name"] == NAME
    assert made["metadata"]["labels"]["cortex/task"] == TASK
    assert made["metadata"]["labels"]["team"] == "a"
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"], spec["activeDeadlineSeconds"]) == (0, 120, 120)
    assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"]) == ("Never", 3)
    assert pod["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
    assert (pod["serviceAccountName"], pod["imagePullSecrets"]) == ("builder", [{"name": "registry"}])
    container = pod["containers"][0]
    assert (container["command"], container["args"]) == (["run"], ["--x", "$$(HOME)"])
    assert container["env"] == [
        {"name": "A", "value": "$$(B)"},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password.txt"}}},
    ]
    assert container["envFrom"] == [{"secretRef": {"name": "credentials"}}, {"configMapRef": {"name": "settings"}}]
    assert container["workingDir"] == "/srv"
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "1Gi"},
        "limits": {"memory": "2Gi", "nvidia.com/gpu": "1"},
    }


def test_a_pod_has_the_volumes_and_tolerations_that_are_asked_for(double: Double, tmp_path: Path) -> None:
    double.behave = echo(double)
    driven = Driven(double, tmp_path, job=ASKED)
    driven.start()
    assert driven.end() == 0
    pod = double.job()["spec"]["template"]["spec"]
    assert pod["tolerations"] == [
        {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60},
    ]
    sources = [
        {"configMap": {"name": "app", "items": [{"key": "a.toml", "path": "conf/a.toml"}], "optional": True}},
        {"secret": {"secretName": "tls", "defaultMode": 0o400}},
        {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
        {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    ]
    assert pod["volumes"] == [{"name": f"volume-{number}", **source} for number, source in enumerate(sources)]
    assert pod["containers"][0]["volumeMounts"] == [
        {"name": "volume-0", "mountPath": "/etc/app"},
        {"name": "volume-1", "mountPath": "/keys"},
        {"name": "volume-2", "mountPath": "/data", "readOnly": True, "subPath": "v7"},
        {"name": "volume-3", "mountPath": "/scratch"},
    ]


def test_output_is_there_while_it_runs(double: Double, tmp_path: Path) -> None:
    driven = Driven(double, tmp_path)
    driven.start()
    pod = double.schedule(double.job())
    double.run(pod)
    double.say(pod, "begins")
    driven.writes("begins\n")
    driven.says("runs on node-a")
    double.say(pod, "goes on")
    driven.writes("goes on\n")
    double.exit(pod, 0)
    assert driven.end() == 0
    assert driven.output == "begins\ngoes on\n"
