"""Who waits for which entry: proposals of this voter, whether it appended them itself or passed them on."""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from node.consensus.port import NotLeader, OutcomeUnknown, Overloaded, ProposalError, Superseded
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.wire import Data

LIFE_SHIFT = 32
"""Forward numbers are (a random number of the sender's life) << LIFE_SHIFT | a counter."""
NO_LEADER = "no_leader"
OVERLOADED = "overloaded"
_REMEMBERED = 1024
_ENDED_LIVES = 64
_SENDERS = 256
_FORGET_S = 600.0


class Terms(Protocol):
    """What waiting asks of a log."""

    base_index: int

    def term_at(self, index: int) -> int:
        """Term of the entry at `index`; 0 when it is not there, or no longer."""


class Proposal(NamedTuple):
    data: bytes
    future: asyncio.Future[int]


class Queue:
    """Proposals that came since the last turn of the loop."""

    def __init__(self, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._loop = loop
        self._waiting: list[Proposal] = []
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, data: bytes) -> asyncio.Future[int]:
        future: asyncio.Future[int] = self._loop().create_future()
        self._waiting.append(Proposal(data, future))
        self.size_bytes += len(data)
        return future

    def take(self) -> list[Proposal]:
        """All for which somebody still waits."""
        queue = [proposal for proposal in self._waiting if not proposal.future.done()]
        self._waiting, self.size_bytes = [], 0
        return queue

    def refuse(self, why: str) -> None:
        fail([proposal.future for proposal in self.take()], NotLeader(why))


@dataclass(order=True, slots=True)
class _Batch:
    """Consecutive entries appended together under one term."""

    first_index: int
    term: int
    deadline: float
    futures: list[asyncio.Future[int]] = field(compare=False)


class Waiters:
    """Answers a proposal when the commit index passes its index: it is there, or another entry is."""

    def __init__(self, log: Terms) -> None:
        self._log = log
        self._batches: list[_Batch] = []
        self._committed_term = 0

    def add(self, first_index: int, term: int, futures: list[asyncio.Future[int]], deadline: float) -> None:
        heapq.heappush(self._batches, _Batch(first_index, term, deadline, futures))

    def resolve(self, commit_index: int) -> None:
        """Answer everything up to `commit_index`."""
        batches = self._batches
        while batches and batches[0].first_index <= commit_index:
            batch = heapq.heappop(batches)
            count = min(commit_index - batch.first_index + 1, len(batch.futures))
            # One leader appended them in one term: if the last of them is there, so are those before it.
            last = batch.first_index + count - 1
            kept = self._log.term_at(last) == batch.term
            for index, future in enumerate(batch.futures[:count], batch.first_index):
                if future.done():
                    continue
                if kept or self._log.term_at(index) == batch.term:
                    future.set_result(index)
                elif index < self._log.base_index:
                    future.set_exception(OutcomeUnknown(f"entry {index} is in a snapshot by now"))
                else:
                    future.set_exception(Superseded(f"another entry was committed at index {index}"))
            if count < len(batch.futures):
                self.add(last + 1, batch.term, batch.futures[count:], batch.deadline)
        self._end_terms_before(self._log.term_at(commit_index))

    def _end_terms_before(self, committed_term: int) -> None:
        """Terms never fall along a log: what an earlier leader appended is committed by now, or never will be."""
        if committed_term <= self._committed_term:
            return
        self._committed_term = committed_term
        ended = [batch for batch in self._batches if batch.term < committed_term]
        if ended:
            self._batches = [batch for batch in self._batches if batch.term >= committed_term]
            heapq.heapify(self._batches)
        for batch in sorted(ended):
            fail(batch.futures, Superseded(f"the leader of term {batch.term} lost it before it was committed"))

    def expire(self, now: float) -> None:
        late = [batch for batch in self._batches if batch.deadline <= now]
        if late:
            self._batches = [batch for batch in self._batches if batch.deadline > now]
            heapq.heapify(self._batches)
        for batch in sorted(late):
            fail(batch.futures, OutcomeUnknown("not committed in time; it may still be"))

    def close(self) -> None:
        self.expire(float("inf"))


@dataclass(slots=True)
class _Forward:
    number: int
    term: int
    leader: str
    proposals: list[Proposal]
    deadline: float
    sent_at: float


