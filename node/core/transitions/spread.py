"""Run: one command on many nodes, a task pinned to each."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import CommandReply, TaskSubmit
from cortex.v1.types_pb2 import NodeState, Operation
from node.core import checks
from node.core.faults import Code
from node.core.model import member_id
from node.core.operations import LIVE_LIMIT, RUNNING
from node.core.transitions import begin
from node.core.transitions.draft import Draft, Refusal
from node.core.transitions.kinds import Act, Items, Kind

NODES_LIMIT = 1000
# Of the specifications of all its tasks, which one entry makes.
BYTES_LIMIT = 8 << 20


def _check(draft: Draft, new: Operation) -> Refusal | None:
    if new.not_before_us > draft.now_us:
        message = "A run begins at once: there is no undo window for it, so nothing was run."
        return Refusal(Code.INVALID, message)
    nodes = list(new.run.nodes)
    if not nodes or len(nodes) > NODES_LIMIT or len(set(nodes)) != len(nodes):
        return Refusal(Code.INVALID, f"A run names 1 to {NODES_LIMIT} nodes, each once.")
    size = len(nodes) * new.run.spec.ByteSize()
    if size > BYTES_LIMIT:
        return Refusal(Code.TOO_LARGE, f"The command for all nodes has {size} bytes, the limit is {BYTES_LIMIT}.")
    if draft.live_operations() >= LIVE_LIMIT:
        return Refusal(Code.OVERLOADED, f"{LIVE_LIMIT} operations are under way already.")
    for node_id in nodes:
        node = draft.node(node_id)
        if node is None:
            return Refusal(Code.NOT_FOUND, f"There is no node {checks.short(node_id)}.")
        if node.state != types_pb2.NODE_STATE_ACTIVE or not node.online:
            state = NodeState.Name(node.state).removeprefix("NODE_STATE_").lower()
            what = state if node.state != types_pb2.NODE_STATE_ACTIVE else "offline"
            return Refusal(Code.WRONG_STATE, f"Node {node.id} is {what}: nothing was run.")
    new.counts.total = len(nodes)
    return None


def _at_once(draft: Draft, new: Operation, _act: Act) -> Items | Refusal | None:
    submits = [_submission(new, number) for number in range(len(new.run.nodes))]
    answers = begin.submit(draft, submits, operation=new.id)
    refused = next((answer for answer in answers if isinstance(answer, Refusal)), None)
    if refused is not None:
        return refused
    new.state = RUNNING
    new.counts.issued = len(submits)
    return [CommandReply(accepted=True, id=submit.id) for submit in submits]


def _submission(new: Operation, number: int) -> TaskSubmit:
    plan = new.run
    submit = TaskSubmit(id=member_id(new.id, number), name=plan.name, priority=plan.priority, spec=plan.spec)
    submit.spec.constraints.target_node = plan.nodes[number]
    return submit


RUN = Kind(check=_check, at_once=_at_once)
