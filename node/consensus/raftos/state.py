"""raftos' State: it holds what outlives a role, and hands messages to the role in force."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from typing import Protocol

import structlog

from node.consensus.freshness import Freshness
from node.consensus.port import Host
from node.consensus.raftos import library
from node.consensus.raftos.log import Log
from node.consensus.raftos.loglife import LogLife
from node.consensus.raftos.memberships import Memberships
from node.consensus.raftos.receiving import Receiver
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.wire import Data
from node.consensus.raftos.writer import HardState, Writer
from node.env import Clock


class Server(Protocol):
    """What raftos calls the server: who else votes, how to reach them, whom to tell."""

    cluster: list[str]
    """Ids of the other voters, in order, by the membership in force."""
    freshness: Freshness

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def send(self, data: Data, destination: str) -> None: ...

    def broadcast(self, data: Data) -> None: ...

    def role_changed(self) -> None: ...

    def log_changed(self) -> None:
        """The log, the commit index or what the peers should know has changed."""

    def membership_changed(self) -> None:
        """Another membership is in force."""

    def forwarded(self, data: Data) -> None: ...

    def read_answered(self, data: Data) -> None: ...


class DeadlineTimer(library.Timer):
    """raftos' timer for deadlines that are moved far more often than they pass: reset() only notes the new one."""

    def start(self) -> None:
        self.is_active = True
        self._deadline = self.loop.time() + self.get_interval()
        self.handler = self.loop.call_at(self._deadline, self._run)

    def reset(self) -> None:
        if self.is_active:
            self._deadline = self.loop.time() + self.get_interval()
            if self._deadline < self.handler.when():
                self.handler.cancel()
                self.handler = self.loop.call_at(self._deadline, self._run)

    def hasten(self, within_s: float) -> None:
        """Pass in `within_s` seconds, unless that is later than it would."""
        deadline = self.loop.time() + within_s
        if self.is_active and deadline < self._deadline:
            self._deadline = deadline
            self.handler.cancel()
            self.handler = self.loop.call_at(deadline, self._run)

    def _run(self) -> None:
        if not self.is_active:
            return
        if self.loop.time() >= self._deadline:
            self._deadline = self.loop.time() + self.get_interval()
            self.callback()
        if self.is_active:
            self.handler = self.loop.call_at(self._deadline, self._run)


