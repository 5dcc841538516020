"""Anything at any time to batches: what is reserved, and whose keys are held, always adds up."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from cortex.v1.log_pb2 import Command, Entry, HistoryTrim, RequestRef
from cortex.v1.types_pb2 import Batch, Task
from node.core.faults import Code
from node.core.model import LIVE, Table, recount
from node.core.state import ClusterState
from node.core.transitions.batches import BATCH_KEPT_US
from node.core.transitions.keys import SUBMIT_KEY_KEPT_US
from tests.core.cluster import HOUR_US, Machine, cancel, cluster, retry
from tests.core.test_batches import Submitter, limit, refused


class Walk:
    """Batches, single submissions and what tasks go through, under a small depth; keys with two specs each."""

    DEPTH = 12

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.m = cluster(1)
        self.m.twice = True
        limit(self.m, self.DEPTH)
        self.open: list[Submitter] = []
        self.begun = 0
        self.last_us: dict[str, int] = {}
        self.reached: Counter[str] = Counter()

    def keys(self, count: int) -> dict[int, str]:
        lines = range(1, count + 1)
        return {line: f"k{self.random.randint(0, 60)}" for line in lines if self.random.random() < 0.4}

    def step(self) -> None:
        deed = self.random.choices(
            (self.begin, self.go_on, self.single, self.end, self.revive, self.trim, self.wait),
            (2, 8, 2, 6, 1, 1, 0.5),
        )[0]
        deed()
        state = self.m.state
        depth = state.live_count() + sum(row.reserved for row in state.batches.values() if self.lives(row))
        assert depth <= self.DEPTH + self.reached["revived"] + self.reached["freed keys"]
        held = Counter(task.submit_key for task in state.tasks.values() if task.state in LIVE and task.submit_key)
        assert not [key for key, count in held.items() if count > 1]

    def lives(self, row: Batch) -> bool:
        return self.m.state.at_us < row.at_us + BATCH_KEPT_US

    def begin(self) -> None:
        self.begun += 1
        count = self.random.randint(2, 12)
        argv = self.random.choice((b"true", b"true", b"echo"))
        batch = Submitter(self.m, count, f"b{self.begun}", self.keys(count), argv)
        reply = batch.part(self.random.randint(1, count - 1))
        if reply.commands[0].accepted:
            self.open.append(batch)
            self.last_us[batch.name] = self.m.now_us
            self.reached["begun"] += 1
        else:
            refused(reply)
            self.reached[reply.commands[0].code] += 1

    def go_on(self) -> None:
        if not self.open:
            return
        batch = self.random.choice(self.open)
        size = self.random.randint(1, 5)
        before = batch.row
        reply = batch.part(size)
        late = self.m.now_us >= self.last_us[batch.name] + BATCH_KEPT_US
        if late:
            assert refused(reply)[0] == Code.WRONG_STATE
            self.open.remove(batch)
            self.reached["given up"] += 1
            return
        assert all(answer.accepted for answer in reply.commands), reply
        created = sum(not answer.deduplicated for answer in reply.commands)
        assert before is not None
        self.reached["freed keys"] += max(0, created - before.reserved)
        self.last_us[batch.name] = self.m.now_us
        if batch.sent == len(batch.submits):
            self.open.remove(batch)
            assert batch.row is None
            self.reached["whole"] += 1

    def single(self) -> None:
        key = f"k{self.random.randint(0, 60)}"
        reply = self.m.one(
            Command(task_submit=self.m.submission((self.random.choice((b"true", b"echo")),), key=key))
        )
        self.reached["single" if reply.accepted else reply.code] += 1

    def live(self) -> list[str]:
        return [task_id for task_id, task in self.m.state.tasks.items() if task.state in LIVE]

    def end(self) -> None:
        for task_id in self.random.sample(self.live(), min(2, len(self.live()))):
            assert self.m.one(cancel(task_id)).accepted

    def revive(self) -> None:
        if self.live():
            task_id = self.random.choice(self.live())
            fence = self.m.state.index + 1
            self.m.assign(task_id)
            self.m.state.tasks[task_id]
            failure = Command(task_failed={"id": task_id, "fence": fence, "cause": 1, "result": {"exit_code": 1}})
            while self.m.one(failure).accepted and task_id in self.m.state.tasks:
                self.m.now_us += 1_000_000
                failure.task_failed.fence = self.m.assign(task_id)
            self.m.now_us += self.random.choice((0, 2 * SUBMIT_KEY_KEPT_US))
            if self.m.one(retry(task_id)).accepted:
                self.reached["revived"] += 1

    def trim(self) -> None:
        self.m.now_us += self.random.choice((0, HOUR_US, SUBMIT_KEY_KEPT_US))
        rows = self.m.rows
        trim = HistoryTrim(
            before_us=self.m.now_us,
            ids=[key.id for key in rows if key.table is Table.TASKS][:50],
            submit_keys=[key.id for key in rows if key.table is Table.SUBMIT_KEYS],
            batches=[RequestRef(client="ann", request_id=f"b{number}") for number in range(self.begun + 1)][-90:],
        )
        assert self.m.one(Command(history_trim=trim)).accepted

    def wait(self) -> None:
        self.m.now_us += self.random.choice((HOUR_US // 2, HOUR_US))

    def check(self) -> None:
        m = self.m
        assert recount(m.rows.values()) == m.state.digest
        fresh = ClusterState()
        live = [row for row in m.rows.values() if not isinstance(row, Task) or row.state in LIVE]
        fresh.load(live, m.state.index, 1, m.state.at_us, m.state.digest)
        assert fresh.batches == m.state.batches
        again = Machine(spill=False)
        for data in m.log:
            again.apply_entry(Entry.FromString(data))
        assert again.rows == m.rows


@pytest.mark.parametrize("seed", range(15))
def test_walk(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(150):
        walk.step()
    walk.check()


def test_walks_reach_what_they_are_for() -> None:
    reached: Counter[str] = Counter()
    for seed in range(8):
        walk = Walk(100 + seed)
        for _ in range(200):
            walk.step()
        reached += walk.reached
    for what in ("begun", "whole", "given up", "single", "revived", Code.QUEUE_FULL, Code.ALREADY_EXISTS):
        assert reached[what], what
