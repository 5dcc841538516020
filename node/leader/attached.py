"""What is reached through a node: no node of the state, shown beside the one that tells of it while it is heard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cortex.v1.cluster_pb2 import NodeView
from cortex.v1.types_pb2 import Node, Task, TaskState, TaskType
from cortex.v1.worker_pb2 import Attached
from node.core import checks
from node.core.state import ClusterState
from node.leader.roster import Known

LIMIT = 16
DEFAULT_LABEL = "default"
"""Of the one that tasks which name none go to."""
_KIND_CHARS = 20


def checked(node_id: str, told: Iterable[Attached]) -> Sequence[Attached]:
    """Those that are told as they should be."""
    return [each for each in list(told)[:LIMIT] if _is_right(node_id, each)]


def _is_right(node_id: str, each: Attached) -> bool:
    row = each.node
    words = [row.hostname, row.address, row.version, row.message, row.kind]
    words += [text for label in row.labels for text in (label.key, label.value)]
    return (
        row.id.startswith(f"{node_id}/")
        and 0 < len(row.kind) <= _KIND_CHARS
        and row.ByteSize() <= checks.NODE_LIMIT_BYTES // LIMIT
        and not any(checks.text_flaw("A word", word, 500) for word in (row.id, *words))
    )


def _is_behind(task: Task, row: Node, node_id: str) -> bool:
    """Whether a task of the node runs in there: what it needs says so, as k8s:NAME."""
    kind = f"{row.kind}:"
    named = [needed for needed in task.spec.constraints.capabilities if needed.startswith(kind)]
    if named:
        return kind + row.id.removeprefix(f"{node_id}/") in named
    is_default = any(label.key == DEFAULT_LABEL for label in row.labels)
    return is_default and task.spec.type == TaskType.TASK_TYPE_K8S_JOB


def views(state: ClusterState, node_id: str, known: Known, boot_us: int) -> Iterator[NodeView]:
    """In the order of their ids."""
    if known.session is None:
        return
    for each in sorted(known.attached, key=lambda each: each.node.id):
        view = NodeView(node=each.node, age_us=-1)
        for task_id in state.by_node.get(node_id, ()):
            task = state.tasks[task_id]
            if _is_behind(task, each.node, node_id):
                running = task.state == TaskState.TASK_STATE_RUNNING
                view.running += running
                view.assigned += not running
        if each.HasField("resources"):
            view.resources.CopyFrom(each.resources)
            sampled_us = known.resources.sampled_at_us if known.resources is not None else 0
            # Both by the clock of the node.
            before_us = max(0, sampled_us - each.resources.sampled_at_us)
            view.age_us = max(0, boot_us - known.sampled_us) + before_us
        yield view
