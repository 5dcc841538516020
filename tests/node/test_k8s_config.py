"""Kubeconfig files as kubectl reads them, and where they are looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from node.config import executor_environment
from node.drivers.k8s import config as k8s_config
from node.drivers.k8s.api import Api
from node.drivers.k8s.config import BadConfig, load
from node.drivers.k8s.manifest import job_name, label_value


def written(path: Path, name: str, server: str = "https://c", current: str = "", **user: Any) -> str:
    cluster = {"server": server, "certificate-authority": "ca.crt"}
    document = {
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": current,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return str(path)


def test_files_are_merged_and_the_first_decides(tmp_path: Path) -> None:
    first = written(tmp_path / "one" / "config", "home", "https://first")
    second = written(tmp_path / "two" / "config", "home", "https://second", "work")
    third = written(tmp_path / "three" / "config", "work", current="home")
    found = load([first, str(tmp_path / "absent"), second, third])
    assert {name: context.server for name, context in found.contexts().items()} == {
        "home": "https://first",
        "work": "https://c",
    }
    assert found.current == "work"
    assert found.contexts()["home"].namespace == "default"


def test_paths_are_those_of_the_file_that_names_them(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "./login"}
    path = written(tmp_path / "here" / "config", "home", tokenFile="token", exec=plugin)
    document = load([path]).document
    assert document["clusters"][0]["cluster"]["certificate-authority"] == str(tmp_path / "here" / "ca.crt")
    assert document["users"][0]["user"]["tokenFile"] == str(tmp_path / "here" / "token")
    assert document["users"][0]["user"]["exec"]["command"] == f"{tmp_path}/here/./login"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "is no map"),
        ("clusters: 5", "clusters is no list"),
        ("contexts: [{name: 5, context: {}}]", "contexts is no list"),
        ("users: [{name: a}]", "users is no list"),
        ("a: [", "is no YAML"),
        ("\x00", "is no YAML"),
        ("#" * (1 << 21), "is larger than"),
    ],
)
def test_what_is_no_kubeconfig_is_said(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(BadConfig, match=says):
        load([str(path)])


def test_a_user_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config"
    context = {"name": "home", "context": {"cluster": "c", "user": "u"}}
    clusters = [{"name": "c", "cluster": {"server": "http://x"}}]
    path.write_text(yaml.safe_dump({"clusters": clusters, "contexts": [context]}))
    with pytest.raises(BadConfig, match="home"):
        Api(load([str(path)]), "home")


def test_the_cluster_that_the_daemon_runs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k8s_config, "SERVICE_ACCOUNT", str(tmp_path))
    with pytest.raises(BadConfig, match="There is no kubeconfig"):
        load([], "10.0.0.1:443")
    for name, text in (("token", "t"), ("namespace", "jobs\n"), ("ca.crt", "")):
        (tmp_path / name).write_text(text)
    found = load([], "10.0.0.1:443")
    context = found.contexts()[found.current]
    assert (context.name, context.server, context.namespace) == ("in-cluster", "https://10.0.0.1:443", "jobs")


def test_where_a_kubeconfig_is_looked_for() -> None:
    assert executor_environment({}) == {}
    assert executor_environment({"KUBECONFIG": "/a:/b"}) == {"k8s_job": {"kubeconfig": "/a:/b"}}
    inside = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert executor_environment(inside) == {"k8s_job": {"in_cluster": "[fd00::1]:6443"}}


def test_names_are_the_same_for_the_same_attempt_and_fit_kubernetes() -> None:
    assert job_name("1m80pxmr4dd3m6hm", 3) == "cortex-1m80pxmr4dd3m6hm-3"
    odd = [job_name(task, 12) for task in ("Task", "task.", "t" * 64, "T" * 64)]
    assert len({*odd, job_name("task", 12)}) == 5
    for name in odd:
        assert len(name) <= 63
        assert name.endswith("-12")
        assert name.replace("-", "").isalnum()
        assert name == name.lower()
    assert label_value("task-1") == "task-1"
    assert len(label_value("t" * 64)) == 40
