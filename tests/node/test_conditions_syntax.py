"""Whether a condition can be read: told at submission, with line and column, and without running any of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1.types_pb2 import TaskSpec
from node.conditions.direct import DirectJudge
from node.conditions.port import Answer, Judge, Question, Unanswered
from node.conditions.process import ProcessJudge
from node.core.faults import Code, Fault
from tests.node.leader_kit import Cluster, virtual
from tests.node.replica_kit import ANN, alone


async def flaw(expression: str, judge: Judge | None = None) -> str:
    answer = await (judge or DirectJudge()).judge(Question(expression, syntax_only=True))
    assert answer.value == (not answer.error) or not answer.timed_out
    return answer.error


@pytest.mark.parametrize(
    "expression",
    [
        "true",
        "parent.build.exitCode === 0 && /0 failures/.test(parent.test.stdout)",
        "nothing.there",
        "1 // with a comment",
        "\n true &&\n true\n",
        "(() => { while (true) {} })()",
        "(() => { throw new SyntaxError('of its own') })()",
        "'x'.repeat(1e9)",
    ],
)
async def test_what_can_be_read_is_not_run(expression: str) -> None:
    assert await flaw(expression) == ""


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("a b", "Unexpected identifier 'b' at line 1, column 3"),
        ("true &&\n  ) x", "unexpected token in expression: ')' at line 2, column 3"),
        ("true &&\u2028\u2028 @", "unexpected token in expression: '@' at line 3, column 2"),
        ("'abc", "unexpected end of string at line 1, column 1"),
        ("return 1", "unexpected token in expression: 'return' at line 1, column 1"),
        ("parent.a.exitCode === 0 &&", "it ends too early"),
        ("parent.a.test(", "it ends too early"),
        ("1)}); while (true) {} (() => { (2", "at line 1, column 3"),
        ("/(/.test('x')", "expecting ')'"),
        ("1);\nthrow (2", "at line 1, column 2"),
        ("true) || (false", "at line 1, column 5"),
        ("true], [false", "at line 1, column 5"),
        ("if (true) {}", "'if' at line 1, column 1"),
    ],
)
async def test_what_cannot_be_read_is_told_with_its_place(expression: str, told: str) -> None:
    assert told in await flaw(expression)


async def test_the_process_tells_the_same() -> None:
    judge = ProcessJudge(patience_s=60.0)
    try:
        assert await flaw("a b", judge) == "Unexpected identifier 'b' at line 1, column 3"
        assert await flaw("true", judge) == ""
        assert await judge.judge(Question("true", b"{}")) == Answer(True)
    finally:
        await judge.close()


class _Asked(DirectJudge):
    """Remembers what it was asked; on "crash" it has no answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closed = 0

    async def judge(self, question: Question) -> Answer:
        self.asked.append(question.expression)
        if question.expression == "crash":
            raise Unanswered("it is gone")
        return await super().judge(question)

    async def close(self) -> None:
        self.closed += 1


def test_a_follower_lets_go_of_the_process_and_a_leader_keeps_it() -> None:
    judge = _Asked()

    async def run() -> None:
        cluster = Cluster(judge=judge)
        assert await cluster.leadership.condition_flaw(["true", "a b", "c d"]) == (
            "a b",
            "Unexpected identifier 'b' at line 1, column 3",
        )
        assert (judge.asked, judge.closed) == (["true", "a b"], 1)
        assert await cluster.leadership.condition_flaw(["crash", "a b"]) is None
        assert judge.closed == 2
        cluster.begin()
        assert await cluster.leadership.condition_flaw(["true"]) is None
        assert judge.closed == 2
        await cluster.leadership.stop()

    virtual(run)


@pytest.fixture
async def submit(tmp_path: Path) -> AsyncIterator[object]:
    async with alone(tmp_path) as daemon:
        leadership = Cluster().leadership
        daemon.leadership.condition_flaw = leadership.condition_flaw

        async def asked(condition: str, *, dry_run: bool = False) -> pb.SubmitWorkflowReply:
            spec = pb.TaskRequest(spec=TaskSpec(shell_command=b"true"))
            tasks = [
                pb.WorkflowTaskRequest(key="build", task=spec),
                pb.WorkflowTaskRequest(key="ship", task=spec, depends_on=["build"], condition=condition),
            ]
            return await daemon.workflows.submit(pb.SubmitWorkflowRequest(tasks=tasks, dry_run=dry_run), ANN)

        yield asked


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_workflow_is_refused_whose_condition_cannot_be_read(submit, dry_run: bool) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Fault) as caught:
        await submit("parent.build.exitCode = = 0", dry_run=dry_run)
    assert caught.value.code == Code.INVALID
    assert caught.value.message.startswith("Task 'ship': condition is no JavaScript expression: ")
    assert caught.value.message.endswith("at line 1, column 25.")
    assert caught.value.remedy
    assert (await submit("parent.build.exitCode === 0", dry_run=dry_run)).tasks == 2
