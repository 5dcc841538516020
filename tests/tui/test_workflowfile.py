"""Workflow files: spellings, every field, and all bad input named with file, line, task, field and remedy."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as types
from tui.errors import ClusterError
from tui.written.workflowfile import MAX_FILE_BYTES, read_workflow

ROOT = Path(__file__).resolve().parents[2]
SNAKE = """
name: release
key: once
context: {target: prod, files: [a, {b: 1}], none: null}
policy: max_failures
max_failures: 2
tasks:
  lint:
    command: make lint
    retry_policy: {max_retries: 2, backoff_ms: 5, backoff_multiplier: 1.5, retryable: true, jitter: none}
  build:
    type: shell
    spec: {command: [make, "{{item}}"], env: {A: "1"}, cwd: /src, timeout: 5m}
    depends_on: [lint]
    constraints: {requires_gpu: true, target_node: n1, min_memory_mb: 5}
    map: {over: context.files}
    priority: 7
  deploy:
    command: make deploy
    depends_on: build
    condition: parent.build.exitCode === 0
    rule: all_done
    can_fail: true
  tell: {command: [date], finally: true}
"""
CAMEL = """
{"name": "release", "submitKey": "once", "context": {"target": "prod", "files": ["a", {"b": 1}], "none": null},
 "policy": "maxFailures", "maxFailures": 2,
 "tasks": [
  {"key": "lint", "command": "make lint", "retryPolicy":
   {"maxRetries": 2, "backoffMs": 5, "backoffMultiplier": 1.5, "retryable": true, "jitter": "NONE"}},
  {"key": "build", "type": "shell", "dependsOn": ["lint"], "priority": 7,
   "spec": {"command": ["make", "{{item}}"], "env": {"A": "1"}, "cwd": "/src", "timeout": "5m"},
   "constraints": {"requiresGpu": true, "targetNode": "n1", "minMemoryMb": 5}, "map": {"over": ["a", {"b": 1}]}},
  {"key": "deploy", "command": "make deploy", "dependsOn": ["build"], "rule": "allDone", "canFail": true,
   "condition": "parent.build.exitCode === 0"},
  {"key": "tell", "command": ["date"], "finally": true}]}
