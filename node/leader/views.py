"""What a leader shows of its nodes."""

from __future__ import annotations

from cortex.v1.cluster_pb2 import NodeView
from node.core import scheduler, settings
from node.core.filters import node_info
from node.leader import attached
from node.leader.port import Replica
from node.leader.roster import Roster


def node_views(replica: Replica, roster: Roster, boot_us: int) -> list[NodeView]:
    """Every node of the state with what is sampled and counted of it, by id."""
    state = replica.state
    weights = settings.weights_of(state.settings.get(settings.WEIGHTS))
    views: list[NodeView] = []
    for node_id in sorted(state.nodes):
        running, assigned = state.held(node_id)
        view = NodeView(
            node=state.nodes[node_id],
            running=running,
            assigned=assigned,
            leader=node_id == replica.leader,
            age_us=-1,
        )
        known = roster.nodes.get(node_id)
        if known is not None and known.resources is not None:
            view.resources.CopyFrom(known.resources)
            view.age_us = max(0, boot_us - known.sampled_us)
            score, terms = scheduler.node_score(state, node_info(view.node, known.resources, weights))
            view.score = score
            view.terms.CopyFrom(terms)
            view.scored = True
            view.weights = weights.text
        views.append(view)
        if known is not None:
            views.extend(attached.views(state, node_id, known, boot_us))
    return views
