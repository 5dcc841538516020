"""The record of who keeps the log. The entry that brings it carries the membership itself, in force by then."""

from __future__ import annotations

from collections.abc import Mapping

from cortex.v1 import log_pb2, types_pb2
from cortex.v1.log_pb2 import ConfigChange
from cortex.v1.types_pb2 import EventType, Node, NodeRole
from node.core import checks
from node.core.faults import Code
from node.core.transitions.draft import Draft, Refusal

# What each change makes of a node, the event, and what it tells.
_CHANGES: Mapping[int, tuple[NodeRole.ValueType, EventType.ValueType, str]] = {
    log_pb2.MEMBER_CHANGE_LEARNER: (
        types_pb2.NODE_ROLE_LEARNER,
        types_pb2.EVENT_TYPE_LEARNER_ADDED,
        "is sent the log, and votes when it has caught up",
    ),
    log_pb2.MEMBER_CHANGE_VOTER: (types_pb2.NODE_ROLE_VOTER, types_pb2.EVENT_TYPE_VOTER_ADDED, "votes"),
    log_pb2.MEMBER_CHANGE_REMOVED: (
        types_pb2.NODE_ROLE_WORKER,
        types_pb2.EVENT_TYPE_VOTER_REMOVED,
        "is not sent the log any more, and goes on as a worker",
    ),
}


def config_change(draft: Draft, command: ConfigChange) -> Refusal | None:
    """Tell what became of a node; said again it changes nothing. A refusal would undo nothing, so there are few."""
    known = _CHANGES.get(command.change)
    flaw = checks.text_flaw("The address", command.address)
    if known is None or not checks.is_id(command.id) or flaw is not None:
        return Refusal(Code.INVALID, flaw or "A change of the voters names a node, and what becomes of it.")
    role, kind, detail = known
    if command.address:
        detail = f"{detail}; at {command.address}"
    old = draft.node(command.id)
    if old is None or old.state == types_pb2.NODE_STATE_REMOVED:
        draft.cluster_event(kind, detail, node=command.id)
        return None
    if old.role == role:
        return None
    new = Node()
    new.CopyFrom(old)
    new.role = role
    draft.put_node(new, kind, detail)
    return None
