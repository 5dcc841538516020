"""What a k8s_job task may ask for, before the log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cortex.v1.cluster_pb2 import TaskRequest
from cortex.v1.log_pb2 import TaskSubmit
from cortex.v1.types_pb2 import TASK_TYPE_K8S_JOB, TaskSpec
from node.core import validate
from node.core.faults import Code, Fault


def submitted(payload: Any, **fields: Any) -> TaskSubmit:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    request = TaskRequest(spec=TaskSpec(type=TASK_TYPE_K8S_JOB, payload=data, **fields))
    return validate.complete(request, "t1")


def test_a_job_goes_only_where_its_context_is() -> None:
    spec = submitted({"image": "r.example/team/app:2@sha256:0", "context": "gke"}).spec
    assert list(spec.constraints.capabilities) == ["k8s:gke"]
    again = submitted({"image": "app", "context": "gke"}, constraints=spec.constraints).spec
    assert list(again.constraints.capabilities) == ["k8s:gke"]
    assert not submitted({"image": "app"}).spec.constraints.capabilities


def test_it_is_called_by_its_image_or_its_command() -> None:
    assert submitted({"image": "r.example/team/app:2@sha256:0"}).name == "app:2"
    assert submitted({"image": "app"}, argv=[b"/bin/sleep", b"1"]).name == "sleep"


def test_amounts_may_be_numbers_or_text() -> None:
    amounts = {"requests": {"cpu": 2, "memory": "1.5Gi"}, "limits": {"cpu": 0.5, "x.io/y": "3"}}
    assert json.loads(submitted({"image": "a", **amounts}).spec.payload) == {"image": "a", **amounts}


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "image is missing"),
        (b"[]", "object"),
        (b"{", "JSON"),
        ({"image": ""}, "image"),
        ({"image": "a b"}, "image"),
        ({"image": "a\n"}, "image"),
        ({"image": "a" * 513}, "image"),
        ({"image": "a", "contxt": "x"}, "contxt"),
        ({"image": "a", "tolerations": [{}]}, "tolerations[0].key is missing"),
        ({"image": "a", "tolerations": [{"key": "a b"}]}, "tolerations[0].key"),
        ({"image": "a", "tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]}, "tolerations[0].value"),
        ({"image": "a", "tolerations": [{"key": "a", "effect": "No"}]}, "effect"),
        ({"image": "a", "tolerations": [{"key": "a", "toleration_seconds": 5}]}, "with the effect NoExecute"),
        ({"image": "a", "tolerations": [{"operator": "Exists"}] * 65}, "tolerations: it has 65 items"),
        ({"image": "a", "volumes": [{"path": "x", "secret": "s"}]}, "volumes[0].path"),
        ({"image": "a", "volumes": [{"path": "/x:y", "secret": "s"}]}, "volumes[0].path"),
        ({"image": "a", "volumes": [{"path": "/x"}]}, "volumes[0] takes one of"),
        ({"image": "a", "volumes": [{"path": "/x", "secret": "s", "claim": "c"}]}, "volumes[0] takes one of"),
        ({"image": "a", "volumes": [{"path": "/x", "secret": "S"}]}, "volumes[0].secret"),
        ({"image": "a", "volumes": [{"path": "/x", "secret": "s", "mode": "u+r"}]}, "volumes[0].mode"),
        ({"image": "a", "volumes": [{"path": "/x", "claim": "c", "mode": "0400"}]}, "are for a config_map or"),
        ({"image": "a", "volumes": [{"path": "/x", "claim": "c", "sub_path": "../y"}]}, "volumes[0].sub_path"),
        ({"image": "a", "volumes": [{"path": "/x", "secret": "s", "items": {"k": "/y"}}]}, "volumes[0].items"),
        ({"image": "a", "volumes": [{"path": "/x", "empty_dir": {"size_limit": "big"}}]}, "size_limit"),
        ({"image": "a", "volumes": [{"path": "/x", "empty_dir": {}}] * 2}, "'/x' is the path of two"),
        ({"image": "a", "secret_env": {"A B": "s/k"}}, "secret_env"),
        ({"image": "a", "secret_env": {"CORTEX_TASK": "s/k"}}, "secret_env"),
        ({"image": "a", "secret_env": {"A": "s"}}, "is not written as SECRET/KEY"),
        ({"image": "a", "secret_env": {"A": "S/k"}}, "secret_env.A"),
        ({"image": "a", "env_config_maps": ["A B"]}, "env_config_maps"),
        ({"image": "a", "schedule_timeout_s": -1}, "schedule_timeout_s"),
        ({"image": "a", "context": "x" * 191}, "context"),
        ({"image": "a", "namespace": "Work"}, "namespace"),
        ({"image": "a", "namespace": "../x"}, "namespace"),
        ({"image": "a", "command": "ls"}, "command"),
        ({"image": "a", "args": ["x\0"]}, "args"),
        ({"image": "a", "args": ["x" * 140_000]}, "args"),
        ({"image": "a", "requests": {"cpu": "lots"}}, "requests.cpu"),
        ({"image": "a", "requests": {"cpu": -1}}, "requests.cpu"),
        ({"image": "a", "requests": {"a b": 1}}, "requests"),
        ({"image": "a", "limits": {str(number): 1 for number in range(65)}}, "limits"),
        ({"image": "a", "gpu": 65}, "gpu"),
        ({"image": "a", "gpu": True}, "gpu"),
        ({"image": "a", "gpu_resource": "gpu!"}, "gpu_resource"),
        ({"image": "a", "node_selector": {"-": "x"}}, "node_selector"),
        ({"image": "a", "labels": {"a": "x" * 64}}, "labels"),
        ({"image": "a", "labels": {"cortex/task": "x"}}, "belongs to Cortex"),
        ({"image": "a", "service_account": "A"}, "service_account"),
        ({"image": "a", "env_secrets": ["../x"]}, "env_secrets"),
        ({"image": "a", "pull_policy": "always"}, "pull_policy"),
        ({"image": "a", "ttl_s": 59}, "ttl_s"),
        ({"image": "a", "ttl_s": 10**9}, "ttl_s"),
    ],
)
def test_what_cannot_be_is_refused_by_name(payload: Any, says: str) -> None:
    with pytest.raises(Fault) as caught:
        submitted(payload)
    assert caught.value.code == Code.INVALID
    assert says in caught.value.message
    assert caught.value.remedy


def test_a_command_is_given_once() -> None:
    with pytest.raises(Fault, match="given twice"):
        submitted({"image": "a", "command": ["ls"]}, argv=[b"ls"])
