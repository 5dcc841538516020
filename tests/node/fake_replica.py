"""A replica in memory, whose log takes no time, and its clock; what the leader's duties are tested on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from cortex.v1 import log_pb2
from cortex.v1.log_pb2 import Command, ConfigChange, Entry, Reply
from cortex.v1.types_pb2 import DoubleRun, Event, Operation, StoredReply, SubmitKey, Task, Workflow, WorkflowState
from node.consensus.membership import Change as MemberChange
from node.consensus.membership import ChangeKind, ChangeRefused
from node.consensus.port import Peer
from node.core import machine, reads
from node.core.faults import Code, Fault
from node.core.model import CANCELLED, DEAD_LETTER, ENDED, Change, Key, Row, Table, row_key
from node.core.state import ClusterState
from node.store.past import Aged, AgedWorkflow
from node.store.queries import Counts

R = TypeVar("R", bound=Row)


EPOCH_US = 1_750_000_000_000_000


class VirtualClock:
    def wall_us(self) -> int:
        return EPOCH_US + self.boot_us()

    def boot_us(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e6)


class FakePast:
    """What a store would name, by looking at every row."""

    def __init__(self, rows: dict[Key, Row | None]) -> None:
        self._rows = rows

    def counts(self) -> Counts:
        return Counts(dict(Counter(row.state for row in self.of(Task))), 0)

    def ended_tasks(self, before_us: int, keyed_before_us: int, limit: int) -> list[Aged]:
        return self._tasks(ENDED - {DEAD_LETTER}, before_us, keyed_before_us)[:limit]

    def ended_workflows(
        self, before_us: int, failed_before_us: int, keyed_before_us: int, limit: int
    ) -> list[AgedWorkflow]:
        found = [
            AgedWorkflow(row.id, row.completed_at_us, row.count)
            for row in self.of(Workflow)
            if 0 < row.completed_at_us < before_us
            and (row.state != WorkflowState.WORKFLOW_STATE_FAILED or row.completed_at_us < failed_before_us)
            and (not row.submit_key or row.completed_at_us < keyed_before_us)
        ]
        return sorted(found, key=lambda item: (item.at_us, item.id))[:limit]

    def old_dead_letters(self, before_us: int, keyed_before_us: int, limit: int) -> list[Aged]:
        return self._tasks(frozenset({DEAD_LETTER}), before_us, keyed_before_us)[:limit]

    def letters(self, fingerprint: str, until_us: int, after: tuple[int, str], limit: int) -> list[Aged]:
        found = [
            Aged(row.id, row.dead_lettered_at_us)
            for row in self.of(Task)
            if row.state == DEAD_LETTER and row.fingerprint == fingerprint and row.dead_lettered_at_us <= until_us
        ]
        return [item for item in sorted(found, key=_age) if _age(item) > after][:limit]

    def letter_count(self, fingerprint: str, until_us: int) -> int:
        return len(self.letters(fingerprint, until_us, (0, ""), 1 << 30))

    def cancelled_count(self, operation: str) -> int:
        return sum(row.operation == operation and row.state == CANCELLED for row in self.of(Task))

    def old_events(self, before_us: int, limit: int) -> list[Aged]:
        found = [Aged(row.id, row.at_us) for row in self.of(Event) if row.at_us < before_us]
        return sorted(found, key=lambda item: (item.at_us, *map(int, item.id.split("-"))))[:limit]

    def old_double_runs(self, before_us: int, limit: int) -> list[Aged]:
        return sorted((Aged(row.id, row.at_us) for row in self.of(DoubleRun) if row.at_us < before_us), key=_age)[
            :limit
        ]

    def double_run_count(self) -> int:
        return len(self.of(DoubleRun))

    def ended_operations(self, before_us: int, limit: int) -> list[Aged]:
        found = [Aged(row.id, row.ended_at_us) for row in self.of(Operation) if 0 < row.ended_at_us < before_us]
        return sorted(found, key=_age)[:limit]

    def ended_operation_count(self) -> int:
        return len([row for row in self.of(Operation) if row.ended_at_us])

    def expired_replies(self, before_us: int, limit: int) -> list[Aged]:
        found = [Aged(row_key(row).id, row.at_us) for row in self.of(StoredReply) if row.at_us < before_us]
        return sorted(found, key=_age)[:limit]

    def expired_submit_keys(self, before_us: int, limit: int) -> list[Aged]:
        found = [Aged(row.key, row.ended_at_us) for row in self.of(SubmitKey) if 0 < row.ended_at_us < before_us]
        return sorted(found, key=_age)[:limit]

    def _tasks(self, states: frozenset[int], before_us: int, keyed_before_us: int) -> list[Aged]:
        found = [
            Aged(row.id, row.completed_at_us)
            for row in self.of(Task)
            if row.state in states
            and not row.workflow_id
            and row.completed_at_us < (min(before_us, keyed_before_us) if row.submit_key else before_us)
        ]
        return sorted(found, key=_age)

    def of(self, kind: type[R]) -> list[R]:
        return [row for row in self._rows.values() if isinstance(row, kind)]


def _age(item: Aged) -> tuple[int, str]:
    return item.at_us, item.id


class FakeReplica:
    """One voter without a disk. `gate` holds entries back, `quorum` confirmations; `fault` refuses everything."""

    def __init__(
        self, state: ClusterState | None = None, term: int = 1, rows: dict[Key, Row | None] | None = None
    ) -> None:
        self.state = state or ClusterState()
        self.term = term
        self.serving = True
        self.leader: str | None = "leader"
        self.fault: Fault | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.quorum = asyncio.Event()
        self.quorum.set()
        self.applied = asyncio.Event()
        self.confirmations = 0
        self.clock_ahead_us = 0
        self.voters: dict[str, bool] = {"leader": True}
        self.learners: dict[str, bool] = {}
        """Whether each has caught up."""
        self.transfers: list[str] = []
        self.transferred = asyncio.Event()
        self.entries: list[Entry] = []
        self.observers: list[Callable[[Sequence[Change], int], None]] = []
        self._rows: dict[Key, Row | None] = {} if rows is None else rows
        self.past = FakePast(self._rows)

    def now_us(self) -> int:
        return max(self.state.at_us + 1, VirtualClock().wall_us())

    async def execute(
        self, commands: Sequence[Command], *, client: str = "", request_id: str = "", actor: str = ""
    ) -> Reply:
        await asyncio.sleep(0.001)
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        entry = Entry(
            level=1, at_us=self.now_us(), client=client, request_id=request_id, actor=actor, commands=commands
        )
        return self.apply(entry)

    @property
    def all_rows(self) -> dict[Key, Row | None]:
        """What a store would hold."""
        return self._rows

    def apply_commands(self, *commands: Command) -> Reply:
        """Apply one entry now, whoever leads."""
        return self.apply(Entry(level=1, at_us=self.now_us(), commands=commands))

    def apply(self, entry: Entry) -> Reply:
        self.entries.append(entry)
        index = self.state.index + 1
        cold = reads.gather([entry], self.state, lambda keys: {key: self._rows.get(key) for key in keys})
        outcome = machine.apply(self.state, cold, entry, index, self.term)
        self.state.commit(outcome, index, self.term, entry.at_us)
        for change in outcome.changes:
            self._rows[Key(change.table, change.id)] = change.new
        self.state.adopt(reads.adopted(outcome.changes, cold))
        for observer in self.observers:
            observer(outcome.changes, index)
        self.applied.set()
        return outcome.reply

    async def confirm(self) -> None:
        self.confirmations += 1
        await asyncio.sleep(0.001)
        await self.quorum.wait()
        if not self.serving:
            raise Fault(Code.NO_LEADER, "Not the leader.", "Ask another.")

    @property
    def peers(self) -> list[Peer]:
        voters = [Peer(name, f"{name}:7001", up, 0) for name, up in self.voters.items()]
        return voters + [Peer(name, f"{name}:7001", True, 0, voter=False) for name in self.learners]

    async def change_members(self, change: MemberChange, entry: Entry | None = None) -> Reply:
        """Promotions only."""
        assert change.kind is ChangeKind.PROMOTE
        if not self.learners[change.id]:
            raise ChangeRefused("It has not caught up.")
        record = ConfigChange(id=change.id, change=log_pb2.MEMBER_CHANGE_VOTER)
        reply = await self.execute([Command(config_change=record)])
        self.voters[change.id] = self.learners.pop(change.id)
        return reply

    def task(self, task_id: str) -> Task | None:
        row = self._rows.get(Key(Table.TASKS, task_id))
        return row if isinstance(row, Task) else None

    async def transfer(self, to: str) -> None:
        """Recorded; who plays the cluster goes on from there."""
        self.transfers.append(to)
        self.transferred.set()
        await asyncio.sleep(0.001)

    async def saved_through(self, index: int) -> None:
        assert index <= self.state.index

    def kinds(self) -> list[list[str]]:
        """The kinds of the commands of every entry."""
        return [[command.WhichOneof("kind") or "" for command in entry.commands] for entry in self.entries]
