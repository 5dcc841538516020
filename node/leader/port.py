"""What the leader's duties need of the replica, and what a cluster sets for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cortex.v1.log_pb2 import Command, Entry, Reply
from cortex.v1.types_pb2 import Task
from node.consensus.membership import Change
from node.consensus.port import Peer
from node.core.model import PREFETCH_LIMIT
from node.core.state import ClusterState
from node.store.past import Aged, AgedWorkflow
from node.store.queries import Counts


class Past(Protocol):
    """What is saved of the past, oldest first. Times are leader time; a method reads and returns at once."""

    def counts(self) -> Counts: ...

    def ended_tasks(self, before_us: int, keyed_before_us: int, limit: int) -> list[Aged]:
        """Tasks of no workflow that ended before that, but no dead letters; those with a submit key before both."""

    def ended_workflows(
        self, before_us: int, failed_before_us: int, keyed_before_us: int, limit: int
    ) -> list[AgedWorkflow]:
        """Workflows that ended before that; those that failed, and those with a submit key, before both."""

    def old_dead_letters(self, before_us: int, keyed_before_us: int, limit: int) -> list[Aged]: ...

    def letters(self, fingerprint: str, until_us: int, after: tuple[int, str], limit: int) -> list[Aged]:
        """Dead letters of one cause that died no later than that, behind a position (time, id)."""

    def letter_count(self, fingerprint: str, until_us: int) -> int: ...

    def cancelled_count(self, operation: str) -> int:
        """How many tasks that an operation revived were cancelled since."""

    def old_events(self, before_us: int, limit: int) -> list[Aged]: ...

    def old_double_runs(self, before_us: int, limit: int) -> list[Aged]: ...

    def double_run_count(self) -> int: ...

    def ended_operations(self, before_us: int, limit: int) -> list[Aged]: ...

    def ended_operation_count(self) -> int: ...

    def expired_replies(self, before_us: int, limit: int) -> list[Aged]: ...

    def expired_submit_keys(self, before_us: int, limit: int) -> list[Aged]: ...


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

    @property
    def past(self) -> Past: ...

    @property
    def peers(self) -> Sequence[Peer]:
        """All voters and learners, this one included, as the leader sees them."""

    def task(self, task_id: str) -> Task | None:
        """A task as of the applied index, ended ones too."""

    def now_us(self) -> int:
        """Leader time, unix microseconds."""

    @property
    def clock_ahead_us(self) -> int:
        """How far this machine's clock is ahead of leader time while that does not follow it; else 0."""

    async def execute(
        self, commands: Sequence[Command], *, client: str = "", request_id: str = "", actor: str = ""
    ) -> Reply:
        """Propose one entry; its reply once it is applied here. Raises Fault."""

    async def change_members(self, change: Change, entry: Entry | None = None) -> Reply:
        """Change who keeps the log; the reply once that is applied here. Raises ChangeRefused or Fault."""

    async def confirm(self) -> None:
        """Return once a quorum confirmed this term in a round begun after the call. Raises Fault."""

    async def transfer(self, to: str) -> None:
        """Hand leadership to another voter; nothing is accepted meanwhile. Raises Fault when it stays here."""

    async def saved_through(self, index: int) -> None:
        """Return once everything up to `index` is saved here. Raises Fault when that takes long."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Times and bounds of a leader's duties."""

    node_id: str
    cluster_id: str = ""
    lease_ms: int = 30_000
    renew_ms: int = 10_000
    lease_margin_ms: int = 5_000
    heartbeat_ms: int = 5_000
    suspect_ms: int = 10_000
    offline_ms: int = 15_000
    hello_timeout_ms: int = 10_000
    skew_warn_ms: int = 1_000
    skew_refuse_ms: int = 30_000
    prefetch_limit: int = PREFETCH_LIMIT
    placements_per_entry: int = 1_000
    commands_per_entry: int = 1_000
    bytes_per_entry: int = 512 * 1024
    inventory_limit: int = 20_000
    reports_waiting_limit: int = 100_000
    retry_ms: int = 1_000
