"""The members as one voter sees them."""

from __future__ import annotations

from node.consensus.membership import Membership
from node.consensus.port import Peer
from node.consensus.raftos.leader import Leader
from node.consensus.raftos.library import BaseState


def peers_of(membership: Membership, own_id: str, last_index: int, role: BaseState | None) -> list[Peer]:
    """All members, by id. Only a leader knows more of the others than that they are."""
    found: list[Peer] = []
    for member in membership.members:
        own = member.id == own_id
        up, match, sent = own, last_index if own else 0, (0, 0)
        if isinstance(role, Leader) and not own:
            up, match = role.audience.active(member.id), role.progress[member.id].match_index
            sent = role.snapshot_progress(member.id)
        found.append(Peer(member.id, member.address, up, match, member.voter, *sent))
    return found
