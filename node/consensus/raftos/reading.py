"""Read index (dissertation 6.4): what a linearizable read must wait for, on the leader and asked from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from node.consensus.port import NotLeader, Overloaded
from node.consensus.raftos.leader import Leader
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.state import RaftState
from node.consensus.raftos.wire import Data

_LIFE_SHIFT = 32


@dataclass(slots=True)
class _Caller:
    future: asyncio.Future[int]
    deadline: float


class Reads:
    """Reads of one voter. Those that come together share a question; one question is under way at a time.

    A question may be repeated, also to another leader: whoever confirms it did so after it was first asked.
    """

    def __init__(self, settings: RaftSettings, life: int, send: Callable[[Data, str], None]) -> None:
        self._settings, self._send = settings, send
        self._number = life << _LIFE_SHIFT
        self._gathered: list[_Caller] = []
        self._asked: list[_Caller] = []
        self._sent_at = 0.0

    async def ask(self, state: RaftState) -> int:
        """Raises NotLeader, also when nobody confirms in time; Overloaded."""
        if state.leader is None:
            raise NotLeader("no leader is known")
        if len(self._gathered) >= self._settings.max_pending:
            raise Overloaded("too many reads wait already")
        caller = _Caller(state.loop.create_future(), state.loop.time() + self._settings.read_timeout_s)
        self._gathered.append(caller)
        state.server.log_changed()
        return await caller.future

    def flush(self, state: RaftState) -> None:
        """Once per turn of the loop: ask for all who have come."""
        role = state.state
        if isinstance(role, Leader):
            callers, self._gathered, self._asked = self._asked + self._gathered, [], []
            if callers:
                role.read_index().add_done_callback(lambda done: _settle(callers, done))
        elif self._gathered and not self._asked and state.leader is not None:
            self._asked, self._gathered = self._gathered, []
            self._number += 1
            self._transmit(state)

    def _transmit(self, state: RaftState) -> None:
        self._sent_at = state.loop.time()
        if state.leader is not None:
            question = {"type": "read_index", "term": state.storage.term, "number": self._number}
            self._send(question, state.leader)

    def answered(self, data: Data) -> None:
        if data["confirmed"] and data["number"] == self._number:
            for caller in self._asked:
                if not caller.future.done():
                    caller.future.set_result(data["index"])
            self._asked = []

    def tick(self, state: RaftState) -> None:
        """Give up what took too long; ask again what may have been lost."""
        now = state.loop.time()
        self._gathered, self._asked = _in_time(self._gathered, now), _in_time(self._asked, now)
        if isinstance(state.state, Leader):
            self.flush(state)
        elif self._asked and now - self._sent_at >= self._settings.forward_retry_s:
            self._transmit(state)

    def stop(self) -> None:
        self._gathered, self._asked = _in_time(self._gathered, float("inf")), _in_time(self._asked, float("inf"))


def _in_time(callers: list[_Caller], now: float) -> list[_Caller]:
    """Those that may wait on; the others end as NotLeader."""
    for caller in callers:
        if caller.deadline <= now and not caller.future.done():
            caller.future.set_exception(NotLeader("no leader confirmed in time that it leads"))
    return [caller for caller in callers if not caller.future.done()]


def _settle(callers: list[_Caller], done: asyncio.Future[int]) -> None:
    error = done.exception()
    for caller in callers:
        if caller.future.done():
            continue
        if error is None:
            caller.future.set_result(done.result())
        else:
            caller.future.set_exception(NotLeader(*error.args))
