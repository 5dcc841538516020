"""Timing and limits of the embedded engine."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class RaftSettings:
    """Defaults suit voters within 50 ms of each other. Times are seconds of the running loop."""

    heartbeat_s: float = 0.1
    election_min_s: float = 0.6
    election_max_s: float = 1.0
    step_down_s: float = 1.2
    """A leader that no majority has answered for this long steps down, and one whose own write takes longer while a
    majority of the others goes on."""
    commit_notice_s: float = 0.002
    """How long a grown commit index waits for an entry to travel with."""
    proposal_timeout_s: float = 10.0
    """A proposal that is not committed by then ends as OutcomeUnknown."""
    read_timeout_s: float = 3.0
    forward_retry_s: float = 0.2
    transfer_timeout_s: float = 1.2
    farewell_s: float = 5.0
    """How long a leader tries to tell a removed member so, once that is committed."""
    disk_stall_s: float = 5.0
    """A leader whose own write takes longer steps down, also when nobody is known to be better off."""
    disk_full_retry_s: float = 1.0

    max_proposal_bytes: int = 4 * MIB
    max_pending: int = 65_536
    max_pending_bytes: int = 64 * MIB
    max_message_bytes: int = MIB
    """Entries of one message; a single larger entry still travels, alone."""
    max_inflight: int = 8
    """Unanswered messages with entries per peer."""
    max_inflight_bytes: int = 8 * MIB
    max_write_bytes: int = 8 * MIB
    segment_bytes: int = 16 * MIB

    snapshot_entries: int = 100_000
    """A snapshot is taken when so many entries came since the last one,"""
    snapshot_log_bytes: int = 64 * MIB
    """or so many bytes; as many as the last snapshot has if that is more."""
    snapshot_retry_s: float = 10.0
    """After one that failed; twice as long after each further one, up to 32 times."""
    keep_entries: int = 10_000
    """Entries that stay in memory behind a snapshot, for slow followers;"""
    keep_bytes: int = 16 * MIB
    """at most so many bytes of them."""
    max_log_entries: int = 300_000
    """A snapshot on its way to a peer holds back the log behind it until the log is that long,"""
    max_log_bytes: int = 256 * MIB
    """or that large."""
    piece_bytes: int = MIB // 4
    """Of a snapshot, in one message; small enough that heartbeats get through between two on a slow link."""
    max_pieces: int = 8
    """Unanswered pieces per peer."""
    return_s: float = 30.0
    """How long the log waits, within the same limits, for a peer that begins anew with a snapshot."""
    stop_s: float = 3.0
    """How long a stop waits for a snapshot that is being taken or received, and for a write of the journal."""
    piece_retry_s: float = 1.0
    """A peer that did not get further for so long is asked how much it has."""

    def __post_init__(self) -> None:
        if not 0 < 2 * self.heartbeat_s <= self.election_min_s <= self.election_max_s:
            raise ValueError("need 0 < 2 * heartbeat_s <= election_min_s <= election_max_s")
        if not 0 < self.piece_bytes <= MIB:
            raise ValueError("need 0 < piece_bytes <= 1 MiB")
