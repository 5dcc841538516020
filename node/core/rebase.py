"""The step from a cluster's last known state to that of one that goes on from it alone: restore and recovery."""

from __future__ import annotations

from collections.abc import Mapping

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Entry, Reply
from cortex.v1.types_pb2 import Node, Setting
from node.core import settings
from node.core.model import Outcome, Table
from node.core.state import ClusterState
from node.core.transitions.draft import Draft

INDEX_STEP = 1_000_000_000
"""No cluster that was lost had that many more entries than the last one known: no index or fence is used twice."""
TERM_STEP = 1_000_000
"""As INDEX_STEP, of elections."""


def rebased(state: ClusterState, index: int, at_us: int, voters: Mapping[str, str], actor: str) -> Outcome:
    """What makes of `state` one of the next recovery epoch, at `index`, in which these vote: addresses by id."""
    draft = Draft(state, {}, Entry(actor=actor, at_us=at_us), index)
    # The second of the recovery, not only the next number: of two that begin with one backup each is told apart.
    epoch = max(settings.recovery_epoch(draft.setting(settings.RECOVERY_EPOCH)) + 1, at_us // 1_000_000)
    row = Setting(name=settings.RECOVERY_EPOCH, value=str(epoch), at_us=draft.now_us)
    draft.put_row(Table.SETTINGS, settings.RECOVERY_EPOCH, row)
    names = sorted(voters)
    among = f"{names[0]} alone" if len(names) == 1 else ", ".join(names)
    detail = f"recovery {epoch}: goes on at index {index} with {among}"
    draft.cluster_event(types_pb2.EVENT_TYPE_SETTING_CHANGED, detail, node=names[0])
    for old in draft.nodes():
        votes = old.id in voters
        if votes or old.role in (types_pb2.NODE_ROLE_VOTER, types_pb2.NODE_ROLE_LEARNER):
            _decide(draft, old, voters.get(old.id, old.address), votes=votes)
    return Outcome(draft.changes(), Reply(index=index))


def _decide(draft: Draft, old: Node, address: str, *, votes: bool) -> None:
    new = Node()
    new.CopyFrom(old)
    new.role = types_pb2.NODE_ROLE_VOTER if votes else types_pb2.NODE_ROLE_WORKER
    new.address = address
    if new == old:
        return
    if votes:
        draft.put_node(new, types_pb2.EVENT_TYPE_VOTER_ADDED, f"votes; at {address}")
    else:
        draft.put_node(new, types_pb2.EVENT_TYPE_VOTER_REMOVED, "the cluster was recovered without it")
