"""Proposals between followers and the leader, over the members' own link."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from node.consensus.etcd.leading import Leading, Pending
from node.consensus.etcd.owners import Forwarded, response
from node.consensus.etcd.settings import EtcdSettings
from node.consensus.raftos.proposals import (
    NO_LEADER,
    OVERLOADED,
    AnsweredSenders,
    Forwarder,
    Proposal,
    Waiters,
)
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.wire import Data
from node.env import Env


class Forwards:
    """Both ends: what this member passed on, and what it was given as the leader."""

    def __init__(
        self,
        settings: EtcdSettings,
        env: Env,
        own_id: str,
        send: Callable[[Data, str], None],
        waiters: Waiters,
    ) -> None:
        self._settings, self._send = settings, send
        forwarding = RaftSettings(
            proposal_timeout_s=settings.proposal_timeout_s,
            forward_retry_s=settings.forward_retry_s,
            max_message_bytes=settings.max_message_bytes,
        )
        self._forwarder = Forwarder(forwarding, env.random.getrandbits(31), send, waiters)
        self._term = 0
        self._known = AnsweredSenders()
        self._under_way: set[tuple[str, int]] = set()

    @property
    def waiting(self) -> int:
        """Proposals that the leader has not answered yet."""
        return self._forwarder.waiting

    def forward(self, proposals: list[Proposal], leader: str, term: int) -> None:
        self._forwarder.forward(proposals, leader, term, asyncio.get_running_loop().time())

    def answered(self, data: Data) -> bool:
        """Take the leader's answer; True when entries are now waited for."""
        return self._forwarder.answered(data)

    def tick(self, leader: str | None, term: int) -> None:
        self._forwarder.tick(leader, term, asyncio.get_running_loop().time())

    def close(self) -> None:
        self._forwarder.close()

    def arrived(self, data: Data, leading: Leading) -> None:
        """Append a follower's proposals, once however often they arrive."""
        sender, number = data["sender"], data["number"]
        if data["term"] != leading.term:
            return
        if leading.term != self._term:
            self._term = leading.term
            self._known = AnsweredSenders()
            self._under_way.clear()
        known = self._known.of(sender, number, asyncio.get_running_loop().time())
        if known is None:
            return
        answer = known.find(number)
        if answer is not None:
            self._send(answer, sender)
            return
        if known.forgotten(number) or (sender, number) in self._under_way:
            return

        def note(found: Data) -> None:
            self._under_way.discard((sender, number))
            known.note(number, found)
            self._send(found, sender)

        if leading.transferring:
            note(response(number, leading.term, code=NO_LEADER))
        elif self._full(data["proposals"], leading):
            note(response(number, leading.term, code=OVERLOADED))
        else:
            self._under_way.add((sender, number))
            owner = Forwarded(number, len(data["proposals"]), leading.term, note)
            for proposal in data["proposals"]:
                leading.submit(Pending(proposal, owner))

    def _full(self, proposals: list[bytes], leading: Leading) -> bool:
        settings = self._settings
        more_bytes = sum(map(len, proposals))
        return (
            leading.waiting + len(proposals) > settings.max_pending
            or leading.waiting_bytes + more_bytes > settings.max_pending_bytes
            or max(map(len, proposals)) > settings.max_proposal_bytes
        )
