"""Random command sequences: what holds after every entry, whatever was asked for."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import (
    Command,
    ConfigChange,
    Entry,
    HistoryTrim,
    MemberChange,
    NodeCordon,
    NodeLeave,
    TaskAssign,
    TaskCancel,
    TaskRetry,
)
from cortex.v1.types_pb2 import Event, Placement, Requests, Task
from node.core import machine
from node.core.model import DEAD_LETTER, ENDED, FAILED, ON_NODE, QUEUED, Key, Table, recount
from node.core.state import ClusterState
from tests.core import garbage, walk_operations
from tests.core.cluster import HOUR_US, Machine, complete, failed, fenced, migrate

NODES = ("n1", "n2", "n3")
FENCED_KINDS = ("task_started", "task_recalled", "task_lost", "task_stopped", "task_escalate", "task_ready")
CAUSES = (
    types_pb2.CAUSE_EXIT,
    types_pb2.CAUSE_TIMEOUT,
    types_pb2.CAUSE_CANNOT_START,
    types_pb2.CAUSE_SUPERVISOR,
)


class Walk:
    """Commands that mostly fit the state, with stale fences, wrong states and unknown ids among them."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.machine = Machine()
        self.machine.twice = True
        self.ids: list[str] = []
        self.trimmed: set[str] = set()
        self.ends: Counter[tuple[str, int]] = Counter()
        self.reached: Counter[str] = Counter()
        for node_id in NODES:
            self.machine.join(node_id, slots=2, capacity=Requests(cpu_millis=3000, memory_bytes=1000))

    def pick(self) -> str:
        return self.random.choice(self.ids) if self.ids and self.random.random() < 0.97 else "nobody"

    def command(self) -> Command:
        random = self.random
        kind = random.choices(
            (
                *("submit", "assign", "report", "end", "cancel", "retry", "migrate", "node", "trim", "dead_letter"),
                *("note", "operation"),
            ),
            (5, 8, 6, 6, 2, 2, 1, 1, 0.3, 0.5, 0.5, 2),
        )[0]
        made: Command = getattr(self, kind)()
        return made

    def submit(self) -> Command:
        random, spec = self.random, {}
        if random.random() < 0.2:
            spec["locks"] = [random.choice(("l1", "l2"))]
        if random.random() < 0.2:
            spec["limit_key"], spec["limit_count"] = "k", 2
        if random.random() < 0.3:
            spec["requests"] = Requests(cpu_millis=1000, memory_bytes=random.choice((0, 400)))
        if random.random() < 0.3:
            spec["on_lost"] = types_pb2.ON_LOST_HOLD
        if random.random() < 0.2:
            spec["on_exhausted"] = types_pb2.ON_EXHAUSTED_FAIL
        if random.random() < 0.2:
            spec["queue_timeout_ms"] = 1000
        if random.random() < 0.5:
            spec["retry"] = types_pb2.RetryPolicy(max_retries=random.randint(0, 1))
        key = random.choice(("", "", "", "key1", "key2"))
        submission = self.machine.submission(key=key, priority=random.randint(0, 10), **spec)  # type: ignore[arg-type]
        return Command(task_submit=submission)

    def assign(self) -> Command:
        place = Placement(node=self.random.choice((*NODES, "n9")), score=1.5)
        queued = [task_id for task_id, task in self.machine.state.tasks.items() if task.state == QUEUED]
        task_id = self.random.choice(queued) if queued and self.random.random() < 0.9 else self.pick()
        return Command(task_assign=TaskAssign(id=task_id, placement=place))

    def target(self) -> tuple[str, int]:
        """A task, mostly on a node, with its fence or a stale one."""
        on_node = sorted(set().union(*self.machine.state.by_node.values()))
        task_id = self.random.choice(on_node) if on_node and self.random.random() < 0.9 else self.pick()
        row = self.machine.rows.get(Key(Table.TASKS, task_id))
        fence = row.fence if isinstance(row, Task) else 0
        return task_id, fence if self.random.random() < 0.85 else self.random.randint(0, self.machine.state.index)

    def report(self) -> Command:
        kind = self.random.choice(FENCED_KINDS)
        command = fenced(kind, *self.target())
        if kind == "task_stopped":
            command.task_stopped.cause = self.random.choice(
                (types_pb2.CAUSE_CANCEL, types_pb2.CAUSE_MIGRATE, types_pb2.CAUSE_LEASE, types_pb2.CAUSE_IDLE)
            )
        return command

    def end(self) -> Command:
        if self.random.random() < 0.4:
            return complete(*self.target(), exit_code=self.random.choice((0, 0, 0, 3)))
        cause = self.random.choice(CAUSES)
        command = failed(*self.target(), cause=cause, delay_us=self.random.choice((0, 500)))
        command.task_failed.fingerprint = self.random.choice(("f1", "f2"))
        command.task_failed.blame = self.random.choice(types_pb2.Blame.values())
        return command

    def cancel(self) -> Command:
        return Command(task_cancel=TaskCancel(id=self.pick(), reason=self.random.choice(("", "enough"))))

    def retry(self) -> Command:
        revivable = [
            task_id
            for task_id in self.ids
            if isinstance(row := self.machine.rows.get(Key(Table.TASKS, task_id)), Task)
            and (row.state in (DEAD_LETTER, FAILED) or row.lost_at_us)
        ]
        command = TaskRetry(id=self.random.choice(revivable) if revivable else self.pick())
        if self.random.random() < 0.3:
            command.edited_spec.CopyFrom(self.machine.submission((b"false",)).spec)
        return Command(task_retry=command)

    def migrate(self) -> Command:
        task_id, fence = self.target()
        command = migrate(task_id)
        if self.random.random() < 0.5:
            command.task_migrate.idle, command.task_migrate.fence = True, fence
        return command

    def node(self) -> Command:
        node_id = self.random.choice(NODES)
        which = self.random.random()
        if which < 0.4:
            return Command(node_cordon=NodeCordon(id=node_id, cordoned=self.random.random() < 0.4))
        if which < 0.6:
            return Command(node_leave=NodeLeave(id=node_id))
        if which < 0.65:
            change = self.random.choice(MemberChange.values())
            return Command(config_change=ConfigChange(id=node_id, change=change))
        node = types_pb2.Node()
        node.CopyFrom(self.machine.node(node_id))
        return Command(node_join={"node": node})

    def trim(self) -> Command:
        events = self.random.sample([event.id for event in self.machine.events], 1)
        before_us = self.machine.now_us - self.random.choice((0, HOUR_US))
        trim = HistoryTrim(before_us=before_us, ids=[self.pick()], event_ids=events, submit_keys=["key1"])
        return Command(history_trim=trim)

    def note(self) -> Command:
        return walk_operations.note(self.random, self.pick())

    def operation(self) -> Command:
        return walk_operations.operation(self.random, self.machine, self.ids)

    def dead_letter(self) -> Command:
        return Command(task_dead_letter={"id": self.pick(), "cause": types_pb2.CAUSE_QUEUE_TIMEOUT})

    def step(self) -> None:
        random = self.random
        commands = [self.command() for _ in range(random.choice((1, 1, 1, 2, 5)))]
        request = random.choice(("", "", f"r{random.randint(0, 200)}"))
        state = self.machine.state
        before = {key: row for key, row in self.machine.rows.items() if key.table is Table.TASKS}
        reply = self.machine.apply(
            *commands, client="c" if request else "", request_id=request, after_us=random.choice((1, 10**4, 10**9))
        )
        assert len(reply.commands) == len(commands) or reply.repeated_request
        if reply.repeated_request:
            assert not self.machine.outcome.changes
            self.reached["repeated"] += 1
            return
        for command, answer in zip(commands, reply.commands, strict=True):
            self.reached[f"{command.WhichOneof('kind')} {'accepted' if answer.accepted else answer.code}"] += 1
            if command.HasField("task_submit") and answer.accepted and not answer.deduplicated:
                self.ids.append(answer.id)
        if len(commands) == 1:
            self.check_single(commands[0], reply.commands[0].accepted, before)
        self.check_changes(state.index)

    def check_single(self, command: Command, accepted: bool, before: dict[Key, object]) -> None:
        kind = command.WhichOneof("kind") or ""
        changed = [change for change in self.machine.outcome.changes if change.table is Table.TASKS]
        if not accepted:
            assert not changed
            assert [event.type for event in self.machine.last_events()] == [types_pb2.EVENT_TYPE_REJECTED]
            return
        for change in changed:
            if kind in ("task_submit", "history_trim") or kind.startswith("operation_"):
                continue
            assert isinstance(change.old, Task)
            assert isinstance(change.new, Task)
            assert change.new.state in machine.TASK_TABLE[change.old.state, kind].to
            if kind in machine.FENCED:
                assert getattr(command, kind).fence == change.old.fence
                assert change.old.state in ON_NODE

    def check_changes(self, index: int) -> None:
        last: dict[str, Event] = {}
        for number, event in enumerate(self.machine.last_events()):
            assert event.id == f"{index}-{number}"
            last[event.task] = event
        for change in self.machine.outcome.changes:
            if change.table is not Table.TASKS:
                continue
            if change.new is None:
                assert isinstance(change.old, Task)
                assert change.old.state in ENDED
                self.trimmed.add(change.id)
                continue
            assert isinstance(change.new, Task)
            new, event = change.new, last[change.id]
            assert new.modified_index == index
            assert (event.state, event.node, event.attempt, event.run) == (
                new.state,
                new.node,
                new.attempt,
                new.run,
            )
            assert new.attempt <= new.spec.retry.max_retries
            assert new.losses <= 5
            assert not (new.state not in ON_NODE and (new.lost_at_us or new.migrate_requested))
            old = change.old
            if isinstance(old, Task) and new.state in ENDED and old.state not in ENDED:
                self.ends[new.id, new.run] += 1
                assert self.ends[new.id, new.run] == 1

    def check_all(self) -> None:
        m, state = self.machine, self.machine.state
        assert recount(m.rows.values()) == state.digest
        for task_id in self.ids:
            assert (Key(Table.TASKS, task_id) in m.rows) != (task_id in self.trimmed)
        fresh = ClusterState()
        live = [row for row in m.rows.values() if not (isinstance(row, Task) and row.state in ENDED)]
        fresh.load(live, state.index, state.term, state.at_us, state.digest)
        for name in ("tasks", "nodes", "settings", "batches", "by_node", "use", "locks", "limit_use", "counts"):
            assert getattr(fresh, name) == getattr(state, name), name
        for node_id, use in state.use.items():
            assert sum(use.counts.values()) == len(state.by_node[node_id])
            assert use.cpu_millis <= 3000
            assert use.memory_bytes <= 1000
        assert state.limit_use.get("k", 0) <= 2


