"""The engine's roles as the simulation runs them: they also count what they get to do, and tell the checkers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from node.consensus.membership import Membership
from node.consensus.port import Committed
from node.consensus.raftos import roles
from node.consensus.raftos.leader import Leader
from node.consensus.raftos.library import BaseState
from node.consensus.raftos.wire import Data

if TYPE_CHECKING:
    from tests.sim.engine_world import World


def watched_roles(world: World) -> Mapping[str, type[BaseState]]:
    """Those of one world, by raftos' names."""
    return {"Follower": _follower(world), "Candidate": _candidate(world), "Leader": _leader(world)}


def _follower(world: World) -> type[BaseState]:
    counts = world.counts

    class CountingFollower(roles.Follower):
        def _take(self, entries: list[Committed]) -> None:
            cuts = self.log.cuts
            super()._take(entries)
            counts["cut suffixes"] += self.log.cuts - cuts

        def _refuse(self, data: Data) -> None:
            counts["appends refused: other term" if self.log.term_at(data["prev_log_index"]) else "too short"] += 1
            super()._refuse(data)

        def _send_vote(self, to: str, term: int, *, granted: bool, pre_vote: bool) -> None:
            super()._send_vote(to, term, granted=granted, pre_vote=pre_vote)
            if granted and not pre_vote:
                world.members_checker.voted(self.id, term, to)
                world.happened("vote", self.id)

        def on_receive_timeout_now(self, data: Data) -> None:
            counts["transfers asked"] += 1
            super().on_receive_timeout_now(data)

    return CountingFollower


def _candidate(world: World) -> type[BaseState]:
    counts = world.counts

    class CountingCandidate(roles.Candidate):
        def _again(self) -> None:
            counts["elections without a winner" if not self.pre_vote else "pre-votes without a majority"] += 1
            super()._again()

        def on_receive_request_vote_response(self, data: Data) -> None:
            counts["stale votes"] += data["vote_granted"] and data["term"] < self.storage.term
            counts["doubled votes"] += data["sender"] in self._votes
            super().on_receive_request_vote_response(data)

    return CountingCandidate


def _leader(world: World) -> type[BaseState]:
    counts = world.counts

    class CountingLeader(Leader):
        def start(self) -> None:
            counts["leaders"] += 1
            world.checker.led(self.id, self.storage.term, self.log)
            world.members_checker.led(self.id, self.storage.term, world.engines[self.id])
            super().start()
            world.happened("leader", self.id)

        def change(self, membership: Membership, proposal: bytes) -> int:
            index = super().change(membership, proposal)
            world.members_checker.changes(self.id, world.engines[self.id])
            return index

        def _lost_quorum(self) -> None:
            counts["step-downs without quorum"] += 1
            super()._lost_quorum()

        def _append_forward(self, data: Data) -> Data:
            counts["forwards"] += 1
            return super()._append_forward(data)

        def on_receive_forward(self, data: Data) -> None:
            counts["forwards arrived"] += 1
            super().on_receive_forward(data)

        def update_commit_index(self) -> None:
            before, older = self.log.commit_index, self.log.term_at(self.log.commit_index + 1) < self.storage.term
            super().update_commit_index()
            if self.log.commit_index > before:
                world.members_checker.commits(self.id, self.log.commit_index, world.engines)
            if self.log.commit_index > before and older:
                counts["older terms committed"] += 1
                world.happened("commit", self.id)

    return CountingLeader
