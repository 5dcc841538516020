"""What a leader refuses before a membership change gets into the log."""

from __future__ import annotations

from node.consensus.membership import Change, ChangeKind, ChangeRefused, Membership
from node.consensus.port import ChangeInProgress
from node.consensus.raftos.leader import Leader


def planned(leader: Leader, change: Change) -> Membership:
    """The membership after `change`. Raises ChangeInProgress or ChangeRefused."""
    log, memberships = leader.log, leader.state.memberships
    if memberships.index > log.commit_index:
        raise ChangeInProgress("the change before this one is not committed yet")
    if log.term_at(log.commit_index) != leader.storage.term:
        # An older leader's uncommitted change might still be in force elsewhere.
        raise ChangeInProgress("this leader has committed nothing of its own yet")
    after = memberships.current.after(change)
    if change.kind is ChangeKind.REMOVE and change.id == leader.id:
        raise ChangeRefused(f"{change.id} leads: hand leadership over to another voter first.")
    if change.kind is ChangeKind.PROMOTE and not leader.audience.caught_up(change.id):
        raise ChangeRefused(f"{change.id} has not caught up with the log yet.")
    live = sum(voter == leader.id or leader.audience.counts(voter) for voter in after.voters)
    if after.voters != memberships.current.voters and not after.is_majority(live):
        raise ChangeRefused(f"This would break quorum: {live} of the {len(after.voters)} voters it leaves are up.")
    return after