@pytest.mark.parametrize("seed", range(40))
def test_walk(seed: int) -> None:
    walk = Walk(seed)
    for step in range(300):
        walk.step()
        if step % 50 == 0:
            walk.check_all()
    walk.check_all()
    again = Machine(spill=False)
    for data in walk.machine.log:
        again.apply_entry(Entry.FromString(data))
    assert again.state.digest == walk.machine.state.digest
    assert again.rows == walk.machine.rows


def test_walks_reach_what_they_are_for() -> None:
    reached: Counter[str] = Counter()
    for seed in range(12):
        walk = Walk(seed)
        for _ in range(300):
            walk.step()
        reached += walk.reached
    kinds = {kind for _, kind in machine.TASK_TABLE} | {"task_submit", "history_trim", "node_join", "node_cordon"}
    kinds.add("config_change")
    kinds |= {"operation_start", "operation_advance", "operation_stop"}
    kinds -= {"workflow_advance"}  # workflows have walks of their own
    missing = {f"{kind} accepted" for kind in kinds} - set(reached)
    assert not missing
    fences = {f"{kind} stale_fence" for kind in machine.FENCED} - set(reached)
    assert not fences
    assert reached["repeated"]
    assert reached["task_submit already_exists"]


@pytest.mark.parametrize("seed", range(20))
def test_garbage_is_refused_and_recorded(seed: int) -> None:
    random = Random(seed)
    m = Machine()
    m.join("n1")
    m.running()
    for _ in range(300):
        entry = garbage.entry(random)
        reply = m.apply_entry(entry)
        if reply.repeated_request:
            continue
        assert len(reply.commands) == len(entry.commands)
        refused = [answer for answer in reply.commands if not answer.accepted]
        assert all(answer.code and answer.message for answer in refused)
        rejected = [event for event in m.last_events() if event.type == types_pb2.EVENT_TYPE_REJECTED]
        told = [
            answer
            for command, answer in zip(entry.commands, reply.commands, strict=True)
            if not answer.accepted and not command.task_assign.express
        ]
        assert not told or rejected
        assert not entry.commands or not rejected or refused
    assert recount(m.rows.values()) == m.state.digest
    again = Machine(spill=False)
    for data in m.log:
        again.apply_entry(Entry.FromString(data))
    assert again.rows == m.rows


@pytest.mark.parametrize("seed", range(5))
def test_bytes_that_parse_are_applied_or_stop_the_daemon(seed: int) -> None:
    """Cut and flipped entries: whatever still parses is either applied or meets LevelTooNew, nothing else."""
    random = Random(seed)
    m = Machine()
    m.join("n1")
    for _ in range(200):
        data = bytearray(garbage.entry(random).SerializeToString())
        for _ in range(random.randint(0, 3)):
            if data:
                data[random.randrange(len(data))] = random.randrange(256)
        try:
            entry = Entry.FromString(bytes(data[: random.randint(0, len(data))]))
        except Exception:
            continue
        try:
            machine.check_level(entry)
        except machine.LevelTooNew:
            continue
        m.apply_entry(entry)
    assert recount(m.rows.values()) == m.state.digest
