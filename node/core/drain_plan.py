"""What the plan of a drain means: what was chosen, and whether it still holds.

Harm is what cannot be taken back by waiting: tasks that nothing else takes, and tasks that would end as dead
letters. A plan holds as long as the harm of today is among the harm that was planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from cortex.v1.types_pb2 import DrainPlan, QuorumEffect, Task

DEADLINE_MS: Final = 3_600_000
TASKS_LIMIT: Final = 10_000
NOT_RETRYABLE: Final = "is not retryable"


class Options(NamedTuple):
    """What an operator chooses for a drain."""

    deadline_ms: int = DEADLINE_MS  # from the commit; 0 = none
    force: bool = False
    keep_cordoned: bool = False
    max_parallel: int = 0  # 0 = all
    message: str = ""
    hold: bool = False


def options_of(plan: DrainPlan) -> Options:
    return Options(plan.deadline_ms, plan.force, plan.keep_cordoned, plan.max_parallel, plan.message, plan.hold)


def quorum(voters: Mapping[str, bool], node_id: str) -> QuorumEffect:
    """What is left of the voters if the node is switched off."""
    up = sum(voters.values())
    needed = len(voters) // 2 + 1
    up_without = up - voters.get(node_id, False)
    ok = node_id not in voters or up_without >= needed
    return QuorumEffect(voters=len(voters), up=up, needed=needed, up_without=up_without, ok=ok)


def may_migrate(task: Task) -> bool:
    """Whether it may be ended on its node and begun again elsewhere."""
    return task.spec.retry.retryable and not task.lost_at_us


def broken(plan: DrainPlan, now: DrainPlan) -> str | None:
    """Why a plan does not hold against the rehearsal of today, in one sentence; None when it holds."""
    if plan.quorum.ok and not now.quorum.ok and not plan.force:
        return no_quorum(now.quorum)
    planned = {item.task: item.dead_letter for item in plan.stuck}
    for item in now.stuck:
        if item.task not in planned:
            return f"Task {item.task} was not among those that have nowhere to go: {item.reason}"
        if item.dead_letter and not planned[item.task]:
            return f"Task {item.task} was not to become a dead letter: {item.reason}"
    return None


def no_quorum(effect: QuorumEffect) -> str:
    votes = f"{effect.up_without} of {effect.voters} voters would be up"
    return f"Without it {votes}, and {effect.needed} are needed to go on."


def outside(plan: DrainPlan, tasks: Iterable[Task]) -> Task | None:
    """A task that may not migrate and that the plan does not name; None when there is none."""
    named = {item.task for item in plan.stuck}
    return next(
        (task for task in tasks if not may_migrate(task) and not task.cancel_requested and task.id not in named),
        None,
    )
