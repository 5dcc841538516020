"""What must hold of leases, seen from the wire: a quorum answers the leader before it acknowledges a renewal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from google.protobuf.message import Message

from cortex.v1.worker_pb2 import LeaderMessage, WorkerMessage

Report = Callable[[str], None]
Way = tuple[str, str]


class RenewalChecker:
    """Told of datagrams and session messages as they get through; addresses say who."""

    def __init__(self, report: Report, now_s: Callable[[], float], voters: Callable[[str], Sequence[str]]) -> None:
        """`voters` tells who votes, as the daemon at an address knows it now."""
        self._report = report
        self._now_s = now_s
        self._voters = voters
        self._heard: dict[Way, float] = {}  # when what arrived last from a voter was sent
        self._renewals: dict[tuple[Way, int], tuple[float, Sequence[str]]] = {}
        self.reached: Counter[str] = Counter()

    def heard(self, source: str, target: str, sent_s: float) -> None:
        """A voter's datagram got through."""
        self._heard[source, target] = max(sent_s, self._heard.get((source, target), 0.0))

    def arrived(self, worker: str, leader: str, message: Message) -> None:
        """A session's message is there to be read."""
        if isinstance(message, WorkerMessage):
            kind = message.WhichOneof("kind")
            if kind in ("hello", "renewal"):
                number = message.renewal.number if kind == "renewal" else 0
                self._renewals[(worker, leader), number] = self._now_s(), self._voters(leader)

    def said(self, leader: str, worker: str, message: Message) -> None:
        """A leader acknowledges: as many voters have spoken to it since as make a majority with itself."""
        if not isinstance(message, LeaderMessage) or not message.HasField("renewal_ack"):
            return
        number = message.renewal_ack.number
        renewal = self._renewals.get(((worker, leader), number))
        if renewal is None:
            self._report(f"{leader} acknowledged renewal {number} of {worker}, which it never got")
            return
        since_s, voters = renewal
        self.reached["renewals acknowledged"] += 1
        spoke = self._spoke(leader, since_s, voters)
        # The voters may have changed meanwhile: those of either moment will do.
        now = self._voters(leader)
        if spoke < len(voters) // 2 and (now == voters or self._spoke(leader, since_s, now) < len(now) // 2):
            self._report(
                f"{leader} acknowledged renewal {number} of {worker}; {spoke} voters had spoken to it since"
            )

    def _spoke(self, leader: str, since_s: float, voters: Sequence[str]) -> int:
        return sum(self._heard.get((voter, leader), 0.0) > since_s for voter in voters if voter != leader)
