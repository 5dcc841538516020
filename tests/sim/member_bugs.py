"""Deliberate bugs in membership changes and reads, each a patch over the sound engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from node.consensus.membership import Change, ChangeRefused, Membership
from node.consensus.raftos import engine
from node.consensus.raftos.audience import Audience
from node.consensus.raftos.leader import Leader
from node.consensus.raftos.memberships import Memberships
from node.consensus.raftos.reading import Reads
from node.consensus.raftos.state import RaftState


@contextmanager
def count_learners() -> Iterator[None]:
    """What a learner has counts like what a voter has."""
    sound = Audience.adopt

    def adopt(self: Audience) -> None:
        sound(self)
        self.voting[:] = [peer for peer in self.progress.values() if not peer.leaves_at]

    with patch.object(Audience, "adopt", adopt):
        yield


@contextmanager
def count_the_removed() -> Iterator[None]:
    """Whoever was removed counts until it was told."""
    sound = Audience.adopt

    def adopt(self: Audience) -> None:
        sound(self)
        learners = self._state.memberships.current.learners
        self.voting[:] = [peer for peer in self.progress.values() if peer.id not in learners]

    with patch.object(Audience, "adopt", adopt):
        yield


@contextmanager
def change_without_waiting() -> Iterator[None]:
    """A change is appended before the one before it is committed."""

    def planned(leader: Leader, change: Change) -> Membership:
        if change.id == leader.id:
            raise ChangeRefused("it leads")
        return leader.state.memberships.current.after(change)

    with patch.object(engine, "planned", planned):
        yield


@contextmanager
def forget_cut_memberships() -> Iterator[None]:
    """A membership stays in force when its entry is replaced by another leader's."""
    with patch.object(Memberships, "cut", lambda _self, _index: False):
        yield


@contextmanager
def keep_the_first_membership() -> Iterator[None]:
    """A follower takes changes for decided once for all by its configuration."""

    def is_majority(self: RaftState, count: int) -> bool:
        return self.memberships._history[0][1].is_majority(count)

    with patch.object(RaftState, "is_majority", is_majority):
        yield


@contextmanager
def read_before_own_entry() -> Iterator[None]:
    """A leader answers reads before it knows what is committed."""

    def read_index(self: Leader) -> asyncio.Future[int]:
        future: asyncio.Future[int] = self.state.loop.create_future()
        self._confirm_read(future)
        return future

    with patch.object(Leader, "read_index", read_index):
        yield


@contextmanager
def read_what_is_known_here() -> Iterator[None]:
    """A follower answers reads by what it knows to be committed."""

    async def ask(_self: Reads, state: RaftState) -> int:
        return state.log.commit_index

    with patch.object(Reads, "ask", ask):
        yield


@contextmanager
def share_questions_under_way() -> Iterator[None]:
    """A read that comes while a question is under way is answered with it."""
    sound = Reads.flush

    def flush(self: Reads, state: RaftState) -> None:
        if self._asked:
            self._asked, self._gathered = self._asked + self._gathered, []
        sound(self, state)

    with patch.object(Reads, "flush", flush):
        yield


BUGS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    bug.__name__: bug
    for bug in (
        count_learners,
        count_the_removed,
        change_without_waiting,
        forget_cut_memberships,
        keep_the_first_membership,
        read_before_own_entry,
        read_what_is_known_here,
        share_questions_under_way,
    )
}
