"""What the ledger of double runs is made from: commands that begin again after they began, or may have, before.

Only what left its node without an end of its own counts: a retry after a failure is no double run.
"""

from __future__ import annotations

from cortex.v1.types_pb2 import DoubleRun, Task
from node.core.model import ASSIGNED, Table
from node.core.transitions.draft import Draft

_REASON_CHARS = 300


def begins(draft: Draft, new: Task) -> None:
    """`new` begins under its fence, or may have: a line of the ledger if it began under another one before."""
    if new.started_fence == new.fence:
        return
    if new.started_fence:
        row = DoubleRun(
            id=f"{draft.index}-{draft.double_runs}",
            task=new.id,
            run=new.run,
            attempt=new.attempt,
            first_node=new.started_node,
            first_fence=new.started_fence,
            node=new.node,
            fence=new.fence,
            reason=new.restart_reason,
            at_us=draft.now_us,
            index=draft.index,
        )
        draft.double_runs += 1
        draft.put_row(Table.DOUBLE_RUNS, row.id, row)
    new.started_fence = new.fence
    new.started_node = new.node
    new.ClearField("restart_reason")


def interrupted(draft: Draft, task: Task, new: Task, reason: str) -> None:
    """`task` left its node without an end of its own; what has not reported its start may have started, too."""
    unknown = task.state == ASSIGNED and task.started_fence != task.fence
    begins(draft, new)
    where = f"It may have begun on {task.node}" if unknown else f"It had begun on {task.node}"
    new.restart_reason = f"{where}: {reason}"[:_REASON_CHARS]


def over(new: Task) -> None:
    """Its command has ended: the next time that it begins is no double run."""
    for name in ("started_fence", "started_node", "restart_reason"):
        new.ClearField(name)
