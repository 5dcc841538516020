"""A cluster as a node of kind k8s: shown beside the machine that reaches it, never given tasks by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cortex.v1.types_pb2 import Label, Node, NodeRole, NodeState, Requests, Resources
from cortex.v1.worker_pb2 import Attached
from node.drivers.k8s.config import Context

if TYPE_CHECKING:
    from node.drivers.k8s.cluster import Cluster, Pool

KIND = "k8s"
_POOLS = 8
_NAME_CHARS = 60


def row(context: Context, cluster: Cluster | None, failure: str, *, default: bool) -> Attached:
    """`cluster` as it was last measured; `failure` says why it does not answer now."""
    node = Node(
        id=context.name,
        kind=KIND,
        hostname=urlsplit(context.server).hostname or "",
        address=context.server,
        state=NodeState.NODE_STATE_ACTIVE,
        role=NodeRole.NODE_ROLE_WORKER,
        online=not failure,
        message=f"does not answer: {failure}"[:200] if failure else "",
    )
    if default:
        node.labels.append(Label(key="default"))
    attached = Attached(node=node)
    if cluster is not None:
        _describe(attached, cluster, failed=bool(failure))
    return attached


def _room(pool: Pool) -> str:
    gpus = f", {pool.gpus} GPUs" if pool.gpus else ""
    memory = f"{pool.memory_bytes / 1e9:.1f} GB"
    return f"{pool.ready} of {pool.nodes} ready, {pool.cpu_millis / 1000:g} cores, {memory}{gpus}"


def _describe(attached: Attached, cluster: Cluster, *, failed: bool) -> None:
    node = attached.node
    node.version = cluster.version
    if cluster.nodes < 0:
        node.message = node.message or "its nodes may not be listed by the user of the context"
        return
    node.labels.append(Label(key="nodes", value=f"{cluster.ready} of {cluster.nodes} ready"))
    for pool in cluster.pools[:_POOLS]:
        node.labels.append(Label(key=f"pool {pool.name[:_NAME_CHARS]}", value=_room(pool)))
    node.capacity.CopyFrom(
        Requests(cpu_millis=cluster.cpu_millis, memory_bytes=cluster.memory_bytes, gpus=cluster.gpus)
    )
    # Without a metrics server what is used is not known, and is not said to be nothing.
    if failed or cluster.used_cpu_millis < 0:
        return
    attached.resources.CopyFrom(
        Resources(
            cpu_percent=min(100.0, 100.0 * cluster.used_cpu_millis / max(1, cluster.cpu_millis)),
            cores=cluster.cpu_millis // 1000,
            memory_total_bytes=cluster.memory_bytes,
            memory_available_bytes=max(0, cluster.memory_bytes - cluster.used_memory_bytes),
        )
    )
