"""raftos' Follower and Candidate with the rules of Raft put right. The leader is in leader.py.

A role never waits: what must be on the disk before it is said is said from the writer's callback.
"""

from __future__ import annotations

import asyncio

from node.consensus.port import Committed
from node.consensus.raftos import library
from node.consensus.raftos.role import Role
from node.consensus.raftos.state import DeadlineTimer, RaftState
from node.consensus.raftos.wire import Data

# How long who asks for votes waits for another one that goes first.
_HOLD_HEARTBEATS = 4


class Follower(Role, library.Follower):
    def __init__(self, state: RaftState) -> None:
        super().__init__(state)
        self.election_timer = DeadlineTimer(self.election_interval, self.start_election)
        self._matched = 0
        """Up to here the log is known to equal the leader's of this term."""
        self._owed: Data | None = None
        """The append to be answered when its entries are on the disk."""
        self._counts_from: int | None = None
        """Of a blank voter: the entry with which it counts again."""
        self._agreed: tuple[int, bytes] = (0, b"")
        """What a majority has at an index that was not applied here when it was heard."""

    def start(self) -> None:
        self.election_timer.start()

    def start_election(self) -> None:
        self.state.set_leader(None)
        self.state.campaign()

    def grant_vote(self, data: Data) -> None:
        term, sender = data["term"], data["sender"]
        self.election_timer.reset()
        self.storage.update(
            {"voted_for": data["candidate_id"]},
            then=lambda: self._send_vote(sender, term, granted=True, pre_vote=False),
        )

    def _heard_leader(self, data: Data) -> None:
        self.state.leader_heard_at = self.state.loop.time()
        self.state.set_leader(data["leader_id"])
        self.election_timer.reset()

    def take_piece(self, data: Data) -> None:
        self._heard_leader(data)
        self.state.receiver.take(data)

    def follow(self, data: Data) -> None:
        self._heard_leader(data)
        if data["wall_us"]:
            self.state.host.observe_clock(data["sender"], data["wall_us"])
            self._compare(*data["agreed"])
            self._note_commit(data["commit_index"])
        if not self._fits(data):
            self._refuse(data)
            return
        upto = data["prev_log_index"] + len(data["entries"])
        self._take(data["entries"])
        self._matched = max(self._matched, upto)
        commit = min(data["commit_index"], self._matched)
        if commit > self.log.commit_index:
            self.log.commit(commit)
            self.state.server.log_changed()
        if self.storage.blank:
            self._remember(*data["counts"])
        if not data["entries"] and not data["wall_us"]:
            # A notice of the commit index, neither heartbeat nor entries: nobody waits for an answer.
            return
        if upto <= self.state.writer.durable_index:
            self._accept(data)
        else:
            self._owed = data

    def _remember(self, life: int, counts_from: int) -> None:
        """Count again once all is here that the leader says may have been promised in an earlier life."""
        if life and life == self.state.blank_life:
            self._counts_from = counts_from
        here = min(self._matched, self.state.writer.durable_index)
        if self._counts_from is not None and here >= self._counts_from:
            self.state.make_whole()

    def _note_commit(self, commit_index: int) -> None:
        """A leader that has committed nothing of its own term yet does not know what is committed."""
        state = self.state
        if commit_index > self.log.last_log_index or self.log.term_at(commit_index) == self.storage.term:
            state.server.freshness.heard(commit_index, state.host.applied()[0], state.clock.boot_us())

    def _compare(self, index: int, digest: bytes) -> None:
        """Hold this replica's digest against the majority's, or keep the latter until its index is applied here."""
        if not self._agreed[0]:
            self._agreed = (index, digest)
        if 0 < self._agreed[0] <= self.state.host.applied()[0]:
            agreed, self._agreed = self._agreed, (0, b"")
            self.state.host.check_digest(*agreed)

    def _fits(self, data: Data) -> bool:
        prev: int = data["prev_log_index"]
        return prev <= self.log.commit_index or (
            prev <= self.log.last_log_index and bool(self.log.term_at(prev) == data["prev_log_term"])
        )

    def _take(self, entries: list[Committed]) -> None:
        """Append what is not there yet; only an entry of another term at the same index replaces anything."""
        log, memberships = self.log, self.state.memberships
        known = 0
        changed = False
        for entry in entries:
            if entry.index > log.last_log_index:
                break
            if entry.index > log.commit_index and log.term_at(entry.index) != entry.term:
                log.erase_from(entry.index)
                self.state.writer.replace_from(entry.index)
                changed = memberships.cut(entry.index)
                break
            known += 1
        new = entries[known:]
        if new:
            log.append(new)
            self.state.writer.put_entries(new)
            self.state.server.log_changed()
            if memberships.append(new) or changed:
                self.state.server.membership_changed()

    def _accept(self, data: Data) -> None:
        response: Data = {
            "type": "append_entries_response",
            "term": self.storage.term,
            "success": True,
            "request_id": data["request_id"],
            "last_log_index": min(self._matched, self.state.writer.durable_index),
            "blank_life": self.state.blank_life,
        }
        if data["wall_us"]:
            response["wall_us"] = self.state.clock.wall_us()
            applied, digest_index, digest = self.state.host.applied()
            response["applied"] = (applied, digest_index, digest)
        self.state.server.send(response, data["sender"])

    def _refuse(self, data: Data) -> None:
        prev = data["prev_log_index"]
        conflict_term = self.log.term_at(prev)
        conflict_index = self.log.first_of_term(conflict_term) if conflict_term else self.log.last_log_index + 1
        response = {
            "type": "append_entries_response",
            "term": self.storage.term,
            "success": False,
            "request_id": data["request_id"],
            "prev_log_index": prev,
            "conflict_index": max(conflict_index, self.log.commit_index + 1),
            "conflict_term": conflict_term,
            "blank_life": self.state.blank_life,
        }
        self.state.server.send(response, data["sender"])

    def on_durable(self) -> None:
        if self.storage.blank:
            self._remember(0, 0)
        if self._owed is not None:
            self._accept(self._owed)
            if self.state.writer.durable_index >= self._matched:
                self._owed = None

    def on_receive_timeout_now(self, data: Data) -> None:
        if data["term"] == self.storage.term and data["sender"] == self.state.leader:
            self.state.campaign(transfer=True)


