"""Whom a leader sends the log, by the membership in force; and who of them counts."""

from __future__ import annotations

import math
from collections import deque

from node.consensus.membership import Membership
from node.consensus.raftos.progress import Progress
from node.consensus.raftos.state import RaftState


class Audience:
    """Members other than the leader, and who was removed and is yet to be told."""

    def __init__(self, state: RaftState) -> None:
        self._state = state
        self.progress: dict[str, Progress] = {}
        self.voting: list[Progress] = []
        """Of the other voters: they alone count."""
        self._leader_votes = True
        self._first_index = 0
        """Of the leader's own first entry: it does not know what is committed before that is."""
        self._commits: deque[tuple[float, int]] = deque([(-math.inf, 0)], maxlen=2)
        """When the last two rounds began, and what was committed then."""

    def begin(self) -> None:
        """Called before the leader appends its first entry."""
        self._first_index = self._state.log.last_log_index + 1
        # Whoever was removed last may not have heard of it from the leader before.
        self._include(self._state.memberships.former)
        self.adopt()

    def adopt(self) -> None:
        """Another membership is in force."""
        state, memberships = self._state, self._state.memberships
        self._include(memberships.current)
        for progress in self.progress.values():
            if not progress.leaves_at and memberships.current.find(progress.id) is None:
                progress.leaves_at = memberships.index
        self.voting[:] = [self.progress[voter] for voter in state.cluster]
        self._leader_votes = memberships.current.is_voter(state.id)

    def _include(self, membership: Membership) -> None:
        next_index = self._state.log.last_log_index + 1
        for member in membership.members:
            known = self.progress.get(member.id)
            if member.id != self._state.id and (known is None or known.leaves_at):
                self.progress[member.id] = Progress(member.id, next_index)

    def majority(self, own: int, others: list[int]) -> int:
        """What a majority of the voters has reached, from what the leader has and what the others have."""
        if self._leader_votes:
            others.append(own)
        others.sort(reverse=True)
        return others[len(others) // 2]

    def left_by_leader(self, before: int) -> bool:
        """Whether what was committed after `before` leaves the leader without a vote."""
        return before < self._state.memberships.index <= self._state.log.commit_index and not self._leader_votes

    def heir(self) -> str | None:
        """The other voter with the longest log, of several the one heard last; of those that answer, if any do."""
        whole = [peer for peer in self.voting if not peer.blank_life]
        voting = [peer for peer in whole if self.active(peer.id)] or whole
        best = max(voting, key=lambda peer: (peer.match_index, peer.heard_at), default=None)
        return None if best is None else best.id

    def active(self, peer: str) -> bool:
        """Whether the peer has answered within the last election time-out."""
        known = self.progress.get(peer)
        return known is not None and self._state.loop.time() - known.heard_at < self._state.settings.election_max_s

    def counts(self, peer: str) -> bool:
        """Whether the peer answers, and adds to a majority."""
        return self.active(peer) and not self.progress[peer].blank_life

    def note_round(self) -> None:
        """A round of heartbeats begins."""
        now = self._state.loop.time()
        if now - self._commits[-1][0] >= self._state.settings.heartbeat_s / 2:
            self._commits.append((now, self._state.log.commit_index))

    def caught_up(self, peer: str) -> bool:
        """Whether the peer answers, and has what was committed when the round before last began (Raft, 4.2.1)."""
        needed = max(self._commits[0][1], self._first_index)
        return self.counts(peer) and self.progress[peer].match_index >= needed

    def seen_off(self, progress: Progress, round_number: int) -> bool:
        """Whether a removed member was told of it, or was out of reach for long enough; then it is forgotten."""
        if self._state.log.commit_index < progress.leaves_at:
            return False
        now = self._state.loop.time()
        progress.leave_by = min(progress.leave_by, now + self._state.settings.farewell_s)
        if 0 < progress.told_round <= progress.acked_round or now >= progress.leave_by:
            del self.progress[progress.id]
            return True
        if not progress.told_round and progress.match_index >= progress.leaves_at:
            progress.told_round = round_number
        return False
