"""The port between Cortex and whatever keeps its log equal on a majority of voters."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from node.consensus.freshness import Freshness
from node.consensus.membership import Change, Membership


class Role(enum.Enum):
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class Committed:
    """An entry that every voter has, or will have, at this index."""

    index: int
    term: int
    data: bytes
    membership: bytes = b""
    """An encoded Membership that is in force from this entry on, committed or not; empty when it stays."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A member as the leader sees it; elsewhere `up` and `match_index` mean nothing."""

    id: str
    address: str
    up: bool
    match_index: int
    voter: bool = True
    snapshot_sent_bytes: int = 0
    """Of the snapshot that it is sent."""
    snapshot_bytes: int = 0
    """Length of that; 0 when it is sent none."""


class ProposalError(Exception):
    """Base of what a proposal can end in beside an index."""


class NotLeader(ProposalError):
    """Nothing was appended: no leader is known, or it refused. Safe to try again."""


class Overloaded(ProposalError):
    """Nothing was appended: too much waits already. Safe to try again later."""


class TooLarge(ProposalError):
    """Nothing was appended: the proposal is over the limit. Never works."""


class Superseded(ProposalError):
    """Another entry was committed in its place: it will never be applied. Safe to try again."""


class OutcomeUnknown(ProposalError):
    """It may or may not be committed. Try again under the same request id."""


class ChangeInProgress(ProposalError):
    """Nothing was appended: the membership change before this one is not committed yet. Safe to try again."""


class TroubleKind(enum.Enum):
    DISK_FULL = "disk full"
    """Nothing can be written to the log."""
    DISK_HANGS = "disk hangs"
    """A write of the log does not end."""
    ROWS_UNSAVED = "rows unsaved"
    """What was applied cannot be saved."""
    LOG_GROWS = "log grows"
    """No snapshot could be taken, time and again, so that the log is not cut."""
    SNAPSHOT_ROTTED = "snapshot rotted"
    """A snapshot that was whole is broken. It was replaced, or will be, and is kept."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is the matter with a member's disk."""

    kind: TroubleKind
    why: str = ""
    """What more is known of it."""


class StateCopy(Protocol):
    """A consistent copy of the whole state, made without stopping applies. Its methods block."""

    @property
    def index(self) -> int:
        """The last entry in it."""

    @property
    def term(self) -> int:
        """Of that entry."""

    @property
    def at_us(self) -> int:
        """Leader time of that entry, unix."""

    @property
    def level(self) -> int: ...

    @property
    def recovery_epoch(self) -> int: ...

    def chunks(self) -> Iterator[bytes]: ...

    def close(self) -> None:
        """Remove it."""


class Host(Protocol):
    """What an engine needs from the daemon around it. All calls come from the event loop."""

    def stamp(self, proposal: bytes) -> bytes:
        """Called on the leader right before the append, in log order: puts leader time and level into it."""

    def noop(self) -> bytes:
        """The unstamped first entry of a term."""

    def committed(self) -> None:
        """commit_index has grown: fetch with entries() when ready."""

    def role_changed(self) -> None:
        """role, term, leader or membership changed."""

    def observe_clock(self, peer: str, wall_us: int) -> None:
        """A voter's wall clock, as carried by heartbeats."""

    def applied(self) -> tuple[int, int, bytes]:
        """Applied index, and the last index with a digest, and that digest (16 bytes)."""

    def recovery_epoch(self) -> int:
        """Of the state that is applied here."""

    def peer_digest(self, peer: str, index: int, digest: bytes) -> None:
        """What a voter reported of its own state."""

    def agreed_digest(self) -> tuple[int, bytes]:
        """Asked of the leader: the last index with a digest that a majority reported, and that digest."""

    def check_digest(self, index: int, digest: bytes) -> None:
        """What a majority has at an index that is applied here; stops the process when this replica has another."""

    async def copy_state(self) -> StateCopy:
        """For a snapshot: as of the last saved entry. Raises OSError."""

    def installed(self) -> None:
        """A snapshot of what this log lacks is on the disk: stop this engine and begin anew with its state."""

    def fatal(self, error: Exception) -> None:
        """The disk or the log cannot be trusted any more: the process must stop."""


class Consensus(Protocol):
    """A replicated log. Entries are opaque bytes; index counts from 1."""

    freshness: Freshness
    """What this member heard as a follower; means nothing while it leads."""

    @property
    def role(self) -> Role: ...

    @property
    def term(self) -> int: ...

    @property
    def leader(self) -> str | None:
        """Id of the leader, None while unknown."""

    @property
    def commit_index(self) -> int: ...

    @property
    def last_index(self) -> int: ...

    @property
    def snapshot_index(self) -> int:
        """Last entry of the newest snapshot on this disk; 0 when there is none."""

    @property
    def trouble(self) -> Trouble | None:
        """What an operator must know of this member's disk; of several things that which costs most."""

    @property
    def notice(self) -> str:
        """What keeps this member from its vote, and the remedy; empty when nothing does."""

    @property
    def membership(self) -> Membership:
        """In force here: of the last entry that has one, committed or not. Empty before anybody added this node."""

    def membership_at(self, index: int) -> Membership:
        """In force at a committed entry, whatever came after it. Raises LookupError when that is not known here."""

    @property
    def peers(self) -> Sequence[Peer]:
        """All members, this one included, by id."""

    async def start(self) -> None:
        """Recover what the disk has and take part. Raises JournalDamaged when it cannot be trusted."""

    async def stop(self) -> None:
        """Take part no more. Does not transfer: call transfer() first for a clean shutdown."""

    async def propose(self, proposal: bytes) -> int:
        """Index of the proposal once it is committed, from any voter. Raises a ProposalError."""

    async def change_membership(self, change: Change, proposal: bytes) -> int:
        """Add, promote or remove one member, on the leader; index of the entry once it is committed.

        The entry carries `proposal` and the new membership, which is in force as soon as it is in a log.
        Raises ChangeRefused, ChangeInProgress or another ProposalError.
        """

    def entries(self, after: int, limit: int) -> Sequence[Committed]:
        """Committed entries from after + 1 on, at most `limit`."""

    async def confirm(self) -> None:
        """Return once a quorum confirmed this leader in a heartbeat round begun after the call.

        Raises NotLeader.
        """

    async def read_index(self) -> int:
        """What a linearizable read must have applied, from any voter. Raises NotLeader, Overloaded."""

    async def transfer(self, to: str | None = None) -> str:
        """Hand leadership to `to`, or to the voter with the longest log; its id. Raises NotLeader, TimeoutError."""

    def allow_campaign(self, allowed: bool) -> None:
        """A replica that cannot save does not campaign; a leader that may not, steps down."""
