"""What the leader's duties need of the replica, and what a cluster sets for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cortex.v1.log_pb2 import Command, Reply
from node.core.model import ClusterState


class Replica(Protocol):
    """This machine's copy of the state, and the way to change it."""

    @property
    def state(self) -> ClusterState: ...

    @property
    def term(self) -> int: ...

    @property
    def serving(self) -> bool:
        """It leads, and has applied an entry of its own term."""

    @property
    def leader(self) -> str | None:
        """Node id of the leader; None while unknown."""

    def now_us(self) -> int:
        """Leader time, unix microseconds."""

    async def execute(
        self, commands: Sequence[Command], *, client: str = "", request_id: str = "", actor: str = ""
    ) -> Reply:
        """Propose one entry; its reply once it is applied here. Raises Fault."""

    async def confirm(self) -> None:
        """Return once a quorum confirmed this term in a round begun after the call. Raises Fault."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Times and bounds of a leader's duties."""

    node_id: str
    cluster_id: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)  # voters' host:port by node id
    lease_ms: int = 30_000
    renew_ms: int = 10_000
    lease_margin_ms: int = 5_000
    heartbeat_ms: int = 5_000
    suspect_ms: int = 10_000
    offline_ms: int = 15_000
    hello_timeout_ms: int = 10_000
    skew_warn_ms: int = 1_000
    skew_refuse_ms: int = 30_000
    prefetch_limit: int = 512
    placements_per_entry: int = 1_000
    commands_per_entry: int = 1_000
    bytes_per_entry: int = 512 * 1024
    inventory_limit: int = 20_000
    reports_waiting_limit: int = 100_000
    retry_ms: int = 1_000
