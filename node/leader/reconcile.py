"""What a machine says it holds, against what the applied state says it should hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cortex.v1.log_pb2 import Command, TaskLost, TaskStarted
from cortex.v1.types_pb2 import Task, TaskState
from cortex.v1.worker_pb2 import AttemptState, InventoryItem, Verdict, VerdictKind
from node.core.model import holds
from node.core.state import ClusterState
from node.leader.session import Attempt

_LOST_ON_MACHINE = "Its machine found neither its process nor its result."


@dataclass(slots=True)
class Reconciled:
    """`resend` was never accepted by this incarnation; `orphans` stand, but the machine cannot have them."""

    verdicts: list[Verdict] = field(default_factory=list)
    kept: list[Task] = field(default_factory=list)
    resend: list[Task] = field(default_factory=list)
    orphans: list[Task] = field(default_factory=list)


def reconcile(
    state: ClusterState, node_id: str, inventory: Iterable[InventoryItem], *, same_epoch: bool = True
) -> Reconciled:
    """One verdict for each item, and what to do about tasks of `node_id` that are not in the inventory.

    Not `same_epoch`: the machine lived on while the cluster went back, so what it lacks it may have had and ended.
    """
    found = Reconciled()
    held: set[Attempt] = set()
    for item in inventory:
        held.add((item.task, item.fence))
        task = state.tasks.get(item.task)
        stands = task is not None and _stands(task, node_id, item.fence)
        if task is not None and stands:
            found.kept.append(task)
            kind = VerdictKind.VERDICT_KIND_KEEP
        elif item.state in (AttemptState.ATTEMPT_STATE_ENDED, AttemptState.ATTEMPT_STATE_LOST):
            kind = VerdictKind.VERDICT_KIND_RECORDED
        else:
            kind = VerdictKind.VERDICT_KIND_KILL
        found.verdicts.append(Verdict(task=item.task, fence=item.fence, kind=kind))
    node = state.nodes.get(node_id)
    own_since = node.incarnation_index if node is not None else 0
    for task_id in sorted(state.by_node.get(node_id, ())):
        task = state.tasks[task_id]
        if (task.id, task.fence) in held:
            continue
        # A started task was durably accepted, and what an older incarnation was given may have been: never again.
        unseen = task.state == TaskState.TASK_STATE_ASSIGNED and task.fence >= own_since and not task.lost_at_us
        if unseen and same_epoch:
            found.resend.append(task)
        else:
            found.orphans.append(task)
    return found


def corrections(state: ClusterState, node_id: str, inventory: Iterable[InventoryItem]) -> list[Command]:
    """What the inventory says of attempts that stand and the state does not know: lost there, or back again."""
    commands: list[Command] = []
    for item in inventory:
        task = state.tasks.get(item.task)
        if task is None or not _stands(task, node_id, item.fence):
            continue
        if item.state == AttemptState.ATTEMPT_STATE_LOST and not task.lost_at_us:
            lost = TaskLost(id=task.id, fence=task.fence, reason=_LOST_ON_MACHINE)
            commands.append(Command(task_lost=lost))
        elif item.state == AttemptState.ATTEMPT_STATE_RUNNING and task.lost_at_us:
            commands.append(Command(task_started=TaskStarted(id=task.id, fence=task.fence)))
    return commands


def _stands(task: Task, node_id: str, fence: int) -> bool:
    return holds(task, fence) and task.node == node_id
