"""What a drain does to its node: cordoned by the commit, draining from its begin, drained when it is empty.

Its tasks are moved by task_migrate commands that name the operation, so that none counts once the drain has ended.
"""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import OperationAdvance
from cortex.v1.types_pb2 import Node, NodeState, Operation, OperationState
from node.core import checks, drain_plan
from node.core.faults import Code
from node.core.operations import DONE, REFUSED, SCHEDULED, STOPPED, UNDONE
from node.core.transitions import tally
from node.core.transitions.draft import Draft, Refusal
from node.core.transitions.kinds import Act, Kind

DEADLINE_LIMIT_MS = 365 * 24 * 3600 * 1000
MAX_PARALLEL_LIMIT = 100_000

ACTIVE = types_pb2.NODE_STATE_ACTIVE
CORDONED = types_pb2.NODE_STATE_CORDONED
DRAINING = types_pb2.NODE_STATE_DRAINING
DRAINED = types_pb2.NODE_STATE_DRAINED


def _check(draft: Draft, new: Operation) -> Refusal | None:
    """Lays down what an undo restores and when the deadline is."""
    plan = new.drain
    if new.WhichOneof("plan") != "drain" or not checks.is_id(plan.id) or plan.node != new.node:
        return Refusal(Code.INVALID, "A drain names its node and a plan of it.")
    if not 0 <= plan.deadline_ms <= DEADLINE_LIMIT_MS or plan.max_parallel > MAX_PARALLEL_LIMIT:
        return Refusal(Code.INVALID, "The deadline or max_parallel of the drain is out of range.")
    if len(plan.moves) + len(plan.stuck) > drain_plan.TASKS_LIMIT:
        return Refusal(Code.INVALID, f"A drain's plan names at most {drain_plan.TASKS_LIMIT} tasks.")
    flaw = checks.reason_flaw(plan.message)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    node = draft.node(new.node)
    if node is None:
        return Refusal(Code.NOT_FOUND, f"There is no node {checks.short(new.node)}.")
    if node.operation:
        return Refusal(Code.WRONG_STATE, f"Node {node.id} is being drained already, by operation {node.operation}.")
    if node.state not in (ACTIVE, CORDONED):
        state = NodeState.Name(node.state).removeprefix("NODE_STATE_").lower()
        already = " already" if node.state in (DRAINING, DRAINED) else ""
        return Refusal(Code.WRONG_STATE, f"Node {node.id} is {state}{already}.")
    refusal = _outside(draft, new)
    if refusal is not None:
        return refusal
    plan.former_state, plan.former_message = node.state, node.message
    if plan.deadline_ms:
        new.deadline_us = draft.now_us + plan.deadline_ms * 1000
    return None


def _outside(draft: Draft, operation: Operation) -> Refusal | None:
    task = drain_plan.outside(operation.drain, draft.tasks_on(operation.node))
    if task is None:
        return None
    why = "its machine is lost" if task.lost_at_us else f"it {drain_plan.NOT_RETRYABLE}"
    message = f"The plan does not hold: task {task.id} on {operation.node} is not in it, and {why}."
    return Refusal(Code.WRONG_STATE, message)


def _start(draft: Draft, new: Operation) -> None:
    old = draft.node(new.node)
    if old is None:
        return
    node = _edit(old)
    node.state = CORDONED
    node.operation = new.id
    node.message = new.drain.message
    draft.put_node(node, types_pb2.EVENT_TYPE_NODE_CORDONED, "to be drained")


def _guard(draft: Draft, old: Operation, command: OperationAdvance) -> Refusal | None:
    """The leader has judged the plan; what it cannot have seen any more is judged here."""
    if command.begin and not command.refused:
        return _outside(draft, old)
    if command.done:
        left = draft.on_node(old.node)
        if left:
            return Refusal(Code.WRONG_STATE, f"Node {old.node} holds {left} tasks yet.")
    return None


def _begin(draft: Draft, new: Operation, command: OperationAdvance, act: Act) -> None:
    old = draft.node(new.node)
    if old is None:
        return
    new.counts.total = draft.on_node(new.node)
    node = _edit(old)
    node.state = DRAINING
    draft.put_node(node, types_pb2.EVENT_TYPE_NODE_DRAINING, _deadline_text(new))


def _step(draft: Draft, new: Operation, command: OperationAdvance, act: Act) -> None:
    """The last one brings what became of the plan's forecast."""
    if not command.done:
        return
    new.counts.issued = new.counts.total
    new.drain.took_ms = max(0, draft.now_us - new.begun_at_us) // 1000
    told = {move.task: move.actual for move in command.drain.moves}
    for move in new.drain.moves:
        move.actual = told.get(move.task, "")[:200]


def _end(draft: Draft, new: Operation) -> None:
    """The node's state once the drain is over, however it ended."""
    old = draft.node(new.node)
    if old is None or old.operation != new.id:
        return
    node = _edit(old)
    node.operation = ""
    if new.state == DONE:
        node.state = DRAINED
        draft.put_node(node, types_pb2.EVENT_TYPE_NODE_DRAINED, f"empty after {new.drain.took_ms / 1000:g} s")
        return
    kept = new.drain.keep_cordoned and new.state != REFUSED
    node.state = CORDONED if kept else new.drain.former_state
    cordoned = node.state == CORDONED
    if not kept:
        node.message = new.drain.former_message
    how = {UNDONE: "its drain was undone", REFUSED: "its drain was refused"}.get(new.state, "its drain was stopped")
    kind = types_pb2.EVENT_TYPE_NODE_CORDONED if cordoned else types_pb2.EVENT_TYPE_NODE_UNCORDONED
    draft.put_node(node, kind, f"{how}: {new.outcome}" if new.outcome else how)


DRAIN = Kind(check=_check, start=_start, guard=_guard, begin=_begin, step=_step, end=_end)


def leave(draft: Draft, node: Node, outcome: str) -> None:
    """End the drain that `node` is under, since an operator decided otherwise; the caller puts the node."""
    if not node.operation:
        return
    old = draft.operation_row(node.operation)
    node.operation = ""
    if old is None or old.state not in (SCHEDULED, types_pb2.OPERATION_STATE_RUNNING):
        return
    new = tally.edit(draft, old)
    state: OperationState.ValueType = UNDONE if old.state == SCHEDULED else STOPPED
    tally.close(draft, new, state, outcome, draft.actor)
    tally.put(draft, new)


def stays_cordoned(draft: Draft, node: Node) -> None:
    """A node is cordoned that its drain has cordoned already: an undo or a stop leaves it so."""
    old = draft.operation_row(node.operation) if node.operation else None
    if old is None or old.drain.former_state == CORDONED:
        return
    new = tally.edit(draft, old)
    new.drain.former_state = CORDONED
    tally.put(draft, new)


def _deadline_text(operation: Operation) -> str:
    if not operation.deadline_us:
        return "without a deadline"
    seconds = (operation.deadline_us - operation.begun_at_us) / 1e6
    return f"to be empty in {seconds:.0f} s"


def _edit(old: Node) -> Node:
    new = Node()
    new.CopyFrom(old)
    return new