"""


def shell(**fields: object) -> types.TaskSpec:
    return types.TaskSpec(type=types.TASK_TYPE_SHELL, **fields)  # type: ignore[arg-type]


def expected() -> pb.SubmitWorkflowRequest:
    build = shell(
        argv=[b"make", b"{{item}}"],
        env=[types.EnvVar(name="A", value=b"1")],
        cwd="/src",
        timeout_ms=300_000,
        constraints=types.Constraints(requires_gpu=True, target_node="n1", min_memory_mb=5),
    )
    retry = types.RetryPolicy(
        max_retries=2, backoff_ms=5, backoff_multiplier=1.5, retryable=True, jitter=types.JITTER_NONE
    )
    lint = shell(shell_command=b"make lint", retry=retry)
    tell = pb.WorkflowTaskRequest(key="tell", task=pb.TaskRequest(spec=shell(argv=[b"date"])))
    setattr(tell, "finally", True)
    return pb.SubmitWorkflowRequest(
        name="release",
        submit_key="once",
        context=[
            types.ContextItem(key="files", value=b'["a",{"b":1}]'),
            types.ContextItem(key="none", value=b"null"),
            types.ContextItem(key="target", value=b'"prod"'),
        ],
        policy=types.FAILURE_POLICY_MAX_FAILURES,
        max_failures=2,
        tasks=[
            pb.WorkflowTaskRequest(key="lint", task=pb.TaskRequest(spec=lint)),
            pb.WorkflowTaskRequest(
                key="build",
                task=pb.TaskRequest(priority=7, spec=build),
                depends_on=["lint"],
                map=[b'"a"', b'{"b":1}'],
                mapped=True,
            ),
            pb.WorkflowTaskRequest(
                key="deploy",
                task=pb.TaskRequest(spec=shell(shell_command=b"make deploy")),
                depends_on=["build"],
                condition="parent.build.exitCode === 0",
                rule=types.RULE_ALL_DONE,
                can_fail=True,
            ),
            tell,
        ],
    )


@pytest.mark.parametrize(
    ("text", "name"), [(SNAKE, "flow.yaml"), (CAMEL, "flow.json"), (CAMEL, "stdin"), (SNAKE, "f")]
)
def test_both_spellings_and_forms_mean_the_same(text: str, name: str) -> None:
    assert read_workflow(text, name) == expected()


def test_what_is_left_out_or_null_is_absent() -> None:
    found = read_workflow(
        "{name: x, context: ~, policy: ~, tasks: {a: {command: y, depends_on: ~, map: ~, rule: ~}}}", "stdin"
    )
    assert found == read_workflow('{"name": "x", "tasks": {"a": {"command": "y"}}}', "stdin")
    assert not found.tasks[0].mapped


def test_anchors_have_a_place_of_their_own() -> None:
    text = "name: x\nx-usual: &usual {retries: 1, env: {A: b}}\ntasks: {a: {<<: *usual, command: y, env: {C: d}}}"
    found = read_workflow(text, "f.yaml").tasks[0].task.spec
    assert (found.retry.max_retries, [one.name for one in found.env]) == (1, ["C"])


def test_an_empty_map_counts() -> None:
    found = read_workflow("{name: x, tasks: {a: {command: y, map: {over: []}}}}", "f.yaml")
    assert (found.tasks[0].mapped, list(found.tasks[0].map)) == (True, [])


def test_a_number_of_failures_implies_its_policy() -> None:
    found = read_workflow("{name: x, max_failures: 3, tasks: {a: {command: y}}}", "f.yaml")
    assert (found.policy, found.max_failures) == (types.FAILURE_POLICY_MAX_FAILURES, 3)


def test_conditions_may_be_booleans() -> None:
    found = read_workflow("{name: x, tasks: {a: {command: y, condition: false}}}", "f.yaml")
    assert found.tasks[0].condition == "false"


def test_the_spec_of_another_type_is_its_payload() -> None:
    agent = "{type: subagent, spec: {prompt: hi, maxTurns: 3}}"
    text = f"{{name: x, tasks: {{a: {agent}, b: {{type: k8s_job, spec: {{aB: 1}}}}}}}}"
    found = read_workflow(text, "f.yaml").tasks
    assert json.loads(found[0].task.spec.payload) == {"prompt": "hi", "max_turns": 3}
    assert json.loads(found[1].task.spec.payload) == {"aB": 1}


def refused(text: str, name: str = "f.yaml") -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        read_workflow(text, name)
    assert caught.value.remedy.endswith("Nothing was submitted.")
    assert caught.value.message.startswith(f"{name}: ")
    return caught.value


def task(fields: str) -> str:
    return "name: x\ntasks:\n  ok: {command: y}\n  a: {" + fields + "}\n"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("", "line 4, task a: command: there is none"),
        ("command: ''", "line 4, task a: command: it is empty"),
        ("command: []", "task a: command: a list is neither a list of arguments nor a string"),
        ("command: [x, {y: z}]", "task a: command: a map is not text"),
        ("comand: y", "line 4, task a: comand: there is no such key; the nearest is command"),
        ("command: y, colour: red", "task a: colour: there is no such key; keys are key, spec, depends_on"),
        ("command: y, dependsOn: [ok], depends_on: [ok]", "depends_on: it is given twice, as dependsOn too"),
        ("command: y, depends_on: {ok: 1}", "task a: depends_on: a map is no list"),
        ("command: y, depends_on: [[ok]]", "task a: depends_on: a list is not text"),
        ("command: y, condition: 3", "task a: condition: it is no text; write it in quotes"),
        ("command: y, rule: sometimes", 'task a: rule: "sometimes" is none of all_success, none_failed, all_done'),
        ("command: y, can_fail: maybe", 'task a: can_fail: "maybe" is neither true nor false'),
        ("command: y, finally: 1", "task a: finally: 1 is neither true nor false"),
        ("command: y, map: [1, 2]", "task a: map: it is no {over: ...}; write map: {over: [a, b]}"),
        ("command: y, map: {each: [1]}", "task a: map: it is no {over: ...}"),
        ("command: y, map: {over: abc}", "task a: map.over: it is neither a list nor context.KEY"),
        ("command: y, map: {over: context.no}", "task a: map.over: the context has no no"),
        ("command: y, priority: 11", "task a: priority: 11 is not a whole number from 0 to 10"),
        ("command: y, retry_policy: {retries: 1}", "task a: retry_policy.retries: there is no such key"),
        ("command: y, retryPolicy: {maxRetries: 1, max_retries: 2}", "retryPolicy: max_retries is given twice"),
        ("command: y, retry_policy: {jitter: some}", 'task a: retry_policy: "some" is none of full, equal, none'),
        ("command: y, retry_policy: {backoff_multiplier: -1}", "backoff_multiplier: -1 is no positive number"),
        ("command: y, constraints: {requires_gpus: true}", "requires_gpus: there is no such key; the nearest is"),
        ("command: y, timeout: soon", "task a: timeout: 'soon' is no duration"),
        ("command: y, cwd: here", 'task a: cwd: "here" is not absolute'),
        ("command: y, type: cobol", 'task a: type: "cobol" is none of shell, container'),
        ("command: y, key: b", "task a: key: it is 'b' here"),
        ("command: y, spec: {command: z}", "task a: spec.command: it is given in spec and beside it"),
        ("spec: make", "task a: spec: it is no map of fields to values"),
        ("spec: {command: y, priority: 3}", "task a: spec.priority: there is no such key"),
        ("spec: {command: y, queueTimeout: 3, queue_timeout: 4}", "task a: spec.queue_timeout: it is given twice"),
    ],
)  # fmt: skip
def test_a_bad_field_of_a_task(fields: str, told: str) -> None:
    assert told in refused(task(fields)).message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "f.yaml: it is empty"),
        ("[]", "f.yaml: it is no map with name and tasks"),
        ("just words", "f.yaml: it is no map with name and tasks"),
        ("name: x", "f.yaml: tasks: there is none"),
        ("name: x\ntasks: {}", "f.yaml: line 2, tasks: there is none"),
        ("name: x\ntasks: 3", "tasks: it is no map of keys to tasks"),
        ("name: x\ntasks: {a: make}", "task a: it is no map of fields to values"),
        ("name: x\ntasks: [make]", "task number 1: it is no map of fields to values"),
        ("name: x\ntasks: [{command: y}]", "task number 1: it has no key"),
        ("name: x\ntasks: [{key: 3, command: y}]", "task number 1: it has no key"),
        ("tasks: {a: {command: y}}", "name: there is none"),
        ("name: [x]\ntasks: {a: {command: y}}", "line 1, name: a list is not text"),
        ("name: x\nkontext: {}\ntasks: {a: {command: y}}", "line 2, kontext: there is no such key; the nearest"),
        ("name: x\nkey: k\nsubmit_key: l\ntasks: {a: {command: y}}", "line 3, submit_key: it is given twice"),
        ("name: x\npolicy: odd\ntasks: {a: {command: y}}", '"odd" is none of continue, fail_fast, max_failures'),
        ("name: x\npolicy: max_failures\ntasks: {a: {command: y}}", "policy: max_failures says no number"),
        ("name: x\npolicy: fail_fast\nmax_failures: 2\ntasks: {a: {command: y}}", "max_failures: the policy is"),
        ("name: x\nmax_failures: -1\ntasks: {a: {command: y}}", "max_failures: -1 is not a whole number from 0"),
        ("name: x\ncontext: [1]\ntasks: {a: {command: y}}", "context: it is not a map of names to values"),
        ("name: x\ntasks: {a: {command: y}, a: {command: z}}", "line 2: a: it is given twice"),
        ("name: x\ntasks: {1: {command: y}}", "line 2: the key 1 is no text"),
        ("name: x\ntasks:\n\ta: {command: y}", "line 3: it is no YAML"),
    ],
)  # fmt: skip
def test_a_bad_document(text: str, told: str) -> None:
    assert told in refused(text).message


def test_all_that_is_wrong_is_told_at_once() -> None:
    bad = "".join(f"  t{number}: {{comand: x}}\n" for number in range(30))
    message = refused(f"name: x\ncontxt: {{}}\ntasks:\n{bad}").message
    assert "line 2, contxt" in message
    assert "line 4, task t0" in message
    assert "; and " in message
    assert len(message) < 2000


def test_numbers_that_json_cannot_hold() -> None:
    assert "context.a: it holds a number" in refused('{"name": "x", "context": {"a": 1e999}}', "f.json").message
    told = refused('{"name": "x", "tasks": {"a": {"command": "y", "map": {"over": [1, "\\ud800"]}}}}', "f.json")
    assert "task a: map.over[1]: it has half a surrogate pair" in told.message


def test_too_many_tasks_are_counted_before_they_are_expanded() -> None:
    items = json.dumps(list(range(999)))
    fits = f"{{name: x, tasks: {{a: {{command: y, map: {{over: {items}}}}}, b: {{command: z}}}}}}"
    assert len(read_workflow(fits, "f.yaml").tasks) == 2
    told = refused(fits.replace("b: {command: z}", "b: {command: z}, c: {command: z}"))
    assert (told.code, "there are 1001 tasks, the limit is 1000, maps expanded" in told.message) == (
        "too_large",
        True,
    )
    with pytest.raises(ClusterError, match="larger than 4 MiB"):
        read_workflow("x" * (MAX_FILE_BYTES + 1), "f.yaml")


def test_every_workflow_of_the_page_is_accepted() -> None:
    page = (ROOT / "docs/workflows.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert [read_workflow(block, "page.yaml").name for block in blocks] == ["release", "canary", "report"]


def test_foreign_text_in_a_message_is_made_visible() -> None:
    error = refused('{"name": "x", "tasks": {"a\\u001b[31m": {"command": "y", "b\\u0007": 1}}}', "f.json")
    assert "task a^[[31m: b^G: there is no such key" in error.message