class RaftState(library.State):
    """The container that switches roles and hands messages to the one in force."""

    server: Server

    def __init__(
        self,
        server: Server,
        own_id: str,
        host: Host,
        clock: Clock,
        rng: random.Random,
        settings: RaftSettings,
        log: Log,
        memberships: Memberships,
        storage: HardState,
        writer: Writer,
        life: LogLife,
        roles: Mapping[str, type[library.BaseState]],
        life_number: int = 1,
    ) -> None:
        # Not super().__init__: it opens files of its own and writes the loop into the class.
        self.server, self.id, self.loop = server, own_id, server.loop
        self.host, self.clock, self.random, self.settings = host, clock, rng, settings
        self.log, self.memberships, self.storage, self.writer = log, memberships, storage, writer
        self.life = life
        self.receiver = Receiver(life, writer, host, self._answer_piece)
        self.state_machine = None
        self.leader: str | None = None
        self.leader_heard_at = -math.inf
        self._leader_gone = False
        """Its process has ended, as far as that can be seen from here, and nothing came from it since."""
        self.may_campaign = True
        self.transfer_asked = False
        self._removed_at = 0
        self._roles = roles
        self._life_number = life_number
        self.state = roles["Follower"](self)

    def start(self) -> None:
        self.state.start()
        if self.storage.blank and self.memberships.current.is_voter(self.id):
            log = structlog.get_logger(node=self.id)
            log.info("this voter has no log: it waits for all voters to begin, or for a leader that has one")
        if not self.server.cluster:
            self.loop.call_soon(self.campaign)

    def _change_state(self, new_state: type[library.BaseState]) -> None:
        self.state.stop()
        self.state = self._roles[new_state.__name__](self)
        self.state.start()
        self.server.role_changed()

    def _answer_piece(self, piece: Data, next_offset: int, installed: bool) -> None:
        response = {
            "type": "install_snapshot_response",
            "term": self.storage.term,
            "index": piece["meta"].index,
            "next_offset": next_offset,
            "installed": installed,
            "request_id": piece["request_id"],
            "blank_life": self.blank_life,
        }
        self.server.send(response, piece["sender"])

    def set_leader(self, leader: str | library.BaseState | None) -> None:
        found = leader.id if isinstance(leader, library.BaseState) else leader
        self._leader_gone = False
        if found != self.leader:
            self.leader = found
            self.server.role_changed()

    def is_majority(self, count: int) -> bool:
        return self.memberships.current.is_majority(count)

    @property
    def cluster(self) -> list[str]:
        return self.server.cluster

    def get_sender_id(self, sender: str) -> str:
        return sender

    def request_handler(self, data: Data) -> None:
        if hasattr(self.state, f"on_receive_{data['type']}"):
            super().request_handler(data)

    @property
    def hears_leader(self) -> bool:
        """Whether a leader was heard of too recently to help another one to power."""
        return self.leader is not None and (
            self.leader == self.id
            or (not self._leader_gone and self.loop.time() - self.leader_heard_at < self.settings.election_min_s)
        )

    def lose_leader(self) -> None:
        """The leader's process has ended: help another one to power, and stand soon if it stays silent.

        A leader that lives is heard within a heartbeat, so whatever breaks between it and this voter alone is
        forgotten by then; and nobody is elected by voters that hear it.
        """
        self._leader_gone = True
        self.stand_within(self.settings.heartbeat_s, 2 * self.settings.heartbeat_s)

    def stand_within(self, least_s: float, most_s: float) -> None:
        """Let a follower's patience end so soon, by chance."""
        timer = getattr(self.state, "election_timer", None)
        if isinstance(self.state, library.Follower) and isinstance(timer, DeadlineTimer):
            timer.hasten(self.random.uniform(least_s, most_s))

    def may_elect(self, candidate: Data) -> bool:
        """Whether nothing that this voter keeps, or may have kept, is missing in the candidate's log.

        Who may have lost that with its disk helps only a cluster that begins: all its voters are without a log.
        """
        if self.storage.blank and (self.log.last_log_index or candidate["last_log_index"]):
            return False
        if self.storage.blank and not (candidate["pre_vote"] or candidate["begins"]):
            return False
        return self.log.up_to_date(candidate["last_log_index"], candidate["last_log_term"])

    @property
    def notice(self) -> str:
        """What keeps this voter from its vote while nobody leads, and the remedy; empty when nothing does."""
        if self.leader is not None or not (self.storage.blank and self.memberships.current.is_voter(self.id)):
            return ""
        return (
            f"{self.id} began with an empty data folder, so it may have forgotten a vote: it gives none until all "
            "voters are up, or one leads that has the log. Start the voters that are down."
        )

    @property
    def blank_life(self) -> int:
        """This life's number, while what it promised in earlier ones may be lost; else 0."""
        return self._life_number if self.storage.blank else 0

    def make_whole(self) -> None:
        """It has every entry that it can have acknowledged in an earlier life, and may vote."""
        structlog.get_logger(node=self.id).info("this voter counts from here on", index=self.log.last_log_index)
        self.storage.make_whole()

    def can_campaign(self) -> bool:
        """Whether it may lead, as far as that depends on its own replica and disk."""
        stalled = self.writer.full or self.writer.stalled_s > self.settings.step_down_s
        return self.may_campaign and not stalled

    def campaign(self, transfer: bool = False) -> None:
        """Stand for election. With `transfer`, at the leader's own wish, nobody is asked beforehand.

        Who is no voter never stands: added to no cluster yet, learning, or removed. Who is blank stands only for
        the first election.
        """
        votes = self.memberships.current.is_voter(self.id)
        if self.removed or (self.storage.blank and (transfer or self.log.last_log_index)):
            return
        if votes and self.can_campaign() and not isinstance(self.state, library.Leader):
            self.transfer_asked = transfer
            self.to_candidate()

    def removal_of(self, candidate: str) -> int:
        """Where a committed entry says that the candidate has no vote; 0 when none does."""
        memberships = self.memberships
        told = 0 < memberships.index <= self.log.commit_index and not memberships.current.is_voter(candidate)
        return memberships.index if told else 0

    @property
    def removed(self) -> bool:
        """Whether others say so, and this log lacks that committed entry: it could not win anyway."""
        return self._removed_at > self.memberships.index

    def told_removed(self, index: int) -> None:
        """Entry `index` is committed, and this voter has no vote from there on."""
        if index <= max(self._removed_at, self.memberships.index):
            return
        self._removed_at = index
        structlog.get_logger(node=self.id).warning(
            "this voter was removed while it was away, and stands for election no more",
            index=index,
            remedy=f"Leave it as a worker, or add it again with `cortex voters add {self.id}`.",
        )

    def raise_term(self, term: int) -> None:
        """Another voter is further: forget the old term's vote and follow."""
        self.storage.update({"term": term, "voted_for": None})
        self.to_follower()
