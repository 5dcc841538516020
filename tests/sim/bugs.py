"""Deliberate bugs, each a patch over the sound engine, to prove that the harness finds such things."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from node.consensus.port import Committed
from node.consensus.raftos.journal import Base, Journal, Recovered
from node.consensus.raftos.leader import Leader
from node.consensus.raftos.log import Log
from node.consensus.raftos.roles import Candidate, Follower
from node.consensus.raftos.state import RaftState
from node.consensus.raftos.wire import Data
from node.consensus.raftos.writer import HardState, Writer


@contextmanager
def _replaced(owner: type, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """`owner.name` is what `make` makes of the sound one."""
    with patch.object(owner, name, make(getattr(owner, name))):
        yield


def forget_vote() -> AbstractContextManager[None]:
    """A restart forgets whom this voter voted for."""

    def make(sound: Callable[[Journal, Base], Recovered]) -> Callable[[Journal, Base], Recovered]:
        def recover(self: Journal, snapshot: Base) -> Recovered:
            found = sound(self, snapshot)
            found.vote = ""
            return found

        return recover

    return _replaced(Journal, "recover", make)


def vote_before_sync() -> AbstractContextManager[None]:
    """A vote is given away before it is on the disk."""

    def make(sound: Callable[..., None]) -> Callable[..., None]:
        def update(self: HardState, values: Mapping[str, Any], then: Callable[[], None] | None = None) -> None:
            sound(self, values)
            if then is not None:
                self._writer._loop.call_soon(then)

        return update

    return _replaced(HardState, "update", make)


def count_doubled_votes() -> AbstractContextManager[None]:
    """Every granted vote counts, also the second one of the same voter."""

    def make(sound: Callable[..., None]) -> Callable[..., None]:
        def on_receive(self: Candidate, data: Data) -> None:
            due = (True, self.pre_vote, self.storage.term + self.pre_vote)
            granted = (data["vote_granted"], data["pre_vote"], data["term"]) == due
            if granted and data["sender"] in self._votes:
                self._votes[f"{data['sender']} {len(self._votes)}"] = True
            sound(self, data)

        return on_receive

    return _replaced(Candidate, "on_receive_request_vote_response", make)


def count_stale_votes() -> AbstractContextManager[None]:
    """A vote of an older term counts in this one."""

    def make(sound: Callable[..., None]) -> Callable[..., None]:
        def on_receive(self: Candidate, data: Data) -> None:
            if data["vote_granted"] and not self.pre_vote and not data["pre_vote"]:
                data = {**data, "term": self.storage.term}
            sound(self, data)

        return on_receive

    return _replaced(Candidate, "on_receive_request_vote_response", make)


def vote_for_short_logs() -> AbstractContextManager[None]:
    """A voter does not compare logs before it votes."""
    return _replaced(Log, "up_to_date", lambda _sound: lambda _self, _index, _term: True)


def acknowledge_before_sync() -> AbstractContextManager[None]:
    """Entries count as durable as soon as they are handed to the disk."""

    def make(sound: Callable[..., None]) -> Callable[..., None]:
        def put_entries(self: Writer, entries: list[Committed]) -> None:
            sound(self, entries)
            self.durable_index = max(self.durable_index, entries[-1].index)

        return put_entries

    return _replaced(Writer, "put_entries", make)


def acknowledge_before_commit() -> AbstractContextManager[None]:
    """The leader commits what it alone has on its disk."""

    def make(_sound: Callable[[Leader], None]) -> Callable[[Leader], None]:
        def update_commit_index(self: Leader) -> None:
            durable = self.state.writer.durable_index
            if durable > self.log.commit_index and self.log.term_at(durable) == self.storage.term:
                self.log.commit(durable)
                self.state.server.log_changed()

        return update_commit_index

    return _replaced(Leader, "update_commit_index", make)


def commit_older_term_by_count() -> AbstractContextManager[None]:
    """An entry of an older term is committed once a majority has it (figure 8)."""

    def make(_sound: Callable[[Leader], None]) -> Callable[[Leader], None]:
        def update_commit_index(self: Leader) -> None:
            durable = self.state.writer.durable_index
            matches = sorted([durable, *(peer.match_index for peer in self.audience.voting)], reverse=True)
            majority = min(matches[len(matches) // 2], durable)
            if majority > self.log.commit_index:
                self.log.commit(majority)
                self.state.server.log_changed()

        return update_commit_index

    return _replaced(Leader, "update_commit_index", make)


def append_without_check() -> AbstractContextManager[None]:
    """A follower takes entries whatever stands before them."""

    def make(_sound: Callable[..., bool]) -> Callable[..., bool]:
        def fits(self: Follower, data: Data) -> bool:
            return bool(data["prev_log_index"] <= self.log.last_log_index)

        return fits

    return _replaced(Follower, "_fits", make)


def keep_conflicting_suffix() -> AbstractContextManager[None]:
    """A follower keeps what it has where the leader's entries differ."""

    def make(sound: Callable[..., None]) -> Callable[..., None]:
        def take(self: Follower, entries: list[Committed]) -> None:
            sound(self, [entry for entry in entries if entry.index > self.log.last_log_index])

        return take

    return _replaced(Follower, "_take", make)


def majority_of_half() -> AbstractContextManager[None]:
    """Half of the voters is taken for a majority, as raftos does for even numbers."""

    def make(_sound: Callable[..., bool]) -> Callable[..., bool]:
        def is_majority(self: RaftState, count: int) -> bool:
            return 2 * count >= len(self.memberships.current.voters)

        return is_majority

    return _replaced(RaftState, "is_majority", make)


def append_forwards_again() -> AbstractContextManager[None]:
    """The leader appends a doubled forward twice."""

    def make(_sound: Callable[..., None]) -> Callable[..., None]:
        def on_receive_forward(self: Leader, data: Data) -> None:
            if data["term"] == self.storage.term:
                self.state.server.send(self._append_forward(data), data["sender"])

        return on_receive_forward

    return _replaced(Leader, "on_receive_forward", make)


def confirm_without_asking() -> AbstractContextManager[None]:
    """A leader confirms reads without asking anybody."""

    def make(_sound: Callable[..., Any]) -> Callable[..., Any]:
        def confirm(self: Leader) -> Any:
            future = self.state.loop.create_future()
            future.set_result(None)
            return future

        return confirm

    return _replaced(Leader, "confirm", make)


BUGS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    bug.__name__: bug
    for bug in (
        forget_vote,
        vote_before_sync,
        count_doubled_votes,
        count_stale_votes,
        vote_for_short_logs,
        acknowledge_before_sync,
        acknowledge_before_commit,
        commit_older_term_by_count,
        append_without_check,
        keep_conflicting_suffix,
        majority_of_half,
        append_forwards_again,
        confirm_without_asking,
    )
}
