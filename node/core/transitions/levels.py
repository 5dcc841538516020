"""The cluster's feature level: what releases before it do not understand may stand in the log from then on."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import LevelRaise
from cortex.v1.types_pb2 import Setting
from node.core import settings
from node.core.faults import Code
from node.core.model import Table
from node.core.transitions.draft import Draft, Refusal

_KEEPS_LOG = frozenset({types_pb2.NODE_ROLE_VOTER, types_pb2.NODE_ROLE_LEARNER})


def level_raise(draft: Draft, command: LevelRaise) -> Refusal | None:
    """By one, once every voter and learner has announced that it knows it. It never falls."""
    level = settings.feature_level(draft.setting(settings.FEATURE_LEVEL))
    if command.level == level:
        return None
    if command.level != level + 1:
        message = f"The cluster is at feature level {level}; it rises by one at a time, and never falls."
        return Refusal(Code.WRONG_STATE, message)
    behind = [node.id for node in draft.nodes() if node.role in _KEEPS_LOG and node.level < command.level]
    if behind:
        message = f"{', '.join(behind)} does not know feature level {command.level}."
        return Refusal(Code.WRONG_STATE, message)
    new = Setting(name=settings.FEATURE_LEVEL, value=str(command.level), at_us=draft.now_us)
    draft.put_row(Table.SETTINGS, settings.FEATURE_LEVEL, new)
    draft.cluster_event(types_pb2.EVENT_TYPE_LEVEL_RAISED, f"feature level: {level} -> {command.level}")
    return None
