"""What the members say to each other beside the log: who is up and how far, clocks, digests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.consensus.freshness import Freshness
from node.consensus.membership import Membership
from node.consensus.port import Host, Peer
from node.consensus.raftos.wire import Data
from node.env import Clock


@dataclass(slots=True)
class _Heard:
    at: float = -math.inf
    match_index: int = 0


class Members:
    """The leader asks in beats, the others answer. Times are of the running loop."""

    def __init__(
        self, own_id: str, host: Host, clock: Clock, up_s: float, send: Callable[[Data, str], None]
    ) -> None:
        self._id, self._host, self._clock, self._up_s, self._send = own_id, host, clock, up_s, send
        self._heard: dict[str, _Heard] = {}
        self._agreed: tuple[int, bytes] = (0, b"")
        self.freshness = Freshness()
        self._round = 0
        self._beat_at = -math.inf
        self._due_index = self._sent_index = 0

    def beat(self, membership: Membership, term: int, commit_index: int, now: float, every_s: float) -> None:
        """Of the leader: ask all others, if it is time."""
        if now < self._beat_at:
            return
        self._beat_at = now + every_s
        self._round += 1
        # A member that answers this beat with as much as was committed at the last one has caught up.
        self._due_index, self._sent_index = self._sent_index, commit_index
        for member in membership.members:
            if member.id != self._id:
                self._send(
                    {
                        "type": "append_entries",
                        "term": term,
                        "entries": [],
                        "prev_log_index": commit_index,
                        "prev_log_term": 0,
                        "commit_index": commit_index,
                        "request_id": self._round,
                        "wall_us": self._clock.wall_us(),
                        "agreed": self._host.agreed_digest(),
                    },
                    member.id,
                )

    def asked(self, data: Data, term: int, last_index: int) -> None:
        """A beat of the leader arrived."""
        if data["wall_us"]:
            self._host.observe_clock(data["sender"], data["wall_us"])
        self.freshness.heard(data["commit_index"], self._host.applied()[0], self._clock.boot_us())
        if data["agreed"][0] > self._agreed[0]:
            self._agreed = data["agreed"]
        self.compare()
        self._send(
            {
                "type": "append_entries_response",
                "term": term,
                "success": True,
                "request_id": data["request_id"],
                "last_log_index": last_index,
                "wall_us": self._clock.wall_us(),
                "applied": self._host.applied(),
            },
            data["sender"],
        )

    def compare(self) -> None:
        """Hold the digest that a majority agrees on against this replica's own, once its index is applied here."""
        index, digest = self._agreed
        if digest and self._host.applied()[0] >= index:
            self._agreed = (index, b"")
            self._host.check_digest(index, digest)

    def answered(self, data: Data, now: float) -> None:
        """A member answered this leader."""
        heard = self._heard.setdefault(data["sender"], _Heard())
        heard.at, heard.match_index = now, max(heard.match_index, data["last_log_index"])
        if "wall_us" in data:
            self._host.observe_clock(data["sender"], data["wall_us"])
            _, index, digest = data["applied"]
            if digest:
                self._host.peer_digest(data["sender"], index, digest)

    def caught_up(self, member: str, now: float) -> bool:
        """Whether it answers, and has what was committed a beat or two ago."""
        heard = self._heard.get(member)
        return heard is not None and now - heard.at < self._up_s and heard.match_index >= self._due_index

    def peers(self, membership: Membership, leads: bool, last_index: int, now: float) -> Sequence[Peer]:
        found: list[Peer] = []
        for member in membership.members:
            heard = self._heard.get(member.id)
            up, match = member.id == self._id, last_index if member.id == self._id else 0
            if leads and heard is not None and member.id != self._id:
                up, match = now - heard.at < self._up_s, heard.match_index
            found.append(Peer(member.id, member.address, up, match, member.voter))
        return found
