"""A leader hands over: it accepts nothing more, waits until the heir has all, and asks it to stand for election."""

from __future__ import annotations

import asyncio

from node.consensus.port import NotLeader
from node.consensus.raftos.leader import Leader
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.state import RaftState


class Handover:
    """One at a time."""

    def __init__(self, settings: RaftSettings) -> None:
        self._settings = settings
        self._steps: list[asyncio.Future[None]] = []
        self._stopped = False

    async def run(self, state: RaftState, to: str | None) -> str:
        """Hand over to `to`, or to the voter with the longest log; who leads then.

        Raises NotLeader, ValueError when `to` is not another voter, TimeoutError after which it leads on.
        """
        role = state.state
        if not isinstance(role, Leader) or not state.cluster:
            raise NotLeader("this voter does not lead, or there is nobody to hand over to")
        if to is not None and to not in state.cluster:
            raise ValueError(f"{to} is not another voter")
        if role.transferring:
            raise NotLeader("this voter is handing over already")
        role.transferring = True
        try:
            await asyncio.wait_for(self._until_gone(state, role, to), self._settings.transfer_timeout_s)
        finally:
            role.transferring = False
        return state.leader or ""

    async def _until_gone(self, state: RaftState, role: Leader, to: str | None) -> None:
        while not self._stopped and (state.state is role or state.leader is None):
            if state.state is role:
                best = to or role.audience.heir()
                if best is not None and role.progress[best].match_index == state.log.last_log_index:
                    role.hand_over(best)
            step: asyncio.Future[None] = state.loop.create_future()
            self._steps.append(step)
            retry = state.loop.call_later(self._settings.heartbeat_s / 2, _release, step)
            await step
            retry.cancel()

    def look_again(self) -> None:
        """Role, term or leader changed."""
        steps, self._steps = self._steps, []
        for step in steps:
            _release(step)

    def stop(self) -> None:
        self._stopped = True
        self.look_again()


def _release(step: asyncio.Future[None]) -> None:
    if not step.done():
        step.set_result(None)