class Forwarder:
    """A follower's proposals on their way to the leader. The same number is sent until it is answered."""

    def __init__(
        self, settings: RaftSettings, life: int, send: Callable[[Data, str], None], waiters: Waiters
    ) -> None:
        self._settings = settings
        self._number = life << LIFE_SHIFT
        self._send = send
        self._waiters = waiters
        self._sent: dict[int, _Forward] = {}
        self.waiting = 0
        """Proposals that the leader has not answered yet."""

    def forward(self, proposals: list[Proposal], leader: str, term: int, now: float) -> None:
        """Send `proposals`, in as few messages as the size limit allows."""
        batch: list[Proposal] = []
        size = 0
        for proposal in proposals:
            if batch and size + len(proposal.data) > self._settings.max_message_bytes:
                self._start(batch, leader, term, now)
                batch, size = [], 0
            batch.append(proposal)
            size += len(proposal.data)
        if batch:
            self._start(batch, leader, term, now)

    def _start(self, proposals: list[Proposal], leader: str, term: int, now: float) -> None:
        self._number += 1
        deadline = now + self._settings.proposal_timeout_s
        forward = _Forward(self._number, term, leader, proposals, deadline, now)
        self._sent[self._number] = forward
        self.waiting += len(proposals)
        self._transmit(forward)

    def _transmit(self, forward: _Forward) -> None:
        proposals = [proposal.data for proposal in forward.proposals]
        data = {"type": "forward", "term": forward.term, "number": forward.number, "proposals": proposals}
        self._send(data, forward.leader)

    def answered(self, data: Data) -> bool:
        """Take the leader's answer; True when entries are now waited for."""
        forward = self._sent.get(data["number"])
        if forward is None or data["sender"] != forward.leader or data["term"] != forward.term:
            return False
        self._drop(forward)
        futures = [proposal.future for proposal in forward.proposals]
        if data["accepted"]:
            self._waiters.add(data["first_index"], data["entry_term"], futures, forward.deadline)
            return True
        refusal: ProposalError = NotLeader("the leader is handing over")
        if data["code"] == OVERLOADED:
            refusal = Overloaded("the leader has too much waiting")
        fail(futures, refusal)
        return False

    def _drop(self, forward: _Forward) -> None:
        del self._sent[forward.number]
        self.waiting -= len(forward.proposals)

    def tick(self, leader: str | None, term: int, now: float) -> None:
        """Give up what nobody will answer any more; repeat what may have been lost."""
        for forward in list(self._sent.values()):
            if (forward.leader, forward.term) != (leader, term) or forward.deadline <= now:
                self._drop(forward)
                futures = [proposal.future for proposal in forward.proposals]
                fail(futures, OutcomeUnknown("the leader changed before it answered"))
            elif now - forward.sent_at >= self._settings.forward_retry_s:
                forward.sent_at = now
                self._transmit(forward)

    def close(self) -> None:
        self.tick(None, -1, float("inf"))


class AnsweredForwards:
    """What one life of one follower was told, so that a repeated or doubled message appends nothing again."""

    def __init__(self) -> None:
        self._answers: OrderedDict[int, Data] = OrderedDict()
        self._floor = 0

    def find(self, number: int) -> Data | None:
        return self._answers.get(number)

    def forgotten(self, number: int) -> bool:
        """Whether it may have been answered so long ago that the answer is gone."""
        return number <= self._floor

    def note(self, number: int, response: Data) -> None:
        self._answers[number] = response
        if len(self._answers) > _REMEMBERED:
            self._floor = max(self._floor, self._answers.popitem(last=False)[0])


@dataclass(slots=True)
class _Sender:
    life: int
    heard_at: float
    told: AnsweredForwards = field(default_factory=AnsweredForwards)
    ended: deque[int] = field(default_factory=lambda: deque(maxlen=_ENDED_LIVES))
    """Earlier lives: what comes of them is a late copy, for which nobody waits."""


class AnsweredSenders:
    """What each follower was told in its present life; those that were not heard for long are forgotten."""

    def __init__(self) -> None:
        self._senders: OrderedDict[str, _Sender] = OrderedDict()
        """The one that was heard last comes last."""

    def __len__(self) -> int:
        return len(self._senders)

    def of(self, sender: str, number: int, now: float) -> AnsweredForwards | None:
        """What `sender` was told in the life that this number is of; None if that life has ended."""
        life, senders = number >> LIFE_SHIFT, self._senders
        known = senders.get(sender)
        if known is None:
            known = senders[sender] = _Sender(life, now)
        elif life in known.ended:
            return None
        elif life != known.life:
            known.ended.append(known.life)
            known.life, known.told = life, AnsweredForwards()
        known.heard_at = now
        senders.move_to_end(sender)
        while len(senders) > _SENDERS or next(iter(senders.values())).heard_at < now - _FORGET_S:
            senders.popitem(last=False)
        return known.told


def fail(futures: list[asyncio.Future[int]], error: ProposalError) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(type(error)(*error.args))
