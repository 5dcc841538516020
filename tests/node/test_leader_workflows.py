"""The leader's verdicts on conditions, on virtual time: judged once, recorded, tried again, taken over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cortex.v1.cluster_pb2 import WorkflowTaskRequest
from cortex.v1.log_pb2 import (
    Command,
    SettingsChange,
    TaskAssign,
    TaskComplete,
    TaskFailed,
    TaskRetry,
    WorkflowCancel,
    WorkflowSubmit,
)
from cortex.v1.types_pb2 import (
    CAUSE_EXIT,
    ContextItem,
    Placement,
    StreamSummary,
    Task,
    TaskResult,
    TaskState,
    Workflow,
    WorkflowState,
)
from node.conditions.direct import DirectJudge
from node.conditions.port import Answer, Question, Unanswered
from node.core import workflow
from node.core.faults import Code, Fault
from tests.core.workflows import request, step
from tests.node.leader_kit import Cluster, machine_node, shell, virtual

STATES = {number: name.removeprefix("TASK_STATE_").lower() for name, number in TaskState.items()}


class CountingJudge(DirectJudge):
    """Keeps what it was asked; leaves the first `deaf` questions without an answer."""

    def __init__(self, deaf: int = 0) -> None:
        self.asked: list[str] = []
        self.deaf = deaf
        self.closed = 0

    async def judge(self, question: Question) -> Answer:
        self.asked.append(question.expression)
        await asyncio.sleep(0.001)
        if len(self.asked) <= self.deaf:
            raise Unanswered("it ended")
        return await super().judge(question)

    async def close(self) -> None:
        self.closed += 1


def submission(*steps: object, **more: object) -> WorkflowSubmit:
    return workflow.complete(request(*steps, **more), "w")  # type: ignore[arg-type]


async def begin(*steps: object, judge: CountingJudge | None = None, **more: object) -> Cluster:
    """A leader with one workflow, "w", and a node that tests speak for."""
    cluster = Cluster(judge=judge or CountingJudge()).begin()
    await cluster.replica.execute([Command(node_join={"node": machine_node(slots=64)})])
    reply = await cluster.replica.execute([Command(workflow_submit=submission(*steps, **more))])
    assert reply.commands[0].accepted, reply
    return cluster


def states(cluster: Cluster) -> dict[str, str]:
    return {task.task_key: STATES[task.state] for task in cluster.replica.past.of(Task)}


def flow(cluster: Cluster) -> Workflow:
    (found,) = cluster.replica.past.of(Workflow)
    return found


async def assign(cluster: Cluster, number: int) -> int:
    placement = Placement(node="n1")
    reply = await cluster.replica.execute([Command(task_assign=TaskAssign(id=f"w.{number}", placement=placement))])
    assert reply.commands[0].accepted, reply
    return reply.index


async def finish(cluster: Cluster, number: int, stdout: bytes = b"", update: bytes = b"") -> None:
    fence = await assign(cluster, number)
    result = TaskResult(
        exit_code=0, stdout=StreamSummary(head=stdout, total_bytes=len(stdout)), context_update=update
    )
    done = TaskComplete(id=f"w.{number}", fence=fence, result=result)
    assert (await cluster.replica.execute([Command(task_complete=done)])).commands[0].accepted


async def fail(cluster: Cluster, number: int) -> None:
    report = TaskFailed(
        id=f"w.{number}", fence=await assign(cluster, number), cause=CAUSE_EXIT, result=TaskResult(exit_code=3)
    )
    assert (await cluster.replica.execute([Command(task_failed=report)])).commands[0].accepted


async def settled(cluster: Cluster, key: str, state: str) -> None:
    await cluster.until(lambda: states(cluster).get(key) == state)


def verdicts(cluster: Cluster) -> list[str]:
    return [kind for kinds in cluster.replica.kinds() for kind in kinds if kind == "workflow_advance"]


def test_a_verdict_reads_outputs_and_context() -> None:
    async def main() -> None:
        cluster = await begin(
            step("test"),
            step("build"),
            step(
                "deploy",
                "build",
                "test",
                condition="parent.build.exitCode === 0 && /0 failures/.test(parent.test.stdout)"
                " && workflow.context.target === 'prod' && workflow.context.tests === 12",
            ),
            step("stay", "build", "test", condition="parent.test.stdout.includes('1 failure')"),
            context=[ContextItem(key="target", value=b'"prod"')],
        )
        await finish(cluster, 0, b"12 passed, 0 failures\n", b'{"tests": 12}')
        assert states(cluster)["deploy"] == "pending"
        await finish(cluster, 1)
        await settled(cluster, "deploy", "queued")
        await settled(cluster, "stay", "skipped")
        assert len(verdicts(cluster)) == 2
        await cluster.stop()

    virtual(main)


def test_a_condition_without_dependencies_is_judged_at_once() -> None:
    async def main() -> None:
        cluster = await begin(
            step("a", condition="workflow.context.go"), step("b", condition="!workflow.context.go")
        )
        await settled(cluster, "b", "queued")
        assert states(cluster)["a"] == "skipped"
        await cluster.stop()

    virtual(main)


def test_what_a_rule_denies_is_not_evaluated() -> None:
    async def main() -> None:
        judge = CountingJudge()
        cluster = await begin(step("a"), step("b", "a", condition="1"), step("c"), judge=judge)
        await fail(cluster, 0)
        await settled(cluster, "b", "skipped")
        assert judge.asked == []
        await cluster.stop()

    virtual(main)


def test_an_error_is_false_and_recorded() -> None:
    async def main() -> None:
        cluster = await begin(step("a", condition="nothing.there"), step("b"))
        await settled(cluster, "a", "skipped")
        task = cluster.task("w.0")
        assert "nothing is not defined" in task.condition_error
        await cluster.stop()

    virtual(main)


def test_three_timeouts_fail_the_workflow() -> None:
    class Slow(CountingJudge):
        async def judge(self, question: Question) -> Answer:
            return Answer(False, "It ran longer than 100 ms.", timed_out=True)

    async def main() -> None:
        cluster = await begin(*(step(key, condition="loop") for key in "abc"), step("other"), judge=Slow())
        await cluster.until(lambda: flow(cluster).state == WorkflowState.WORKFLOW_STATE_FAILED)
        assert states(cluster)["other"] == "cancelled"
        await cluster.stop()

    virtual(main)


def test_no_answer_is_no_verdict_and_others_do_not_wait() -> None:
    class Picky(CountingJudge):
        async def judge(self, question: Question) -> Answer:
            self.asked.append(question.expression)
            if question.expression == "poison" and self.asked.count("poison") < 6:
                raise Unanswered("it ended")
            return Answer(True)

    async def main() -> None:
        judge = Picky()
        cluster = await begin(
            step("bad", condition="poison"), step("a"), step("b", "a", condition="1"), judge=judge
        )
        loop = asyncio.get_running_loop()
        await asyncio.sleep(10)
        assert states(cluster)["bad"] == "pending"
        begun_s = loop.time()
        await finish(cluster, 1)
        await settled(cluster, "b", "queued")
        assert loop.time() - begun_s < 1
        await settled(cluster, "bad", "queued")
        assert judge.asked.count("poison") == 6
        assert loop.time() > 1 + 2 + 4 + 8 + 16
        await cluster.stop()

    virtual(main)


def test_what_could_not_be_recorded_is_judged_again() -> None:
    async def main() -> None:
        judge = CountingJudge()
        cluster = await begin(step("a"), step("b", "a", condition="1"), judge=judge)
        await finish(cluster, 0)
        cluster.replica.fault = Fault(Code.OUTCOME_UNKNOWN, "Not confirmed.", "Again.")
        await asyncio.sleep(5)
        assert judge.asked
        cluster.replica.fault = None
        await settled(cluster, "b", "queued")
        await cluster.stop()

    virtual(main)


def test_a_verdict_that_is_overtaken_is_judged_anew() -> None:
    class Late(CountingJudge):
        """A dependency is retried while it thinks."""

        async def judge(self, question: Question) -> Answer:
            self.asked.append(question.expression)
            if len(self.asked) == 1:
                assert (
                    (await cluster.replica.execute([Command(task_retry=TaskRetry(id="w.0"))])).commands[0].accepted
                )
            return Answer("completed" in question.inputs.decode())

    async def main() -> None:
        nonlocal cluster
        judge = Late()
        cluster = await begin(step("a"), step("b", "a", condition="parent"), step("c"), judge=judge)
        await fail(cluster, 0)
        await asyncio.sleep(5)
        assert states(cluster) == {"a": "queued", "b": "pending", "c": "queued"}
        await finish(cluster, 0)
        await settled(cluster, "b", "queued")
        assert len(judge.asked) == 2
        await cluster.stop()

    cluster: Cluster
    virtual(main)


def test_nothing_is_judged_once_the_workflow_is_over() -> None:
    async def main() -> None:
        judge = CountingJudge(deaf=1 << 30)
        cluster = await begin(step("a", condition="1"), judge=judge)
        await asyncio.sleep(1)
        await cluster.replica.execute([Command(workflow_cancel=WorkflowCancel(id="w"))])
        await asyncio.sleep(100)
        asked = len(judge.asked)
        await asyncio.sleep(1000)
        assert len(judge.asked) == asked
        await cluster.stop()
        assert judge.closed

    virtual(main)


SHAPE = (
    step("lint"),
    step("test"),
    step("build", "lint", "test", condition="parent.lint.exitCode === 0 && parent.test.exitCode === 0"),
    step("deploy", "build", "test", condition="workflow.context.built === true"),
    step("tell", "build", rule="one_failed"),
    step("clean", final=True, condition="true"),
)


async def work(cluster: Cluster, done: set[str]) -> None:
    """Run whatever is queued, once."""
    for task in sorted(cluster.replica.state.tasks.values(), key=lambda one: one.member):
        if STATES[task.state] == "queued":
            update = b'{"built": true}' if task.task_key == "build" else b""
            await finish(cluster, task.member, update=update)
            assert task.task_key not in done
            done.add(task.task_key)


async def with_leader_changes(after: Sequence[int]) -> dict[str, str]:
    """Run SHAPE; a new leader takes over after each of these numbers of entries, whatever they were."""
    cluster = await begin(*SHAPE)
    done: set[str] = set()
    changes = sorted(after)
    for _ in range(200):
        if flow(cluster).state not in (
            WorkflowState.WORKFLOW_STATE_PENDING,
            WorkflowState.WORKFLOW_STATE_RUNNING,
        ):
            break
        if changes and cluster.replica.state.index >= changes[0]:
            changes.pop(0)
            cluster = cluster.successor(judge=CountingJudge())
        else:
            await work(cluster, done)
        await asyncio.sleep(0.05)
    found = states(cluster)
    assert flow(cluster).state == WorkflowState.WORKFLOW_STATE_COMPLETED, found
    await cluster.stop()
    return found


def test_leader_changes_at_every_step_make_no_difference() -> None:
    expected = {
        "lint": "completed",
        "test": "completed",
        "build": "completed",
        "deploy": "completed",
        "tell": "skipped",
        "clean": "completed",
    }

    async def main() -> None:
        assert await with_leader_changes([]) == expected
        for step_ in range(2, 18):
            assert await with_leader_changes([step_]) == expected
        assert await with_leader_changes(list(range(2, 18))) == expected

    virtual(main)


async def setting(cluster: Cluster, name: str, value: int) -> None:
    change = SettingsChange(name=name, value=str(value))
    assert (await cluster.replica.execute([Command(settings_change=change)])).commands[0].accepted


def over(*, failed: bool) -> tuple[WorkflowTaskRequest, ...]:
    """One whose conditions end it at once: completed, or failed by their timeouts."""
    return tuple(step(key, condition="loop" if failed else "0") for key in "abc")


def test_old_workflows_leave_whole_and_failed_ones_later() -> None:
    class Looping(CountingJudge):
        async def judge(self, question: Question) -> Answer:
            late = question.expression == "loop"
            return Answer(False, "It ran longer than 100 ms." if late else "", timed_out=late)

    async def main() -> None:
        hour_s = 3600
        cluster = Cluster(judge=Looping(), heartbeat_ms=hour_s * 1000, offline_ms=hour_s * 1000).begin()
        await setting(cluster, "ended_tasks_kept_s", hour_s)
        await setting(cluster, "dead_letters_kept_s", 4 * hour_s)
        for number, steps in enumerate((over(failed=False), over(failed=True))):
            made = workflow.complete(request(*steps), f"w{number}")
            await cluster.replica.execute([Command(workflow_submit=made)])
        await cluster.until(lambda: all(row.completed_at_us for row in cluster.replica.past.of(Workflow)))
        await asyncio.sleep(0.9 * hour_s)
        assert len(cluster.replica.past.of(Task)) == 6
        await asyncio.sleep(hour_s)
        assert [row.id for row in cluster.replica.past.of(Workflow)] == ["w1"]
        assert len(cluster.replica.past.of(Task)) == 3
        await asyncio.sleep(4 * hour_s)
        assert cluster.replica.past.of(Workflow) == []
        assert cluster.replica.past.of(Task) == []
        await cluster.stop()

    virtual(main)


def test_too_many_leave_whole_workflows_with_other_tasks() -> None:
    async def main() -> None:
        cluster = Cluster(judge=CountingJudge()).begin()
        for number in range(6):
            made = workflow.complete(request(*over(failed=False)), f"w{number}")
            await cluster.replica.execute([Command(workflow_submit=made)])
            await cluster.until(lambda: all(row.completed_at_us for row in cluster.replica.past.of(Workflow)))
            await cluster.submit(shell(f"t{number}"))
            await cluster.cancel(f"t{number}")
        await setting(cluster, "max_ended_tasks", 9)
        await asyncio.sleep(600)
        left = sorted(task.id for task in cluster.replica.past.of(Task))
        assert 5 <= len(left) <= 9
        whole = {row.id for row in cluster.replica.past.of(Workflow)}
        assert [one for one in left if "." in one] == [f"{key}.{n}" for key in sorted(whole) for n in range(3)]
        await cluster.stop()

    virtual(main)
