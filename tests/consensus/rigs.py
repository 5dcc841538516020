"""One voter under test, driven by messages on virtual time; what the published raftos and ours have in common."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from node.consensus.port import Committed, StateCopy
from node.consensus.raftos.engine import RaftosEngine
from node.consensus.raftos.journal import Journal, encode_entries
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.wire import Codec, Data, decode
from tests.sim.env import SimMachine
from tests.sim.loop import SimLoop

ME, *OTHERS = ALL = [f"10.0.0.{number}:1" for number in range(1, 8)]
B, C, D, E = OTHERS[:4]
CLUSTER = "cluster"
SEGMENT_BYTES = 64 * 1024


class Rig(ABC):
    """A voter called ME among `voters`, whose peers are played by the test."""

    def __init__(self, folder: Path, voters: int = 3) -> None:
        self.folder = folder
        self.peers = OTHERS[: voters - 1]
        self.sent: list[Data] = []
        """Messages that left, in order; `to` says for whom."""
        self.on_sent: Callable[[Data], None] = lambda _data: None

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def restart(self) -> None:
        """End as by kill -9 and start again."""

    @abstractmethod
    def give(self, data: Data) -> None:
        """A message arrives; `sender` says from whom."""

    @abstractmethod
    def propose(self, text: str) -> Awaitable[Any]: ...

    @property
    @abstractmethod
    def role(self) -> str: ...

    @property
    @abstractmethod
    def term(self) -> int: ...

    @property
    @abstractmethod
    def commit(self) -> int: ...

    @property
    @abstractmethod
    def log(self) -> list[tuple[int, str]]:
        """Term and text of each entry; a leader's no-op has the text ''."""

    @property
    @abstractmethod
    def election_s(self) -> tuple[float, float]: ...

    async def settle(self) -> None:
        """Let everything happen that needs no timer of the protocol."""
        await asyncio.sleep(0.02)

    def taken(self, kind: str) -> list[Data]:
        """What left of this kind since the last call; the rest is forgotten too."""
        found = [data for data in self.sent if data["type"] == kind]
        self.sent.clear()
        return found

    def ask_vote(
        self,
        candidate: str,
        term: int,
        last_index: int = 0,
        last_term: int = 0,
        *,
        pre_vote: bool = False,
        begins: bool = False,
    ) -> None:
        self.give(
            {
                "type": "request_vote",
                "sender": candidate,
                "term": term,
                "candidate_id": candidate,
                "last_log_index": last_index,
                "last_log_term": last_term,
                "pre_vote": pre_vote,
                "transfer": False,
                "begins": begins,
            }
        )

    def append(
        self,
        leader: str,
        term: int,
        prev: tuple[int, int] = (0, 0),
        entries: list[tuple[int, str]] | None = None,
        commit: int = 0,
        request: int = 1,
        counts: tuple[int, int] = (0, 0),
    ) -> None:
        """`prev` and the entries as (index, term) and (term, text)."""
        self.give(
            {
                "type": "append_entries",
                "sender": leader,
                "term": term,
                "leader_id": leader,
                "prev_log_index": prev[0],
                "prev_log_term": prev[1],
                "entries": entries or [],
                "commit_index": commit,
                "request_id": request,
                "wall_us": 0 if entries else 1,
                "counts": counts,
            }
        )

    def appended(self, follower: str, term: int, last_index: int, request: int = 1, blank_life: int = 0) -> None:
        """A follower says that it has everything up to `last_index`."""
        self.give(
            {
                "type": "append_entries_response",
                "sender": follower,
                "term": term,
                "success": True,
                "updated": True,
                "last_log_index": last_index,
                "request_id": request,
                "blank_life": blank_life,
            }
        )

    def refused(self, follower: str, term: int, prev_index: int, request: int = 1) -> None:
        self.give(
            {
                "type": "append_entries_response",
                "sender": follower,
                "term": term,
                "success": False,
                "request_id": request,
                "prev_log_index": prev_index,
                "conflict_index": 1,
                "conflict_term": 0,
            }
        )

    def vote(
        self,
        voter: str,
        term: int,
        *,
        granted: bool = True,
        pre_vote: bool = False,
        empty: bool = False,
        blank: bool = False,
    ) -> None:
        self.give(
            {
                "type": "request_vote_response",
                "sender": voter,
                "term": term,
                "vote_granted": granted,
                "pre_vote": pre_vote,
                "empty": empty,
                "blank": blank,
            }
        )

    async def stand(self) -> int:
        """Wait until it asks for votes, granting pre-votes; the term that it asks for."""
        while True:
            for request in self.taken("request_vote"):
                if not request.get("pre_vote"):
                    return int(request["term"])
                self.vote(request["to"], request["term"], pre_vote=True)
            await asyncio.sleep(0.005)

    async def lead(self) -> int:
        """Make it leader; its term."""
        term = await self.stand()
        for peer in self.peers:
            self.vote(peer, term)
        await self.settle()
        assert self.role == "leader"
        return term


