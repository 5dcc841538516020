"""Conditions: what an expression sees and may do, and the process that evaluates them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import ContextItem, StreamSummary, Task, TaskResult, Workflow
from node.conditions.direct import DirectJudge
from node.conditions.inputs import OUTPUT_LIMIT_BYTES, question
from node.conditions.port import Answer, Question, Unanswered
from node.conditions.process import ProcessJudge

COMPLETED = types_pb2.TASK_STATE_COMPLETED
PARENTS = {
    "build": {"exitCode": 0, "stdout": "linked 12 files\n", "stderr": "", "state": "completed", "truncated": False},
    "test": {"exitCode": 1, "stdout": "5 passed, 0 failures", "stderr": "é", "state": "failed", "truncated": True},
    "unit-test": {"exitCode": None, "stdout": "", "stderr": "", "state": "skipped", "truncated": False},
}
CONTEXT = {"target": "prod", "limits": {"errors": [1, 2, 3]}}
INPUTS = json.dumps({"parent": PARENTS, "workflow": {"context": CONTEXT}}).encode()


@pytest.fixture
async def judge() -> AsyncIterator[ProcessJudge]:
    made = ProcessJudge(patience_s=60.0)
    yield made
    await made.close()


async def ask(judge: ProcessJudge | DirectJudge, expression: str) -> Answer:
    return await judge.judge(Question(expression, INPUTS))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("parent.build.exitCode === 0", True),
        ("parent.build.exitCode !== 0", False),
        ("parent.test.stdout.includes('0 failures')", True),
        ("parent.test.stdout.includes('1 failure')", False),
        ("parent.build.exitCode === 0 && /\\b0 failures/.test(parent.test.stdout)", True),
        ("parent.build.exitCode === 0 && (parent.test.exitCode === 0 || parent.test.truncated)", True),
        ("!parent.test.truncated", False),
        ("/^linked \\d+ files$/m.test(parent.build.stdout)", True),
        ("Number(parent.build.stdout.match(/(\\d+)/)[1]) > 11", True),
        ("parent['unit-test'].exitCode === null && parent['unit-test'].state === 'skipped'", True),
        ("parent.test.stderr === 'é'", True),
        ("workflow.context.target === 'prod'", True),
        ("workflow.context.limits.errors.some(n => n > 2)", True),
        ("workflow.context.missing === undefined", True),
        ("Object.keys(parent).length === 3", True),
        ("Object.values(parent).every(p => p.exitCode === 0)", False),
        ("1 // with a comment", True),
        ("\n  true &&\n  true\n", True),
        ("0", False),
        ("''", False),
        ("'x'", True),
        ("null", False),
        ("undefined", False),
        ("NaN", False),
        ("[]", True),
        ("1n", True),
    ],
)
async def test_values(expression: str, value: bool) -> None:
    assert await ask(DirectJudge(), expression) == Answer(value)


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("", "SyntaxError"),
        ("parent.", "SyntaxError"),
        ("while (true) {}", "SyntaxError"),
        ("nothing.there", "ReferenceError: nothing is not defined"),
        ("parent.deploy.exitCode === 0", "TypeError"),
        ("(() => { throw new Error('told') })()", "Error: told"),
        ("(() => { throw null })()", "null"),
        ("made = 1", "ReferenceError"),
        ("(function f() { return f() + 1 })()", "Maximum call stack"),
        ("'['.repeat(9e4) && JSON.parse('['.repeat(9e4))", "Maximum call stack"),
        ("eval('('.repeat(9e4))", "Maximum call stack"),
        ("'x'.repeat(1e9)", "8 MB"),
        ("(() => { const all = []; while (true) all.push(new Array(1000).fill(1)) })()", "8 MB"),
    ],
)
async def test_errors_are_false_and_say_why(expression: str, error: str) -> None:
    answer = await ask(DirectJudge(), expression)
    assert (answer.value, answer.timed_out) == (False, False)
    assert error in answer.error
    assert "\n" not in answer.error


@pytest.mark.parametrize(
    "name",
    [
        "process", "require", "module", "console", "std", "os", "scriptArgs", "print", "fetch", "setTimeout",
        "performance", "Date", "WebAssembly", "Worker", "SharedArrayBuffer", "Atomics", "inputs", "name", "Deno",
    ],
)  # fmt: skip
async def test_nothing_of_the_host_is_there(name: str) -> None:
    assert (await ask(DirectJudge(), f"typeof {name} === 'undefined'")).value
    assert (await ask(DirectJudge(), f"!('{name}' in globalThis)")).value


async def test_chance_is_taken_away() -> None:
    assert (await ask(DirectJudge(), "Math.random === undefined")).value


async def test_one_leaves_nothing_to_the_next(judge: ProcessJudge) -> None:
    assert (await ask(judge, "(globalThis.kept = 1) && (Object.prototype.kept = 2)")).value
    assert (await ask(judge, "globalThis.kept === undefined && ({}).kept === undefined")).value


@pytest.mark.parametrize(
    "expression",
    [
        "(() => { while (true) {} })()",
        "/(a+)+$/.test('a'.repeat(40) + 'b')",
        "(async () => { while (true) {} })()",
    ],
)
async def test_what_does_not_end_is_interrupted(judge: ProcessJudge, expression: str) -> None:
    answer = await ask(judge, expression)
    assert (answer.value, answer.timed_out) == (False, True)
    pid = judge.pid
    assert (await ask(judge, "1")).value
    assert judge.pid == pid


async def test_what_cannot_be_interrupted_is_killed_and_judged(judge: ProcessJudge) -> None:
    assert (await ask(judge, "1")).value
    pid = judge.pid
    answer = await ask(judge, "new Array(2 ** 32 - 1).join('')")
    assert (answer.value, answer.timed_out) == (False, True)
    assert (await ask(judge, "1")).value
    assert judge.pid != pid


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


async def test_begins_with_the_first_question(judge: ProcessJudge) -> None:
    assert judge.pid == 0
    await ask(judge, "1")
    lines = status_of(judge.pid).splitlines()
    status = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.split()}
    assert status["Threads"] == "1"
    assert int(status["VmRSS"]) < 40_000


async def test_a_crash_is_no_verdict(judge: ProcessJudge) -> None:
    await ask(judge, "1")
    os.kill(judge.pid, signal.SIGKILL)
    with pytest.raises(Unanswered):
        await ask(judge, "1")
    assert (await ask(judge, "1")).value


async def test_a_process_that_stands_still_is_replaced() -> None:
    judge = ProcessJudge(patience_s=0.2)
    begun = ProcessJudge(patience_s=60.0)
    await ask(begun, "1")
    judge._process, begun._process = begun._process, None
    os.kill(judge.pid, signal.SIGSTOP)
    with pytest.raises(Unanswered):
        await ask(judge, "1")
    assert judge.pid == 0
    await judge.close()


async def test_a_cancelled_question_does_not_answer_the_next(judge: ProcessJudge) -> None:
    await ask(judge, "1")
    os.kill(judge.pid, signal.SIGSTOP)
    late = asyncio.ensure_future(ask(judge, "1"))
    for _ in range(10):
        await asyncio.sleep(0)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert await ask(judge, "0") == Answer(False)


async def test_questions_take_turns(judge: ProcessJudge) -> None:
    expressions = [f"{number} % 3 === 0" for number in range(50)]
    answers = await asyncio.gather(*(ask(judge, each) for each in expressions))
    assert [answer.value for answer in answers] == [number % 3 == 0 for number in range(50)]


# What an expression is shown


def parent(
    key: str, stdout: bytes = b"", *, state: types_pb2.TaskState.ValueType = COMPLETED, **more: object
) -> Task:
    summary = StreamSummary(head=stdout[:4096], tail=stdout[-12288:][: max(len(stdout) - 4096, 0)])
    summary.total_bytes = len(stdout)
    result = TaskResult(exit_code=0, stdout=summary)
    return Task(id=f"w.{key}", task_key=key, state=state, result=result, **more)  # type: ignore[arg-type]


def seen(expression: str, *parents: Task, context: dict[str, object] | None = None) -> dict[str, dict[str, object]]:
    items = [ContextItem(key=key, value=json.dumps(value).encode()) for key, value in (context or {}).items()]
    asked = question(Task(condition=expression), parents, Workflow(context=items))
    assert asked.expression == expression
    found: dict[str, dict[str, object]] = json.loads(asked.inputs)
    return found


def test_head_and_tail_make_the_output() -> None:
    whole = b"a" * 5000
    long = b"b" * 4096 + b"cut" * 9000
    found = seen("x", parent("short", b"\xff\n"), parent("whole", whole), parent("long", long))["parent"]
    assert found["short"] == {
        "exitCode": 0, "stdout": "\ufffd\n", "stderr": "", "state": "completed", "truncated": False,
    }  # fmt: skip
    assert (found["whole"]["stdout"], found["whole"]["truncated"]) == (whole.decode(), False)  # type: ignore[index]
    assert (len(found["long"]["stdout"]), found["long"]["truncated"]) == (16384, True)  # type: ignore[index,arg-type]


def test_what_was_skipped_or_killed_has_no_exit_code() -> None:
    skipped = parent("skipped", b"from an earlier run", state=types_pb2.TASK_STATE_SKIPPED)
    killed = Task(task_key="killed", state=types_pb2.TASK_STATE_FAILED, result=TaskResult(signal=9))
    never = Task(task_key="never", state=types_pb2.TASK_STATE_CANCELLED)
    found = seen("x", skipped, killed, never)["parent"]
    assert [found[key]["exitCode"] for key in ("skipped", "killed", "never")] == [None, None, None]  # type: ignore[index]
    assert found["skipped"]["stdout"] == ""  # type: ignore[index]
    assert found["skipped"]["state"] == "skipped"  # type: ignore[index]


def test_instances_of_a_map_are_there_as_a_list_too() -> None:
    parents = [parent(f"t[{n}]", str(n).encode(), template="t", member=n) for n in (1, 0, 2)]
    found = seen("x", *parents)["parent"]
    assert [one["stdout"] for one in found["t"]] == ["0", "1", "2"]  # type: ignore[index,attr-defined,call-overload]


async def test_the_outputs_of_a_thousand_are_bounded_and_those_that_are_named_are_whole() -> None:
    parents = [parent(f"t{n}", b"x" * 16384) for n in range(1000)]
    condition = "parent.t999.stdout.length === 16384 && !parent.t999.truncated && parent['t' + 400].truncated"
    asked = question(Task(condition=condition), parents, Workflow())
    assert len(asked.inputs) < OUTPUT_LIMIT_BYTES + 200_000
    assert (await DirectJudge().judge(asked)) == Answer(True)


def test_the_context_is_there_as_it_is() -> None:
    assert seen("x", context={"a": {"b": [1, None]}, "__proto__": 1})["workflow"]["context"] == {
        "a": {"b": [1, None]},
        "__proto__": 1,
    }
