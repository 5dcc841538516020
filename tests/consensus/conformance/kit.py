"""What every engine's rig has in common: members that record what they are told, and what a test may do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from cortex.v1 import raft_pb2
from node.consensus.membership import Change, Membership
from node.consensus.port import Committed, Consensus, ProposalError, Role, Trouble

T = TypeVar("T")
NOOP = b"noop"


class Engine(Consensus, Protocol):
    """The port as the daemon uses it."""

    @property
    def snapshot_index(self) -> int: ...

    @property
    def membership(self) -> Membership: ...

    @property
    def trouble(self) -> Trouble | None: ...

    def membership_at(self, index: int) -> Membership: ...

    async def read_index(self) -> int: ...

    async def change_membership(self, change: Change, proposal: bytes) -> int: ...

    def receive(self, message: raft_pb2.RaftMessage) -> None: ...


class Member:
    """One daemon without a state machine. Implements consensus.port.Host, and checks what must always be so."""

    def __init__(self, cluster: Cluster, member_id: str) -> None:
        self._cluster = cluster
        self.id = member_id
        self.address = f"{member_id}:1"
        self.engine: Any = None
        """Of the present life; None while it is down."""
        self.seen: list[Committed] = []
        """What this life was given, from the first entry on."""
        self.errors: list[Exception] = []
        self._before: tuple[int, int] = (0, 0)

    @property
    def up(self) -> bool:
        return self.engine is not None

    @property
    def leads(self) -> bool:
        return self.up and self.engine.role is Role.LEADER

    @property
    def serves(self) -> bool:
        """Leads, and has an entry of its own term."""
        return self.leads and bool(self.seen) and self.seen[-1].term == self.engine.term

    @property
    def payloads(self) -> list[bytes]:
        """What was proposed, without first entries of terms and stamps."""
        bare = [entry.data.rpartition(b"@")[0] for entry in self.seen]
        return [data for data in bare if data != NOOP]

    def begin(self, engine: Any) -> None:
        self.engine, self.seen, self._before = engine, [], (0, 0)

    def stamp(self, proposal: bytes) -> bytes:
        return proposal + b"@%d" % self._cluster.next_stamp()

    def noop(self) -> bytes:
        return NOOP

    def committed(self) -> None:
        if self.engine is None:
            return
        self._check_growth()
        before = len(self.seen)
        while entries := self.engine.entries(len(self.seen), 100):
            self.seen.extend(entries)
        self._cluster.check(self, before)

    def role_changed(self) -> None:
        if self.engine is not None:
            self._check_growth()
            self._cluster.led(self)

    def observe_clock(self, peer: str, wall_us: int) -> None: ...

    def applied(self) -> tuple[int, int, bytes]:
        return 0, 0, b""

    def recovery_epoch(self) -> int:
        return 0

    def peer_digest(self, peer: str, index: int, digest: bytes) -> None: ...

    def agreed_digest(self) -> tuple[int, bytes]:
        return 0, b""

    def check_digest(self, index: int, digest: bytes) -> None: ...

    def installed(self) -> None: ...

    async def copy_state(self) -> Any:
        raise OSError("there is no state to copy")

    def fatal(self, error: Exception) -> None:
        self.errors.append(error)

    def _check_growth(self) -> None:
        now = (self.engine.term, self.engine.commit_index)
        if now[0] < self._before[0] or now[1] < self._before[1]:
            self._cluster.violations.append(f"{self.id}: term and commit index went from {self._before} to {now}")
        self._before = now


class Cluster(ABC):
    """Members of one log. What a rig adds: how they live and what comes between them."""

    wait_s = 60.0
    """Of the loop's time: how long something may take that must happen."""

    def __init__(self, size: int) -> None:
        self.members = [Member(self, f"n{number}") for number in range(1, size + 1)]
        self.violations: list[str] = []
        self._stamps = 0
        self._log: list[Committed] = []
        self._leaders: dict[int, str] = {}

    @abstractmethod
    async def boot(self, member: Member) -> None:
        """Start a life of it on what its last one left."""

    @abstractmethod
    async def kill(self, member: Member) -> None:
        """End it without a word."""

    @abstractmethod
    def isolate(self, member: Member) -> None:
        """Let nothing to it and nothing from it."""

    @abstractmethod
    def heal(self) -> None: ...

    @abstractmethod
    def start(self, member: Member, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` as part of the member's life."""

    @abstractmethod
    async def close(self) -> None:
        """After the test."""

    @property
    def addresses(self) -> dict[str, str]:
        return {member.id: member.address for member in self.members}

    async def begin(self) -> None:
        for member in self.members:
            await self.boot(member)
        await self.settled()

    def next_stamp(self) -> int:
        self._stamps += 1
        return self._stamps

    def check(self, member: Member, after: int) -> None:
        """Every member has the same entries, without a gap, from 1 on; those up to `after` were checked."""
        for index, entry in enumerate(member.seen[after:], after + 1):
            if entry.index != index:
                self.violations.append(f"{member.id}: entry {entry.index} where {index} is due")
            if index <= len(self._log) and self._log[index - 1] != entry:
                self.violations.append(f"{member.id}: entry {index} differs from what others have")
        self._log.extend(member.seen[len(self._log) :])

    def led(self, member: Member) -> None:
        if member.leads and self._leaders.setdefault(member.engine.term, member.id) != member.id:
            self.violations.append(f"term {member.engine.term} has two leaders")

    @property
    def log(self) -> list[Committed]:
        """Everything that any member was given."""
        return self._log

    @property
    def up(self) -> list[Member]:
        return [member for member in self.members if member.up]

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.wait_s
        while not holds():
            if loop.time() > end:
                raise AssertionError(f"in vain: {what}")
            await asyncio.sleep(0.01)

    async def settled(self, among: list[Member] | None = None) -> Member:
        """A leader that serves and that all of `among` (all that are up) know, with all they have in common."""

        def agreed() -> bool:
            members = among or self.up
            heads = [member for member in members if member.serves]
            if len(heads) != 1:
                return False
            return all(
                member.engine.leader == heads[0].id
                and member.engine.term == heads[0].engine.term
                and len(member.seen) == len(heads[0].seen)
                for member in members
            )

        await self.until(agreed, "one leader")
        return next(member for member in among or self.up if member.serves)

    def propose(self, member: Member, data: bytes) -> asyncio.Task[int]:
        task: asyncio.Task[int] = self.start(member, member.engine.propose(data))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def surely(self, data: bytes, among: list[Member] | None = None) -> int:
        """Propose until it is acknowledged, anywhere."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.wait_s
        while loop.time() < end:
            for member in among or self.up:
                try:
                    return await self.propose(member, data)
                except ProposalError:
                    await asyncio.sleep(0.05)
        raise AssertionError("in vain: an acknowledged proposal")

    async def everywhere(self, index: int) -> None:
        """All that are up have everything up to `index`."""
        await self.until(lambda: all(len(member.seen) >= index for member in self.up), f"entry {index} everywhere")


Check = Callable[[Cluster], Awaitable[None]]


class Rig(ABC):
    """An engine under test."""

    name: str
    limit_bytes: int
    """Of a proposal."""

    @abstractmethod
    def run(self, check: Check, size: int = 3) -> None:
        """Run `check` on a settled cluster of `size` members; what must always hold is asserted at its end."""


async def checked(cluster: Cluster, check: Check) -> None:
    try:
        await cluster.begin()
        await check(cluster)
        assert not cluster.violations, cluster.violations
        errors = [error for member in cluster.members for error in member.errors]
        assert not errors, errors
    finally:
        await cluster.close()
