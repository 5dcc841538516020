"""raftos' Follower and Candidate with the rules of Raft put right. The leader is in leader.py.

A role never waits: what must be on the disk before it is said is said from the writer's callback.
"""

from __future__ import annotations

from node.consensus.port import Committed
from node.consensus.raftos import library
from node.consensus.raftos.log import Log
from node.consensus.raftos.state import DeadlineTimer, RaftState
from node.consensus.raftos.wire import Data
from node.consensus.raftos.writer import HardState


class Role:
    """What every role does alike."""

    state: RaftState
    id: str
    log: Log
    storage: HardState

    def election_interval(self) -> float:
        settings = self.state.settings
        return self.state.random.uniform(settings.election_min_s, settings.election_max_s)

    def on_receive_request_vote(self, data: Data) -> None:
        if data["pre_vote"]:
            self._answer_pre_vote(data)
            return
        if data["term"] > self.storage.term:
            if self.state.hears_leader and not data["transfer"]:
                return  # a voter that lost touch must not depose a leader whom the others hear
            self.state.raise_term(data["term"])
            self.state.state.on_receive_request_vote(data)
            return
        granted = (
            data["term"] == self.storage.term
            and self.storage.voted_for in (None, data["candidate_id"])
            and self.state.may_elect(data)
        )
        if granted:
            if not isinstance(self, library.Follower):
                self.state.to_follower()
            self.state.state.grant_vote(data)
        else:
            self._send_vote(data["sender"], self.storage.term, granted=False, pre_vote=False)

    def _answer_pre_vote(self, data: Data) -> None:
        granted = data["term"] > self.storage.term and not self.state.hears_leader and self.state.may_elect(data)
        self._send_vote(
            data["sender"], data["term"] if granted else self.storage.term, granted=granted, pre_vote=True
        )

    def _send_vote(self, to: str, term: int, *, granted: bool, pre_vote: bool) -> None:
        response = {"type": "request_vote_response", "term": term, "vote_granted": granted, "pre_vote": pre_vote}
        self.state.server.send(response, to)

    def on_receive_request_vote_response(self, data: Data) -> None:
        if data["term"] > self.storage.term and not (data["pre_vote"] and data["vote_granted"]):
            self.state.raise_term(data["term"])

    def on_receive_append_entries(self, data: Data) -> None:
        if data["term"] < self.storage.term:
            refusal = {
                "type": "append_entries_response",
                "term": self.storage.term,
                "success": False,
                "request_id": data["request_id"],
                "prev_log_index": data["prev_log_index"],
                "conflict_index": self.log.last_log_index + 1,
                "conflict_term": 0,
            }
            self.state.server.send(refusal, data["sender"])
            return
        if data["term"] > self.storage.term:
            self.state.raise_term(data["term"])
        self.state.state.follow(data)

    def follow(self, data: Data) -> None:
        """A message of this term's leader."""
        raise NotImplementedError

    def on_receive_install_snapshot(self, data: Data) -> None:
        if data["term"] < self.storage.term:
            refusal = {
                "type": "install_snapshot_response",
                "term": self.storage.term,
                "index": data["meta"].index,
                "next_offset": 0,
                "installed": False,
                "request_id": data["request_id"],
            }
            self.state.server.send(refusal, data["sender"])
            return
        if data["term"] > self.storage.term:
            self.state.raise_term(data["term"])
        self.state.state.take_piece(data)

    def take_piece(self, data: Data) -> None:
        """A piece of a snapshot of this term's leader."""

    def on_receive_install_snapshot_response(self, data: Data) -> None:
        if data["term"] > self.storage.term:
            self.state.raise_term(data["term"])

    def on_receive_append_entries_response(self, data: Data) -> None:
        if data["term"] > self.storage.term:
            self.state.raise_term(data["term"])

    def on_receive_timeout_now(self, data: Data) -> None:
        """Only a follower takes over."""

    def on_receive_forward(self, data: Data) -> None:
        """Nobody but the leader may say what became of a proposal, not even that nothing did."""

    def on_receive_forward_response(self, data: Data) -> None:
        self.state.server.forwarded(data)

    def on_receive_read_index(self, data: Data) -> None:
        """Only a leader answers; whoever asks, asks again."""

    def on_receive_read_index_response(self, data: Data) -> None:
        self.state.server.read_answered(data)

    def on_durable(self) -> None:
        """The writer came further."""


class Follower(Role, library.Follower):
    def __init__(self, state: RaftState) -> None:
        super().__init__(state)
        self.election_timer = DeadlineTimer(self.election_interval, self.start_election)
        self._matched = 0
        """Up to here the log is known to equal the leader's of this term."""
        self._owed: Data | None = None
        """The append to be answered when its entries are on the disk."""
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
        if not data["entries"] and not data["wall_us"]:
            # A notice of the commit index, neither heartbeat nor entries: nobody waits for an answer.
            return
        if upto <= self.state.writer.durable_index:
            self._accept(data)
        else:
            self._owed = data

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
        }
        self.state.server.send(response, data["sender"])

    def on_durable(self) -> None:
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

    def _again(self) -> None:
        if self.state.can_campaign():
            self.state.to_candidate()
        else:
            self.state.to_follower()

    def _patience(self) -> float:
        """Until it tries again; soon, and by chance, when its votes were split: nobody else is about to win."""
        settings = self.state.settings
        if self._lost:
            return self.state.random.uniform(settings.heartbeat_s, settings.election_min_s)
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
        }
        for peer in self.state.cluster:
            if peer not in self._votes:
                self.state.server.send(request, peer)

    def on_receive_request_vote_response(self, data: Data) -> None:
        asked = self.storage.term + self.pre_vote
        votes = self.state.memberships.current.is_voter(data["sender"])
        if votes and data["pre_vote"] == self.pre_vote and data["vote_granted"] and data["term"] == asked:
            self._votes[data["sender"]] = True
            self._count()
        elif data["term"] > self.storage.term and not (data["pre_vote"] and data["vote_granted"]):
            self.state.raise_term(data["term"])
        elif votes and not data["pre_vote"] and not self.pre_vote and data["term"] == asked:
            self._votes.setdefault(data["sender"], False)
            if self._willing and self._willing <= self._votes.keys() and not self._lost:
                self._lost = True
                self.election_timer.reset()

    def _count(self) -> None:
        if not self.state.is_majority(sum(self._votes.values())):
            return
        if self.pre_vote:
            self._stand()
        else:
            self.state.to_leader()

    def follow(self, data: Data) -> None:
        self.state.to_follower()
        self.state.state.follow(data)

    def take_piece(self, data: Data) -> None:
        self.state.to_follower()
        self.state.state.take_piece(data)
