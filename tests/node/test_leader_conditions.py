"""Conditions of which no verdict comes: visible in the state, tried by one leader after the other, not for ever."""

from __future__ import annotations

import asyncio

from cortex.v1 import types_pb2 as t
from cortex.v1.log_pb2 import Command, Entry
from node.conditions.direct import DirectJudge
from node.conditions.port import Answer, Crashed, Question, Unanswered
from node.core import workflow
from node.core.transitions.workflows import CONDITION_TRIES
from tests.core.workflows import request, step
from tests.node.fake_replica import FakeReplica
from tests.node.leader_kit import Cluster, virtual


class Sick(DirectJudge):
    """Gives no answer to what contains `poison`."""

    def __init__(self, error: Unanswered) -> None:
        self.error = error
        self.asked: list[float] = []

    async def judge(self, question: Question) -> Answer:
        await asyncio.sleep(0.001)
        if "poison" in question.expression:
            self.asked.append(asyncio.get_running_loop().time())
            raise self.error
        return await super().judge(question)


async def begin(judge: Sick) -> Cluster:
    cluster = Cluster(judge=judge).begin()
    made = workflow.complete(request(step("bad", condition="poison"), step("good", condition="1")), "w")
    assert (await cluster.replica.execute([Command(workflow_submit=made)])).commands[0].accepted
    return cluster


def bad(cluster: Cluster) -> t.Task:
    task = cluster.replica.task("w.0")
    assert task is not None
    return task


def told(cluster: Cluster) -> list[str]:
    kind = t.EVENT_TYPE_CONDITION_UNANSWERED
    return [row.detail for row in cluster.replica.past.of(t.Event) if row.type == kind]


def _unanswered(entry: Entry) -> bool:
    return any(command.workflow_advance.unanswered for command in entry.commands)


def test_a_condition_that_always_crashes_its_process_ends_as_an_error() -> None:
    async def main() -> None:
        judge = Sick(Crashed("it ended with -11"))
        cluster = await begin(judge)
        await cluster.until(lambda: bad(cluster).state == t.TASK_STATE_SKIPPED)
        assert bad(cluster).skip_reason == t.SKIP_REASON_CONDITION_ERROR
        assert "it ended with -11" in bad(cluster).condition_error
        assert len(judge.asked) == CONDITION_TRIES
        assert len(told(cluster)) == CONDITION_TRIES - 1
        assert judge.asked[-1] - judge.asked[0] > 60, "a machine has time to recover"
        assert cluster.task("w.1").state == t.TASK_STATE_QUEUED
        entries = len(cluster.replica.entries)
        await asyncio.sleep(600)
        assert len(judge.asked) == CONDITION_TRIES
        assert len(cluster.replica.entries) == entries
        await cluster.stop()

    virtual(main)


def test_the_next_leader_goes_on_counting() -> None:
    async def main() -> None:
        first, second = Sick(Crashed("it ended")), Sick(Crashed("it ended"))
        cluster = await begin(first)
        await cluster.until(lambda: bad(cluster).condition_crashes == 3)
        cluster.depose()
        cluster.replica.observers.clear()
        old = cluster.replica
        later = Cluster(FakeReplica(old.state, old.term + 1, old.all_rows), judge=second).begin()
        await later.until(lambda: bad(later).state == t.TASK_STATE_SKIPPED)
        assert len(first.asked) + len(second.asked) == CONDITION_TRIES
        await later.stop()
        await cluster.stop()

    virtual(main)


def test_a_leader_that_cannot_judge_says_so_once_and_goes_on_trying() -> None:
    async def main() -> None:
        judge = Sick(Unanswered("no process for conditions: out of memory"))
        cluster = await begin(judge)
        await asyncio.sleep(600)
        assert bad(cluster).state == t.TASK_STATE_PENDING
        assert bad(cluster).reason.endswith("no process for conditions: out of memory")
        assert len(told(cluster)) == 1
        assert len(judge.asked) > CONDITION_TRIES
        assert len([entry for entry in cluster.replica.entries if _unanswered(entry)]) == 1
        judge.error = Crashed("it ended")
        await asyncio.sleep(600)
        assert bad(cluster).state == t.TASK_STATE_SKIPPED
        await cluster.stop()

    virtual(main)
