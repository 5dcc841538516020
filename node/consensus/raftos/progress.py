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
