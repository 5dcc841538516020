"""What makes a node a matter for a person: an alarm may cordon it, a suspicion only proposes that."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import NodeAlarm, NodeSuspect
from cortex.v1.types_pb2 import Node
from node.core import checks
from node.core.faults import Code
from node.core.transitions import drains
from node.core.transitions.draft import Draft, Refusal

# Tasks that one alarm names; what comes after them adds nothing.
_TASKS_LIMIT = 16


def node_alarm(draft: Draft, command: NodeAlarm) -> Refusal | None:
    """Raise an alarm, or end it; said again it changes nothing. The end of an alarm leaves the node cordoned."""
    old = draft.node(command.id)
    flaw = _flaw(old, command.id, command.reason)
    if flaw is not None or old is None:
        return flaw
    if command.task and command.reason and all(task.id != command.task for task in draft.tasks_on(old.id)):
        return Refusal(Code.WRONG_STATE, f"Task {checks.short(command.task)} is not on node {old.id} any more.")
    if command.reason and command.cordon:
        drains.stays_cordoned(draft, old)
    new = Node()
    new.CopyFrom(old)
    new.alarm = command.reason
    if not command.reason:
        new.ClearField("alarm_tasks")
    elif command.task and command.task not in old.alarm_tasks and len(old.alarm_tasks) < _TASKS_LIMIT:
        new.alarm_tasks.append(command.task)
    if command.reason and command.cordon and old.state == types_pb2.NODE_STATE_ACTIVE:
        new.state = types_pb2.NODE_STATE_CORDONED
        new.message = command.reason
    if new != old:
        detail = command.reason or f"over: {old.alarm}"
        draft.put_node(new, types_pb2.EVENT_TYPE_ALARM, detail)
    return None


def node_suspect(draft: Draft, command: NodeSuspect) -> Refusal | None:
    """Propose a node for a cordon, or take that back; said again it changes nothing."""
    old = draft.node(command.id)
    flaw = _flaw(old, command.id, command.reason)
    if flaw is not None or old is None:
        return flaw
    if old.suspect_reason == command.reason:
        return None
    new = Node()
    new.CopyFrom(old)
    new.suspect_reason = command.reason
    draft.put_node(new, types_pb2.EVENT_TYPE_NODE_SUSPECTED, command.reason or "not any more")
    return None


def settled(new: Node) -> None:
    """An operator has looked at the node and lets it work again."""
    new.ClearField("alarm")
    new.ClearField("alarm_tasks")
    new.ClearField("suspect_reason")


def _flaw(old: Node | None, node_id: str, reason: str) -> Refusal | None:
    if old is None:
        return Refusal(Code.NOT_FOUND, f"There is no node {checks.short(node_id)}.")
    if old.state == types_pb2.NODE_STATE_REMOVED:
        return Refusal(Code.WRONG_STATE, f"Node {old.id} was removed.")
    flaw = checks.reason_flaw(reason)
    return Refusal(Code.INVALID, flaw) if flaw is not None else None