class Candidate(Role, library.Candidate):
    """First asks whether it would win (pre-vote); only then raises the term and asks for votes."""

    def __init__(self, state: RaftState) -> None:
        super().__init__(state)
        self.election_timer = DeadlineTimer(self._patience, self._again)
        self.resend_timer = library.Timer(state.settings.heartbeat_s, self.request_vote)
        self.transfer, state.transfer_asked = state.transfer_asked, False
        self.pre_vote = not self.transfer
        self._votes: dict[str, bool] = {}
        self._willing: set[str] = set()
        """Who said that it would vote for this one."""
        self._lost = False
        self._empty: set[str] = set()
        """Who granted a pre-vote without a log."""
        self._blank: set[str] = set()
        """Who of them votes only where a cluster begins."""
        self._begins = False
        self._held: asyncio.TimerHandle | None = None
        """While another one goes first, which happens once at most."""
        self._gave_way = False

    def start(self) -> None:
        self.election_timer.start()
        self.resend_timer.start()
        if self.pre_vote:
            self._votes[self.id] = True
            self.request_vote()
            self._count()
        else:
            self._stand()

    def stop(self) -> None:
        self.election_timer.stop()
        self.resend_timer.stop()
        if self._held is not None:
            self._held.cancel()

    def _again(self) -> None:
        if self.state.can_campaign():
            self.state.to_candidate()
        else:
            self.state.to_follower()

    def _patience(self) -> float:
        """Until it tries again; soon, and by chance, when its votes were split: nobody else is about to win."""
        settings = self.state.settings
        if self._lost:
            return self.state.random.uniform(settings.heartbeat_s, 4 * settings.heartbeat_s)
        return self.election_interval()

    def _stand(self) -> None:
        self.pre_vote = False
        self._willing = self._votes.keys() - {self.id}
        self._votes.clear()
        self.storage.update({"term": self.storage.term + 1, "voted_for": self.id}, then=self._voted)
        self.state.server.role_changed()

    def _voted(self) -> None:
        """Its own vote is on the disk: it counts, and the others may be asked."""
        if self.state.state is self:
            self._votes[self.id] = True
            self.request_vote()
            self._count()

    def request_vote(self) -> None:
        """Ask those who have not answered yet."""
        if not self._votes:
            return
        request = {
            "type": "request_vote",
            "term": self.storage.term + self.pre_vote,
            "candidate_id": self.id,
            "last_log_index": self.log.last_log_index,
            "last_log_term": self.log.last_log_term,
            "pre_vote": self.pre_vote,
            "transfer": self.transfer,
            "begins": self._begins,
        }
        for peer in self.state.cluster:
            if peer not in self._votes:
                self.state.server.send(request, peer)

    def on_receive_request_vote_response(self, data: Data) -> None:
        self.state.told_removed(data["removed_at"])
        if self.state.removed:
            self.state.to_follower()
            return
        asked = self.storage.term + self.pre_vote
        votes = self.state.memberships.current.is_voter(data["sender"])
        if votes and data["pre_vote"] == self.pre_vote and data["vote_granted"] and data["term"] == asked:
            self._votes[data["sender"]] = True
            if self.pre_vote and data["empty"]:
                self._empty.add(data["sender"])
            if data["blank"]:
                self._blank.add(data["sender"])
            self._count()
        elif data["term"] > self.storage.term and not (data["pre_vote"] and data["vote_granted"]):
            self.state.raise_term(data["term"])
        elif votes and not data["pre_vote"] and not self.pre_vote and data["term"] == asked:
            self._votes.setdefault(data["sender"], False)
            if self._willing and self._willing <= self._votes.keys() and not self._lost:
                self._lost = True
                self.election_timer.reset()

    def _answer_pre_vote(self, data: Data) -> bool:
        """Of two that ask at once one waits, or each would have its own vote, and neither a majority."""
        granted = super()._answer_pre_vote(data)
        if granted and self.pre_vote and not self._gave_way and self._goes_first(data):
            self._gave_way = True
            self._held = self.state.loop.call_later(_HOLD_HEARTBEATS * self.state.settings.heartbeat_s, self._go_on)
        return granted

    def _goes_first(self, data: Data) -> bool:
        """Whether that candidate has the longer log, or, where they are equal, the smaller name."""
        theirs, own = (
            (data["last_log_term"], data["last_log_index"]),
            (self.log.last_log_term, self.log.last_log_index),
        )
        votes = self.state.memberships.current.is_voter(data["sender"])
        return votes and (theirs > own or (theirs == own and bool(data["sender"] < self.id)))

    def _go_on(self) -> None:
        self._held = None
        self._count()

    def _count(self) -> None:
        if self.pre_vote:
            if self._held is None and self._may_stand():
                self._stand()
        elif self.state.is_majority(sum(self._votes.values())):
            self.state.to_leader()

    def _may_stand(self) -> bool:
        """Whether it would win. All hold the first election: who was emptied cannot tell it from a later one."""
        self._begins = not self.log.last_log_index and self._empty >= set(self.state.cluster)
        whole = sum(granted for voter, granted in self._votes.items() if voter not in self._blank)
        return self._begins or (not self.storage.blank and self.state.is_majority(whole))

    def follow(self, data: Data) -> None:
        self.state.to_follower()
        self.state.state.follow(data)

    def take_piece(self, data: Data) -> None:
        self.state.to_follower()
        self.state.state.take_piece(data)
