"""From what a task asks for to the Job that a cluster is given. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from node.payloads.k8s_job import OWN_LABELS, K8sJob
from node.payloads.k8s_pod import Volume, toleration

CONTAINER = "task"
MANAGED_BY = "app.kubernetes.io/managed-by"
TASK, FENCE, OWNER, RUN, ATTEMPT = (f"{OWN_LABELS}{name}" for name in ("task", "fence", "owner", "run", "attempt"))

# Both the name of a Job and the value of a label end here.
_NAME_CHARS = 63
_DIGEST_CHARS = 10
_UNFIT = re.compile(r"[^a-z0-9-]+")
# The cluster's own end of a Job comes after the one by its driver.
_DEADLINE_MARGIN_S = 60


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver is told, as JSON."""

    task: str
    fence: int
    run: int = 1
    attempt: int = 0
    owner: str = ""  # the data folder whose daemon it is
    name: str = ""  # of the task
    job: K8sJob | None = None
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    cwd: str = ""
    cpu_millis: int = 0  # what the task reserves; for requests that the payload does not name
    memory_bytes: int = 0
    timeout_s: int = 0  # 0 = none
    grace_s: int = 5  # from TERM to KILL, in the pod
    kubeconfig: tuple[str, ...] = ()
    in_cluster: str = ""
    context: str = ""
    namespace: str = ""
    pull_grace_s: float = 60.0  # how long an image may fail to come
    unreachable_s: float = 300.0  # how long the API may be away
    flaw: str = ""  # why it cannot be run at all


def job_name(task: str, fence: int) -> str:
    """The same for the same attempt, and a name that Kubernetes takes."""
    name = f"cortex-{task}-{fence}"
    fit = _UNFIT.sub("-", name.lower())
    if fit == name and len(name) <= _NAME_CHARS:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_CHARS]
    tail = f"-{digest}-{fence}"
    return fit[: _NAME_CHARS - len(tail)].rstrip("-") + tail


def label_value(text: str) -> str:
    """`text` where it may be a label's value, else a digest of it."""
    if len(text) <= _NAME_CHARS and re.fullmatch(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?", text):
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def labels(order: Order) -> dict[str, str]:
    assert order.job is not None
    return {
        **order.job.labels,
        MANAGED_BY: "cortex",
        TASK: label_value(order.task),
        FENCE: str(order.fence),
        RUN: str(order.run),
        ATTEMPT: str(order.attempt),
        **({OWNER: order.owner} if order.owner else {}),
    }


def manifest(order: Order) -> dict[str, Any]:
    """A batch/v1 Job of one pod that is run once: retries are the task's, by an attempt of its own."""
    job = order.job
    assert job is not None
    spec: dict[str, Any] = {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "ttlSecondsAfterFinished": job.ttl_s,
        "template": {"metadata": {"labels": labels(order)}, "spec": _pod(order, job)},
    }
    if order.timeout_s:
        spec["activeDeadlineSeconds"] = order.timeout_s + _DEADLINE_MARGIN_S
    metadata: dict[str, Any] = {"name": job_name(order.task, order.fence), "labels": labels(order)}
    if order.name:
        metadata["annotations"] = {f"{OWN_LABELS}name": order.name}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _pod(order: Order, job: K8sJob) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": order.grace_s,
        "containers": [_container(order, job)],
    }
    if job.node_selector:
        pod["nodeSelector"] = dict(job.node_selector)
    if job.tolerations:
        pod["tolerations"] = [toleration(each) for each in job.tolerations]
    if job.volumes:
        pod["volumes"] = [{"name": _volume(number), **each.source} for number, each in enumerate(job.volumes)]
    if job.service_account:
        pod["serviceAccountName"] = job.service_account
    if job.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in job.pull_secrets]
    return pod


def _container(order: Order, job: K8sJob) -> dict[str, Any]:
    container: dict[str, Any] = {"name": CONTAINER, "image": job.image}
    command: Sequence[str] = order.argv or job.command
    if command:
        container["command"] = [_literal(word) for word in command]
    if job.args:
        container["args"] = [_literal(word) for word in job.args]
    container["env"] = [{"name": name, "value": _literal(value)} for name, value in order.env.items()]
    container["env"] += [
        {"name": name, "valueFrom": {"secretKeyRef": dict(zip(("name", "key"), place.split("/", 1), strict=True))}}
        for name, place in job.secret_env.items()
    ]
    whole = [{"secretRef": {"name": name}} for name in job.env_secrets]
    whole += [{"configMapRef": {"name": name}} for name in job.env_config_maps]
    if whole:
        container["envFrom"] = whole
    if job.volumes:
        container["volumeMounts"] = [_mount(number, each) for number, each in enumerate(job.volumes)]
    if order.cwd:
        container["workingDir"] = order.cwd
    if job.pull_policy:
        container["imagePullPolicy"] = job.pull_policy
    resources = _resources(order, job)
    if resources:
        container["resources"] = resources
    return container


def _volume(number: int) -> str:
    return f"volume-{number}"


def _mount(number: int, volume: Volume) -> dict[str, Any]:
    mount: dict[str, Any] = {"name": _volume(number), "mountPath": volume.path}
    if volume.read_only:
        mount["readOnly"] = True
    if volume.sub_path:
        mount["subPath"] = volume.sub_path
    return mount


def _literal(text: str) -> str:
    """As it stands: Kubernetes would replace $(NAME) in it, where it knows a variable of that name."""
    return text.replace("$(", "$$(")


def _resources(order: Order, job: K8sJob) -> dict[str, dict[str, str]]:
    requests = {name: str(amount) for name, amount in job.requests.items()}
    limits = {name: str(amount) for name, amount in job.limits.items()}
    if order.cpu_millis and "cpu" not in requests:
        requests["cpu"] = f"{order.cpu_millis}m"
    if order.memory_bytes and "memory" not in requests:
        requests["memory"] = str(order.memory_bytes)
    if job.gpu:
        limits.setdefault(job.gpu_resource, str(job.gpu))
    return {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