class Ours(Rig):
    """The engine on a simulated machine."""

    def __init__(
        self,
        folder: Path | None = None,
        voters: int = 3,
        settings: RaftSettings | None = None,
        me: str = ME,
        standby: bool = False,
        emptied: bool = False,
    ) -> None:
        """A `standby` is a member of nothing yet; the others that the test plays are the cluster.

        It remembers what it promised, which is nothing, unless it was `emptied`.
        """
        super().__init__(folder or Path(), voters)
        self.me, self.standby = me, standby
        self.peers = [voter for voter in ALL[:voters] if voter != me]
        self.settings = settings or RaftSettings(segment_bytes=SEGMENT_BYTES)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        self.machine = SimMachine(loop, me, seed=1)
        self.host = Host()
        if not emptied:
            with_log(self, [], 0, vote=me)

    async def start(self) -> None:
        self.life, env = self.machine.boot()
        voters = {} if self.standby else {voter: voter for voter in (self.me, *self.peers)}
        self.engine = RaftosEngine(
            env, self.host, self.me, voters, CLUSTER, self._note, self.settings, address=self.me
        )
        self.host.engine = self.engine
        await self.life.spawn(self.engine.start())

    def _note(self, address: str, message: Any) -> None:
        data = decode(message)
        assert data is not None
        self.sent.append({**data, "to": message.to})
        self.on_sent(data)

    async def restart(self) -> None:
        self.machine.kill()
        await self.start()

    async def lose_power(self) -> None:
        self.machine.power_loss()
        await self.start()

    def give(self, data: Data) -> None:
        data = dict(data)
        if "entries" in data:
            first = data["prev_log_index"] + 1
            entries = [
                Committed(index, term, text.encode(), *membership)
                for index, (term, text, *membership) in enumerate(data["entries"], first)
            ]
            data["entries"] = entries
        codec = Codec(CLUSTER, data["sender"], data["sender"])
        self.life.call(self.engine.receive, codec.encode(data, self.me))

    def propose(self, text: str) -> Awaitable[int]:
        return self.life.spawn(self.engine.propose(text.encode()))

    @property
    def role(self) -> str:
        return self.engine.role.value

    @property
    def term(self) -> int:
        return self.engine.term

    @property
    def commit(self) -> int:
        return self.engine.commit_index

    @property
    def log(self) -> list[tuple[int, str]]:
        return [(entry.term, entry.data.decode(errors="replace")) for entry in self.engine._log.entries]

    @property
    def election_s(self) -> tuple[float, float]:
        return self.settings.election_min_s, self.settings.election_max_s


class Host:
    """A daemon that applies nothing."""

    def __init__(self) -> None:
        self.engine: RaftosEngine | None = None
        self.errors: list[Exception] = []
        self.applied_to = (0, 0, b"")
        self.digests: list[tuple[str, int, bytes]] = []
        self.clocks: list[tuple[str, int]] = []

    def stamp(self, proposal: bytes) -> bytes:
        return proposal

    def noop(self) -> bytes:
        return b""

    def committed(self) -> None:
        pass

    def role_changed(self) -> None:
        pass

    def observe_clock(self, peer: str, wall_us: int) -> None:
        self.clocks.append((peer, wall_us))

    def applied(self) -> tuple[int, int, bytes]:
        return self.applied_to

    def recovery_epoch(self) -> int:
        return 0

    def peer_digest(self, peer: str, index: int, digest: bytes) -> None:
        self.digests.append((peer, index, digest))

    def agreed_digest(self) -> tuple[int, bytes]:
        return 0, b""

    def check_digest(self, index: int, digest: bytes) -> None:
        pass

    async def copy_state(self) -> StateCopy:
        raise OSError("nothing is applied here")

    def installed(self) -> None:
        pass

    def fatal(self, error: Exception) -> None:
        self.errors.append(error)


def with_log(voter: Ours, terms: list[int], term: int, vote: str = "") -> Ours:
    """Put a log on the disk of a voter that has not started; entries of one index and term are equal everywhere."""
    journal = Journal(voter.machine.disk("raft"), random.Random(1), SEGMENT_BYTES)
    journal.recover()
    entries = [Committed(index, of, f"{index}/{of}".encode()) for index, of in enumerate(terms, 1)]
    journal.commit(encode_entries(entries), term, vote)
    return voter
