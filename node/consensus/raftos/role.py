"""What every role does alike."""

from __future__ import annotations

from node.consensus.raftos import library
from node.consensus.raftos.log import Log
from node.consensus.raftos.state import RaftState
from node.consensus.raftos.wire import Data
from node.consensus.raftos.writer import HardState


class Role:
    """Votes, terms, and what all but the role in force ignore."""

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

    def _answer_pre_vote(self, data: Data) -> bool:
        """Whether it was granted."""
        state, settings = self.state, self.state.settings
        may_elect = not state.hears_leader and state.may_elect(data)
        granted = may_elect and bool(data["term"] > self.storage.term)
        self._send_vote(
            data["sender"], data["term"] if granted else self.storage.term, granted=granted, pre_vote=True
        )
        if not state.hears_leader and not may_elect:
            # Whose log is shorter cannot win, and knows first that there is no leader.
            state.stand_within(0.0, settings.heartbeat_s)
        return granted

    def _send_vote(self, to: str, term: int, *, granted: bool, pre_vote: bool) -> None:
        response = {
            "type": "request_vote_response",
            "term": term,
            "vote_granted": granted,
            "pre_vote": pre_vote,
            "empty": not self.log.last_log_index,
            "blank": self.storage.blank,
            "removed_at": self.state.removal_of(to),
        }
        self.state.server.send(response, to)

    def on_receive_request_vote_response(self, data: Data) -> None:
        self.state.told_removed(data["removed_at"])
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
        raise NotImplementedError  # each role has its own

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
