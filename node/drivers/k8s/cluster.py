"""What a daemon asks a cluster for itself: whether it answers, what it has, which Jobs are ours."""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from node.drivers.k8s.api import Api, ApiError, Refused
from node.drivers.k8s.judge import is_over
from node.drivers.k8s.manifest import OWNER
from node.drivers.k8s.submit import JOBS, remove

GPU_SUFFIX = ".com/gpu"
POOL_LABELS = (
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/nodepool",
    "doks.digitalocean.com/node-pool",
)
"""By which providers say which pool a node is of."""
_PAGE = 200
_PAGES = 25
_ANYWHERE = "apis/batch/v1/jobs"
_OWNER_FILE = "k8s-owner"
_MULTIPLIERS = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "E": Decimal(10**18), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cluster:
    """Sums over nodes that are ready and take pods. -1 = not known."""

    version: str = ""
    nodes: int = -1
    ready: int = -1
    cpu_millis: int = -1
    memory_bytes: int = -1
    gpus: int = 0
    used_cpu_millis: int = -1
    used_memory_bytes: int = -1
    pools: Sequence[Pool] = ()


@dataclass(frozen=True, slots=True)
class Pool:
    """Nodes that a provider made alike. Sums as those of a cluster."""

    name: str
    nodes: int
    ready: int
    cpu_millis: int
    memory_bytes: int
    gpus: int


@dataclass(frozen=True, slots=True)
class OurJob:
    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]


def owner_of(data: Path) -> str:
    """What the Jobs of a data folder are labelled with; made at its first use. Raises OSError."""
    path = data / _OWNER_FILE
    with suppress(FileExistsError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(uuid.uuid4().hex)
    return path.read_text().strip()[:63]


async def check(api: Api, namespace: str) -> str:
    """The version of a cluster that may be given Jobs. Raises ApiError."""
    version = await api.get("version")
    await api.get(JOBS.format(namespace), {"limit": "1"})
    return str(version.get("gitVersion") or "")[:100]


async def measure(api: Api) -> Cluster:
    """What it has and uses, as far as the user of the context may know. Raises ApiError when it does not answer."""
    version = str((await api.get("version")).get("gitVersion") or "")[:100]
    try:
        nodes = await _all(api, "api/v1/nodes")
    except Refused as refusal:
        if refusal.status in (401, 403):
            return Cluster(version)
        raise
    ready = [node for node in nodes if _is_ready(node)]
    names = {node["metadata"]["name"] for node in ready}
    try:
        usage = [
            item.get("usage") or {}
            for item in await _all(api, "apis/metrics.k8s.io/v1beta1/nodes")
            if item["metadata"]["name"] in names
        ]
    except ApiError:
        usage = []  # there is no metrics server, or it is not for us
    return Cluster(
        version,
        len(nodes),
        len(ready),
        *_rooms(ready),
        sum(millis(each.get("cpu")) for each in usage) if usage else -1,
        sum(whole(each.get("memory")) for each in usage) if usage else -1,
        _pools(nodes),
    )


def _rooms(nodes: Sequence[Mapping[str, Any]]) -> tuple[int, int, int]:
    """What pods may have of these: thousandths of a core, bytes, GPUs."""
    return (
        sum(millis(_room(node).get("cpu")) for node in nodes),
        sum(whole(_room(node).get("memory")) for node in nodes),
        sum(whole(amount) for node in nodes for name, amount in _room(node).items() if name.endswith(GPU_SUFFIX)),
    )


def _pools(nodes: Sequence[Mapping[str, Any]]) -> list[Pool]:
    """By their labels, largest first; none where a provider names none."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for node in nodes:
        labels = node["metadata"].get("labels") or {}
        if name := next((labels[key] for key in POOL_LABELS if labels.get(key)), ""):
            found.setdefault(str(name), []).append(node)
    pools = []
    for name, members in found.items():
        ready = [node for node in members if _is_ready(node)]
        pools.append(Pool(name, len(members), len(ready), *_rooms(ready)))
    return sorted(pools, key=lambda pool: (-pool.nodes, pool.name))


async def ours(api: Api, selector: str, namespaces: Collection[str]) -> list[OurJob]:
    """Jobs that have not ended; of `namespaces` alone where the whole cluster may not be asked. Raises ApiError."""
    found: list[dict[str, Any]] = []
    try:
        found = await _all(api, _ANYWHERE, {"labelSelector": selector})
    except Refused as refusal:
        if refusal.status not in (401, 403):
            raise
        for namespace in namespaces:
            found += await _all(api, JOBS.format(namespace), {"labelSelector": selector})
    return [
        OurJob(
            job["metadata"].get("namespace") or "default",
            job["metadata"]["name"],
            job["metadata"].get("uid", ""),
            job["metadata"].get("labels") or {},
        )
        for job in found
        if not is_over(job)
    ]


async def end(api: Api, job: OurJob) -> bool:
    """Remove it; whether it was there. Raises ApiError."""
    return await remove(api, JOBS.format(job.namespace), job.name, job.uid)


def owned_by(owner: str) -> str:
    """The selector of an owner's Jobs."""
    return f"{OWNER}={owner}"


async def _all(api: Api, path: str, params: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Every page of a list, up to a limit."""
    items: list[dict[str, Any]] = []
    following = ""
    for _ in range(_PAGES):
        more = {"continue": following} if following else {}
        page = await api.get(path, {**(params or {}), "limit": str(_PAGE), **more})
        items += page.get("items") or []
        following = str((page.get("metadata") or {}).get("continue") or "")
        if not following:
            break
    return items


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)
    return ready and not (node.get("spec") or {}).get("unschedulable")


def _room(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return (node.get("status") or {}).get("allocatable") or {}


def quantity(text: object) -> Decimal:
    """Of Kubernetes, such as 500m or 1Gi; 0 for what is none."""
    written = str(text or "0").strip()
    digits = written.rstrip("numkKMGTPEi")
    try:
        return Decimal(digits) * _MULTIPLIERS[written[len(digits) :]]
    except (InvalidOperation, KeyError):
        return Decimal(0)


def millis(text: object) -> int:
    return int(quantity(text) * 1000)


def whole(text: object) -> int:
    return int(quantity(text))
