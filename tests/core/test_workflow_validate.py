"""What a workflow may ask for: every refusal names the fault and the remedy, before anything large is made."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import pytest

from cortex.v1 import types_pb2
from cortex.v1.cluster_pb2 import WorkflowTaskRequest
from cortex.v1.log_pb2 import Command, WorkflowSubmit, WorkflowTaskDef
from cortex.v1.types_pb2 import ContextItem, EnvVar
from node.core import workflow, workflow_checks
from node.core.dag import find_cycle, is_final
from node.core.faults import Code, Fault
from tests.core.cluster import cluster
from tests.core.workflows import request, step, try_submit


def fault(*steps: WorkflowTaskRequest, **more: object) -> Fault:
    with pytest.raises(Fault) as caught:
        workflow.complete(request(*steps, **more), "w")
    assert caught.value.remedy
    assert len(caught.value.message) < 1000
    return caught.value


def done(*steps: WorkflowTaskRequest, **more: object) -> WorkflowSubmit:
    return workflow.complete(request(*steps, **more), "w")


def definitions(submit: WorkflowSubmit) -> dict[str, WorkflowTaskDef]:
    return {task.key: task for task in submit.tasks}


def cycle(keys: Sequence[str]) -> list[WorkflowTaskRequest]:
    return [step(key, keys[number - 1]) for number, key in enumerate(keys)]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "no tasks"),
        ([step("a", "a")], "'a' depends on itself"),
        ([step("a", "b")], "'b', which the workflow does not have"),
        ([step("a"), step("b", "a", "a")], "'b' depends on 'a' twice"),
        ([step("a"), step("a")], "Two tasks have the key 'a'"),
        (cycle(["a", "b"]), "circle: "),
        ([*cycle(["x", "y", "z"]), step("a"), step("b", "a", "z")], "circle: "),
        ([step("")], "no key"),
        ([step("a b")], "'a b'"),
        ([step("a\x1b[31m")], "must be made of"),
        ([step("a\u202e")], "must be made of"),
        ([step("a[0]")], "'a[0]'"),
        ([step("x" * 101)], "101 characters"),
        ([step("a", condition="x" * 4097)], "4097 bytes"),
        ([step("a", condition="ü" * 2049)], "4098 bytes"),
        ([step("a", condition="1 \0")], "U+0000"),
        ([step("a", condition="'\u202e'")], "U+202E"),
        ([step("a", rule="one_failed")], "depends on nothing"),
        ([step("a", rule="one_success")], "depends on nothing"),
        ([step("f", final=True), step("a", "f")], "runs finally"),
        ([step("a", spec={"argv": []})], "Task 'a': The command is empty"),
        ([step("a", spec={"kill_timeout_ms": -1})], "Task 'a': kill_timeout_ms"),
        ([step("a", mapped=True)], "all its maps are empty"),
        ([step("a", map=[b"{"])], "Item 0 of its map"),
        ([step("a", map=[b"1", b"NaN"])], "Item 1 of its map"),
        ([step("a", map=[b"[" * 100 + b"]" * 100])], "nests 100 levels"),
        ([step("a", map=[b'"x\\u0000"'], spec={"argv": [b"echo", b"{{item}}"]})], "NUL"),
    ],
)
def test_refusals(steps: list[WorkflowTaskRequest], words: str) -> None:
    found = fault(*steps)
    assert words in found.message
    assert found.code == Code.INVALID


def test_a_cycle_is_told_in_the_order_of_its_dependencies() -> None:
    message = fault(step("a", "c"), step("b", "a"), step("c", "b"), step("d", "c")).message
    path = message.removesuffix(".").partition(": ")[2].split(" -> ")
    after = {"a": "c", "b": "a", "c": "b"}
    assert sorted(set(path)) == ["a", "b", "c"]
    assert path[0] == path[-1]
    assert all(after[later] == earlier for earlier, later in itertools.pairwise(path))


def test_a_long_cycle_is_shortened() -> None:
    message = fault(*cycle([f"k{number}" for number in range(1000)])).message
    assert "990 more" in message


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"name": "a\nb"}, "U+000A"),
        ({"name": "x" * 201}, "201 characters"),
        ({"submit_key": "\x07"}, "U+0007"),
        ({"policy": 9}, "policy has the unknown value 9"),
        ({"max_failures": 2}, "max_failures is 2"),
        ({"context": [ContextItem(key="a", value=b"{")]}, "value of 'a'"),
        ({"context": [ContextItem(key="a", value=b"")]}, "value of 'a'"),
        ({"context": [ContextItem(key="", value=b"1")]}, "key is empty"),
        ({"context": [ContextItem(key="a", value=b"1")] * 2}, "twice"),
        ({"context": [ContextItem(key="a", value=b'"' + b"x" * 65_536 + b'"')]}, "65539 bytes"),
        ({"context": [ContextItem(key="k" * 101, value=b"1")]}, "101 characters"),
    ],
)
def test_refusals_of_the_whole(more: dict[str, object], words: str) -> None:
    assert words in fault(step("a"), **more).message


def test_only_what_is_too_large_is_told_to_be_kept_in_files() -> None:
    large = ContextItem(key="a", value=b'"' + b"x" * 65_536 + b'"')
    assert "files" in fault(step("a"), context=[large]).remedy
    odd = fault(step("a"), context=[ContextItem(key="\x1b", value=b"1")])
    assert ("U+001B" in odd.message, odd.remedy) == (True, "Correct the context.")


def test_unknown_rule() -> None:
    bad = step("a")
    bad.rule = 77  # type: ignore[assignment]
    assert "rule has the unknown value 77" in fault(bad).message


def test_a_member_has_no_submit_key() -> None:
    bad = step("a")
    bad.task.submit_key = "k"
    assert "submit key" in fault(bad).message


# Limits, checked before what they bound is made


def wide(count: int) -> list[WorkflowTaskRequest]:
    return [step("root"), *(step(f"t{number}", "root") for number in range(count))]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (wide(10_000), "10001 tasks"),
        ([step("k0"), *(step(f"k{n}", f"k{n - 1}") for n in range(1, 100_000))], "100000 tasks"),
        (cycle([f"k{n}" for n in range(10_000)]), "10000 tasks"),
        ([step("a", map=[b"1"] * 1001)], "1001 tasks"),
        ([step("a"), step("b", *(["a"] * 1_000_000))], "1000000 dependencies"),
        ([step("a", map=[b"1"] * 200), step("b", "a", map=[b"1"] * 200)], "40000 dependencies"),
        ([step(f"k{n}", *(f"k{m}" for m in range(n))) for n in range(300)], "44850 dependencies"),
    ],
    ids=["fan-out", "depth", "long cycle", "map", "edges", "mapped edges", "dense"],
)
def test_what_is_too_large_is_refused_at_once(steps: list[WorkflowTaskRequest], words: str) -> None:
    asked = request(*steps)
    begun = time.process_time()
    with pytest.raises(Fault) as caught:
        workflow.complete(asked, "w")
    assert words in caught.value.message
    assert caught.value.code == Code.TOO_LARGE
    # CPU time: counting takes a fraction of that, expanding many times as much.
    assert time.process_time() - begun < 2.0


def test_bytes_have_a_limit() -> None:
    big = {"argv": [b"x" * 100_000]}
    assert "bytes, maps expanded" in fault(*(step(f"t{n}", spec=big) for n in range(40))).message


def test_what_a_map_makes_is_counted_before_it_is_made() -> None:
    item = b'"' + b"x" * 100_000 + b'"'
    often = {"argv": [], "shell_command": b"{{item}}" * 16_000}
    assert "1600128004 bytes" in fault(step("t", map=[item], spec=often)).message
    long = {"argv": [b"x" * 100_000, b"{{index}}"]}
    assert "bytes, maps expanded" in fault(step("t", map=[b"1"] * 1000, spec=long)).message


def test_cycles_are_found_without_recursion() -> None:
    count = 100_000
    chain = [[], *([n] for n in range(count - 1))]
    assert find_cycle(chain) == []
    chain[0] = [count - 1]
    assert len(find_cycle(chain)) == count


def test_a_thousand_in_a_row_and_side_by_side() -> None:
    chain = [step("k0"), *(step(f"k{n}", f"k{n - 1}") for n in range(1, 1000))]
    fan = [*wide(998), step("end", *(f"t{n}" for n in range(998)))]
    m = cluster()
    for steps in (chain, fan):
        assert try_submit(m, *steps).accepted


# What becomes of what is fine


def test_defaults() -> None:
    made = done(step("a"), step("b", "a"))
    assert (made.name, made.policy) == ("w", types_pb2.FAILURE_POLICY_CONTINUE)
    tasks = definitions(made)
    assert (tasks["a"].name, list(tasks["b"].depends_on)) == ("a", [0])
    assert tasks["a"].rule == types_pb2.RULE_ALL_SUCCESS
    assert tasks["a"].spec.kill_timeout_ms == 5000


def test_context_is_compact_and_in_order() -> None:
    items = [ContextItem(key="b", value=b'{ "x" : 1 }'), ContextItem(key="a", value='"ü"'.encode())]
    made = done(step("a"), context=items)
    assert [(item.key, item.value) for item in made.context] == [("a", b'"\\u00fc"'), ("b", b'{"x":1}')]


def test_a_map_is_one_task_for_each_item() -> None:
    shell = {"argv": [], "shell_command": b"run {{item}} --n {{index}}"}
    args = {"argv": [b"run", b"{{item}}"], "env": [EnvVar(name="I", value=b"{{index}}/{{item}}")]}
    made = definitions(
        done(
            step("one", map=[b'"x y"', b'{"k": [1, 2]}', b"null"], spec=shell),
            step("two", "one", map=[b"1", b'"{{index}}"'], spec=args),
            step("none", "one", mapped=True),
            step("end", "two", "none"),
        )
    )
    assert list(made) == ["one[0]", "one[1]", "one[2]", "two[0]", "two[1]", "end"]
    commands = [made[f"one[{n}]"].spec.shell_command for n in range(3)]
    assert commands == [b"run x y --n 0", b'run {"k":[1,2]} --n 1', b"run null --n 2"]
    assert made["two[1]"].spec.argv[1] == b"{{index}}"
    assert made["two[0]"].spec.env[0].value == b"0/1"
    assert list(made["two[0]"].depends_on) == [0, 1, 2]
    assert list(made["end"].depends_on) == [3, 4]
    assert {task.template for task in made.values()} == {"one", "two", ""}
    assert made["one[1]"].name == "one[1]"


def test_a_name_of_a_map_is_filled_in() -> None:
    named = step("t", map=[b'"linux"'])
    named.task.name = "test on {{item}} ({{index}})"
    assert done(named).tasks[0].name == "test on linux (0)"


def test_a_condition_may_have_several_lines() -> None:
    text = "parent.a.exitCode === 0 &&\n\t/ok/.test(parent.a.stdout)"
    assert done(step("a"), step("b", "a", condition=text)).tasks[1].condition == text


def test_finally_may_depend_on_anything() -> None:
    made = done(step("a"), step("x", final=True), step("y", "a", "x", final=True))
    assert [is_final(task) for task in made.tasks] == [False, True, True]


# What apply says itself


def mutated(**changes: object) -> WorkflowSubmit:
    made = done(step("a"), step("b", "a"))
    for name, value in changes.items():
        where, _, field = name.rpartition("__")
        setattr(made.tasks[1] if where else made, field, value)
    return made


@pytest.mark.parametrize(
    "bad",
    [
        mutated(id=""),
        mutated(id="x" * 60),
        mutated(id="a b"),
        mutated(name="\x1b"),
        mutated(policy=0),
        mutated(policy=9),
        mutated(t__key="a"),
        mutated(t__key="a b"),
        mutated(t__rule=0),
        mutated(t__rule=9),
        mutated(t__priority=11),
        mutated(t__condition="x" * 5000),
        WorkflowSubmit(id="w", policy=1),
    ],
)
def test_apply_refuses_too(bad: WorkflowSubmit) -> None:
    m = cluster()
    reply = m.one(Command(workflow_submit=bad))
    assert (reply.accepted, reply.code) == (False, Code.INVALID)
    assert not m.state.workflows
    assert not m.state.tasks


@pytest.mark.parametrize("parents", [[1], [7], [0, 0], [2]])
def test_apply_refuses_graphs_that_are_none(parents: list[int]) -> None:
    made = done(step("a"), step("b", "a"), step("c", "b"))
    del made.tasks[1].depends_on[:]
    made.tasks[1].depends_on.extend(parents)
    assert workflow_checks.flaw(made) is not None


def test_apply_refuses_a_context_that_is_none() -> None:
    made = done(step("a"))
    made.context.add(key="b", value=b"{")
    assert workflow_checks.flaw(made) is not None
    made.context[0].value = b"1"
    made.context.add(key="a", value=b"1")
    assert workflow_checks.flaw(made) is not None


def test_an_id_is_used_once() -> None:
    m = cluster()
    made = done(step("a"))
    assert m.one(Command(workflow_submit=made)).accepted
    assert m.one(Command(workflow_submit=made)).code == Code.ALREADY_EXISTS
