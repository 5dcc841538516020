"""What a leader knows of one peer."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """What the leader knows of one peer."""

    id: str
    next_index: int
    match_index: int = 0
    pipelined: bool = False
    """False: one message at a time until the peer's log is known to fit."""
    probing: bool = False
    heard_at: float = -math.inf
    acked_round: int = 0
    sent_commit: int = 0
    forwarded_index: int = 0
    """The last entry that this peer passed on as a proposal."""
    inflight: deque[tuple[int, int]] = field(default_factory=deque)
    """Last index and bytes of each unanswered message with entries."""
    inflight_bytes: int = 0
    denials: int = 0
    """Answers in a row that lack what this peer had acknowledged."""
    blank_life: int = 0
    """Of a peer that may have lost its disk: the number of its life. It is sent everything, and counts nowhere."""
    counts_from: int = 0
    """The entry with which such a one counts again; 0 while there is none."""
    life_round: int = 0
    """Answers to rounds before this one may be of an earlier life."""
    leaves_at: int = 0
    """Index of the entry that removes this peer; 0 for a member."""
    told_round: int = 0
    """The first round that told a removed peer so."""
    leave_by: float = math.inf

    @property
    def counted_index(self) -> int:
        """What it adds to a majority."""
        return 0 if self.blank_life else self.match_index

    @property
    def counted_round(self) -> int:
        """The last round that it answered, as far as that adds to a majority."""
        return 0 if self.blank_life else self.acked_round

    def begin_life(self, number: int, next_round: int) -> None:
        """It came back without what it had acknowledged."""
        self.blank_life, self.counts_from, self.life_round = number, 0, next_round
        self.match_index = self.acked_round = self.denials = 0
        self.rewind(self.next_index)

    def last(self, last_index: int, commit_index: int) -> int:
        """What it is sent at most. The entry that removes it only when committed: until then its vote may be needed
        by those who do not have that entry."""
        if not self.leaves_at:
            return last_index
        return self.leaves_at if commit_index >= self.leaves_at else self.leaves_at - 1

    def matched(self, index: int) -> None:
        """The peer has everything up to `index` on its disk."""
        self.match_index = max(self.match_index, index)
        self.next_index = max(self.next_index, self.match_index + 1)
        while self.inflight and self.inflight[0][0] <= self.match_index:
            self.inflight_bytes -= self.inflight.popleft()[1]

    def rewind(self, next_index: int) -> None:
        self.next_index = max(next_index, self.match_index + 1)
        self.pipelined = self.probing = False
        self.inflight.clear()
        self.inflight_bytes = 0
