"""What a drain is asked to do, and what its rehearsal says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cortex.v1 import cluster_pb2, types_pb2
from tui.drawing.format import duration
from tui.store.view import ClusterView

DEADLINE_MS = 3_600_000
WINDOW_MS = 10_000
DrainPlan = types_pb2.DrainPlan
PLAN_CODES = frozenset({"wrong_state", "not_found"})
"""A plan that is refused so was not carried out, and another rehearsal may be."""
Fate = tuple[str, str]
"""Dead letter, stuck, waits or lands, and on which node."""


@dataclass(frozen=True)
class DrainOptions:
    """What an operator chooses for a drain. `deadline_ms` counts from the confirmation; 0 = none."""

    deadline_ms: int = DEADLINE_MS
    hold: bool = False
    force: bool = False
    keep_cordoned: bool = False
    max_parallel: int = 0
    """Tasks that move at once; 0 = all."""
    message: str = ""

    def request(self, node: str) -> cluster_pb2.DrainRequest:
        """Of a rehearsal."""
        request = cluster_pb2.DrainRequest(
            node=node,
            hold=self.hold,
            force=self.force,
            keep_cordoned=self.keep_cordoned,
            max_parallel=self.max_parallel,
            message=self.message,
        )
        if self.deadline_ms:
            request.deadline_ms = self.deadline_ms
        else:
            request.no_deadline = True
        return request

    def words(self) -> list[str]:
        """What is chosen, the deadline first."""
        said = [f"deadline {duration(self.deadline_ms * 1000)}" if self.deadline_ms else "no deadline"]
        said.append(f"{self.max_parallel} at once" if self.max_parallel else "all at once")
        said += ["hold what may not move"] if self.hold else []
        said += ["forced"] if self.force else []
        said += ["keep cordoned"] if self.keep_cordoned else []
        return said


_WAITS = "It waits in the queue "


def window_ms(plan: DrainPlan) -> int:
    """How long the drain of a plan can be undone."""
    return min(WINDOW_MS, plan.deadline_ms // 4) if plan.deadline_ms else WINDOW_MS


def blocker(plan: DrainPlan, force: str = "force it") -> str:
    """Why the daemon would refuse the plan as it stands, with the remedy; empty when nothing is in its way.

    `force` says how it is forced here.
    """
    return "" if plan.quorum.ok or plan.force else f"Too few voters would be left: bring one up first, or {force}."


def effect(plan: DrainPlan) -> str:
    """What becomes of the tasks, in one sentence."""
    waiting = sum(not move.to for move in plan.moves)
    dead = sum(item.dead_letter for item in plan.stuck)
    held = len(plan.stuck) - dead
    parts = []
    if landing := len(plan.moves) - waiting:
        parts.append(f"{_tasks(landing)} {'lands' if landing == 1 else 'land'} elsewhere")
    if waiting:
        parts.append(f"{waiting} {'waits' if waiting == 1 else 'wait'} in the queue for room")
    if held:
        parts.append(f"{held} {'has' if held == 1 else 'have'} nowhere to go")
    if dead:
        parts.append(f"{dead} {'becomes a dead letter' if dead == 1 else 'become dead letters'} at the deadline")
    return f"{', '.join(parts)}." if parts else "It holds no task: it is empty at once."


def beside_waits(reason: str) -> str:
    """The reason of a task that waits, where that it waits stands beside it."""
    return reason.removeprefix(_WAITS)


def fates(plan: DrainPlan) -> Mapping[str, Fate]:
    """What becomes of each task, by id."""
    found = {move.task: ("lands" if move.to else "waits", move.to) for move in plan.moves}
    return found | {item.task: ("dead letter" if item.dead_letter else "stuck", "") for item in plan.stuck}


def drain_of(view: ClusterView, node_id: str) -> str:
    """Id of the drain that the node is under, or that emptied it; empty when there is none, or none is known."""
    row = view.nodes.get(node_id)
    if row is None or row.node.operation:
        return row.node.operation if row is not None else ""
    if row.node.state != types_pb2.NODE_STATE_DRAINED:
        return ""
    last = last_drain(view, node_id)
    return last.id if last is not None and last.state == types_pb2.OPERATION_STATE_DONE else ""


def last_drain(view: ClusterView, node_id: str) -> types_pb2.Operation | None:
    """Of those that are known."""
    known = (one for one in view.operations.values() if one.node == node_id and one.HasField("drain"))
    return max(known, key=lambda one: (one.created_at_us, one.id), default=None)


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count:,} tasks"
