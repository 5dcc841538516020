"""Who waits for a proposal on the leader: a caller in this process, or a follower that passed it on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from node.consensus.port import Overloaded, ProposalError
from node.consensus.raftos.proposals import NO_LEADER, OVERLOADED, Waiters
from node.consensus.raftos.wire import Data


class Caller:
    """Waits with a future in this process."""

    def __init__(self, future: asyncio.Future[int], waiters: Waiters, deadline: float) -> None:
        self._future, self._waiters, self._deadline = future, waiters, deadline

    def committed(self, index: int, term: int) -> None:
        if not self._future.done():
            self._future.set_result(index)

    def refused(self, error: ProposalError) -> None:
        if not self._future.done():
            self._future.set_exception(type(error)(*error.args))

    def left(self, index: int, term: int) -> None:
        self._waiters.add(index, term, [self._future], self._deadline)


class Forwarded:
    """Waits for the `count` proposals of one message, which get indexes in a row; then it is answered."""

    def __init__(self, number: int, count: int, term: int, answer: Callable[[Data], None]) -> None:
        self._number, self._left, self._term, self._answer = number, count, term, answer
        self._first_index = 0
        self._refused = False

    def committed(self, index: int, term: int) -> None:
        self._first_index = self._first_index or index
        self._left -= 1
        if not self._left and not self._refused:
            self._answer(response(self._number, self._term, first_index=self._first_index))

    def refused(self, error: ProposalError) -> None:
        # With some of them committed there is no true answer: the follower's deadline is one.
        if not self._first_index and not self._refused:
            code = OVERLOADED if isinstance(error, Overloaded) else NO_LEADER
            self._answer(response(self._number, self._term, code=code))
        self._refused = True

    def left(self, index: int, term: int) -> None:
        """The follower finds out when it sees another leader."""


def response(number: int, term: int, *, first_index: int = 0, code: str = "") -> Data:
    return {
        "type": "forward_response",
        "term": term,
        "number": number,
        "accepted": not code,
        "code": code,
        "first_index": first_index,
        "entry_term": term,
    }
