"""Timing and limits of the etcd engine."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


MARK_FOLDER, MARK = "etcd", "log"
"""In the data folder, once the log in etcd was followed from there: the embedded engine must not begin one."""


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """Times are seconds of the running loop, but for leases, which the boot clock measures."""

    lease_s: int = 3
    """Of the leader's key. etcd grants no less than one and a half of its own election time-outs."""
    lease_margin: float = 0.15
    """Part of the lease that its holder does not use: the two clocks may run at different speeds."""
    heartbeat_s: float = 0.5
    """Between members, over their own link: who is up, clocks and digests."""
    up_s: float = 2.0
    """A member that was not heard for this long counts as down."""
    call_timeout_s: float = 2.0
    retry_s: float = 0.05
    retry_max_s: float = 1.0
    jitter_s: float = 0.1
    """At most so long a member waits before it asks for leadership that nobody has."""
    probe_s: float = 3.0
    """A member that was told of nothing for this long looks whether that is true."""
    proposal_timeout_s: float = 10.0
    forward_retry_s: float = 0.2
    transfer_timeout_s: float = 3.0

    max_proposal_bytes: int = 1_450_000
    """etcd takes requests of 1.5 MiB unless it is told otherwise (--max-request-bytes)."""
    max_batch_bytes: int = 1_500_000
    """Entries of one transaction."""
    max_pending: int = 65_536
    max_pending_bytes: int = 64 * MIB
    max_message_bytes: int = MIB
    page_keys: int = 32
    keep_entries: int = 10_000
    keep_bytes: int = 16 * MIB
    """Applied entries that stay in memory, at most keep_bytes of them."""
    max_ahead_bytes: int = 64 * MIB
    """Entries that wait to be applied here; beyond that no more are fetched."""
    snapshot_entries: int = 100_000
    snapshot_bytes: int = 64 * MIB
    """A snapshot is taken after so many entries, or bytes of them."""
    keep_log_entries: int = 10_000
    """Entries before the snapshot that stay in etcd for members that are a little behind."""
    snapshot_retry_s: float = 60.0
