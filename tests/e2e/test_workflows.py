"""DAGs on real daemons: shapes, rules, conditions, context, map, finally."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Cluster
from tests.e2e.workflow_kit import Journal, run, step, submit, until, wait_for_leader
from tui.workflow import Workflow

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all of this file: workflows do not get in each other's way."""
    made = Cluster(tmp_path_factory.mktemp("workflows") / "cluster")
    made.start()
    try:
        wait_for_leader(made)
        yield made
    finally:
        made.close()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


async def test_chain(cluster: Cluster, journal: Journal) -> None:
    flow = Workflow("chain")
    needs = {f"t{i}": [f"t{i - 1}"] if i else [] for i in range(6)}
    for key, before in needs.items():
        step(flow, journal, key, *before)
    found = await run(cluster, flow)
    assert found.state == "completed"
    assert [line[1:] for line in journal.lines() if line[0] == "+"] == list(needs)
    journal.check_order(needs)


async def test_fan_out_fan_in_and_diamonds(cluster: Cluster, journal: Journal) -> None:
    flow = Workflow("fan")
    leaves = [f"leaf{i}" for i in range(8)]
    needs: dict[str, list[str]] = {"root": [], **{leaf: ["root"] for leaf in leaves}, "join": leaves}
    needs |= {"left": ["join"], "right": ["join"], "end": ["left", "right", "root"]}
    for key, before in needs.items():
        step(flow, journal, key, *before)
    found = await run(cluster, flow)
    assert set(found.states.values()) == {"completed"}
    journal.check_order(needs)
    assert set(journal.begun().values()) == {1}


@pytest.mark.parametrize("code", [0, 3])
async def test_conditional_branch(cluster: Cluster, journal: Journal, code: int) -> None:
    flow = Workflow("branch")
    step(flow, journal, "probe", then=f"(exit {code})", can_fail=True, on_exhausted="fail")
    step(flow, journal, "good", "probe", condition="parent.probe.exitCode === 0")
    step(flow, journal, "bad", "probe", condition="parent.probe.exitCode === 3 && parent.probe.state === 'failed'")
    found = await run(cluster, flow)
    taken, other = ("good", "bad") if code == 0 else ("bad", "good")
    assert (found.state, found.states[taken], found.states[other]) == (
        "completed",
        "completed",
        "skipped condition_false",
    )
    assert other not in journal.begun()


async def test_skips_cascade(cluster: Cluster, journal: Journal) -> None:
    flow = Workflow("cascade")
    step(flow, journal, "a", then="false")
    for key, before in (("b", "a"), ("c", "b"), ("d", "c"), ("e", "d")):
        step(flow, journal, key, before)
    step(flow, journal, "after", "e", rule="all_done")
    step(flow, journal, "when", "e", rule="none_failed", condition="true")
    found = await run(cluster, flow)
    assert found.state == "failed"
    assert found.states == {
        "a": "dead_letter",
        "b": "skipped upstream_failed",
        **dict.fromkeys("cde", "skipped upstream_skipped"),
        "after": "completed",
        "when": "completed",
    }
    assert set(journal.begun()) == {"a", "after", "when"}


async def test_lint_and_test_then_build_then_deploy(cluster: Cluster, journal: Journal) -> None:
    def flow(target: str, failures: int) -> Workflow:
        made = Workflow("release", context={"target": target})
        step(made, journal, "lint")
        step(made, journal, "test", then=f"echo '12 passed, {failures} failures'")
        step(made, journal, "build", "lint", "test")
        gate = "parent.build.exitCode === 0 && /, 0 failures/.test(parent.test.stdout)"
        condition = f"{gate} && workflow.context.target === 'prod'"
        return step(made, journal, "deploy", "build", "test", condition=condition)

    assert (await run(cluster, flow("prod", 0))).states["deploy"] == "completed"
    for target, failures in (("prod", 2), ("staging", 0)):
        found = await run(cluster, flow(target, failures))
        assert (found.state, found.states["deploy"]) == ("completed", "skipped condition_false")


async def test_rules(cluster: Cluster, journal: Journal) -> None:
    flow = Workflow("rules")
    step(flow, journal, "good")
    step(flow, journal, "bad", then="false", can_fail=True)
    step(flow, journal, "never", "good", condition="false")
    expected = {
        "all_success": {"good": True, "bad": False, "never": False},
        "none_failed": {"good": True, "bad": False, "never": True},
        "all_done": {"good": True, "bad": True, "never": True},
        "one_failed": {"good": False, "bad": True, "never": False},
        "one_success": {"good": True, "bad": False, "never": False},
        "always": {"good": True, "bad": True, "never": True},
    }
    for rule, parents in expected.items():
        for parent in parents:
            step(flow, journal, f"{rule}-{parent}", parent, rule=rule)
    found = await run(cluster, flow)
    assert found.state == "completed"
    ran = {key for key, state in found.states.items() if state == "completed"}
    wanted = {f"{rule}-{parent}" for rule, parents in expected.items() for parent, runs in parents.items() if runs}
    assert ran == {"good", *wanted}


async def test_conditions_that_err_are_false_and_say_so(cluster: Cluster, journal: Journal) -> None:
    flow = Workflow("errors")
    step(flow, journal, "throws", condition="nothing.there")
    step(flow, journal, "host", condition="typeof require === 'function' || typeof process === 'object'")
    step(flow, journal, "after", "throws")
    found = await run(cluster, flow)
    assert found.states == {
        "throws": "skipped condition_error",
        "host": "skipped condition_false",
        "after": "skipped upstream_skipped",
    }
    assert "nothing" in found.tasks["throws"].condition_error


async def test_hostile_conditions(cluster: Cluster, journal: Journal) -> None:
    hostile = {
        "allocates": "(() => { const a = []; while (true) a.push(new Array(1e5)) })()",
        "recurses": "(function f() { return f() + 1 })()",
        "throws": "(() => { throw new Error('mine') })()",
        "reads": "os.open('/etc/passwd') || std.loadFile('/etc/passwd')",
        "builds": "new Function('return process')().exit()",
        "regex": "/^(a+)+$/.test('a'.repeat(40) + 'b')",
    }
    flow = Workflow("hostile")
    for key, condition in hostile.items():
        step(flow, journal, key, condition=condition)
    step(flow, journal, "after", *hostile, rule="none_failed")
    found = await run(cluster, flow)
    skipped = {key: state for key, state in found.states.items() if key != "after"}
    assert (found.state, found.states["after"]) == ("completed", "completed"), found.states
    assert set(skipped.values()) <= {"skipped condition_error", "skipped condition_false"}
    assert "mine" in found.tasks["throws"].condition_error
    assert set(journal.begun()) == {"after"}


async def test_three_conditions_that_never_end_fail_a_workflow(cluster: Cluster, journal: Journal) -> None:
    flow = Workflow("loops")
    step(flow, journal, "a")
    for key in ("one", "two", "three"):
        step(flow, journal, key, "a", condition="(() => { while (true) {} })()")
    found = await run(cluster, flow)
    assert (found.state, found.states["a"]) == ("failed", "completed")
    assert found.status.workflow.condition_timeouts == 3
    assert "100 ms" in found.tasks["one"].condition_error


async def test_a_context_update_is_seen_by_what_comes_after(cluster: Cluster, journal: Journal) -> None:
    flow = Workflow("context", context={"errors": 0, "kept": [1]})
    update = """echo '{"errors": 7, "new": {"a": "ü"}}' > "$CORTEX_CONTEXT_UPDATE\""""
    step(flow, journal, "measure", then=update)
    step(flow, journal, "many", "measure", condition="workflow.context.errors > 5")
    step(flow, journal, "few", "measure", condition="workflow.context.errors <= 5")
    found = await run(cluster, flow)
    assert found.context == {"errors": 7, "kept": [1], "new": {"a": "ü"}}
    assert (found.states["many"], found.states["few"]) == ("completed", "skipped condition_false")


async def test_map(cluster: Cluster, journal: Journal) -> None:
    flow = Workflow("map", context={"regions": ["eu", {"us": 1}, "a b"]})
    flow.task(
        "each", ["sh", "-c", f"echo +$0-$1 >> {journal.path}", "{{index}}", "{{item}}"], map="context.regions"
    )
    flow.task("none", "true", map=[])
    step(flow, journal, "join", "each", "none")
    found = await run(cluster, flow)
    assert found.state == "completed"
    assert list(found.tasks) == ["each[0]", "each[1]", "each[2]", "join"]
    written = journal.path.read_text().splitlines()
    assert sorted(written[:3]) == ["+0-eu", '+1-{"us":1}', "+2-a b"]
    assert written[3:] == ["+join", "-join"]


async def test_finally_runs_last_whatever_happened(cluster: Cluster, journal: Journal) -> None:
    flow = Workflow("finally")
    step(flow, journal, "a", then="false")
    step(flow, journal, "b", "a")
    step(flow, journal, "c")
    step(flow, journal, "tell", finally_=True)
    found = await run(cluster, flow)
    assert (found.state, found.states["tell"]) == ("failed", "completed")
    assert [line for line in journal.lines() if line[0] == "+"][-1] == "+tell"


async def test_can_fail(cluster: Cluster, journal: Journal) -> None:
    flow = Workflow("can fail")
    step(flow, journal, "a", then="false", can_fail=True)
    step(flow, journal, "b", "a", rule="all_done")
    found = await run(cluster, flow)
    assert (found.state, found.states["b"]) == ("completed", "completed")
    assert found.states["a"] in ("failed", "dead_letter")


async def test_fail_fast_and_a_number_of_failures(cluster: Cluster, journal: Journal) -> None:
    def flow(policy: str, **fields: int) -> Workflow:
        made = Workflow(policy, policy=policy, **fields)
        step(made, journal, "long", then="sleep 1000")
        step(made, journal, "bad1", then="false")
        step(made, journal, "bad2", "bad1", then="false", rule="all_done")
        step(made, journal, "later", "long")
        return step(made, journal, "tell", finally_=True)

    found = await run(cluster, flow("fail_fast"))
    assert found.state == "failed"
    assert found.states["bad1"] == "dead_letter"
    assert found.states["bad2"] not in ("completed", "dead_letter")
    assert (found.states["long"], found.states["tell"]) == ("cancelled", "completed")
    found = await run(cluster, flow("max_failures", max_failures=1))
    assert (found.state, found.states["bad2"], found.states["long"]) == ("failed", "dead_letter", "cancelled")


async def test_retries_come_before_the_workflows_judgement(
    cluster: Cluster, journal: Journal, tmp_path: Path
) -> None:
    flow = Workflow("retries")
    twice = f"test -e {tmp_path}/once || {{ touch {tmp_path}/once; exit 1; }}"
    flow.task("flaky", twice, retry_policy={"max_retries": 2, "backoff_ms": 1, "jitter": "none"})
    step(flow, journal, "after", "flaky")
    found = await run(cluster, flow)
    assert (found.state, found.tasks["flaky"].attempt) == ("completed", 1)


async def test_the_command_line_end_to_end(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "flow.json"
    tasks = {"a": {"command": "echo hi"}, "b": {"command": "exit 3", "dependsOn": ["a"], "retries": 0}}
    file.write_text(json.dumps({"name": "cli", "tasks": tasks}))
    ran = cluster.cortex("workflow", "submit", "--wait", "--json", "--key", "cli-1", str(file))
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["state"], document["run"]) == (1, "failed", 1), ran.stderr
    assert {key: (task["state"], task["exit_code"], task["rule"]) for key, task in document["tasks"].items()} == {
        "a": ("completed", 0, "all_success"),
        "b": ("dead_letter", 3, "all_success"),
    }
    again = json.loads(cluster.cortex("workflow", "submit", "--json", "--key", "cli-1", str(file)).stdout)
    assert again["id"] == document["id"]
    listed = json.loads(cluster.cortex("workflow", "list", "--json", "--limit", "1").stdout)
    assert (listed["workflows"][0]["id"], listed["workflows"][0]["failures"]) == (document["id"], 1)
    tasks_listed = json.loads(cluster.cortex("tasks", "--workflow", document["id"], "--json").stdout)
    assert {task["task_key"] for task in tasks_listed["tasks"]} == {"a", "b"}
    for verb, rows in (("tasks", 2), ("events", 8)):
        by_prefix = json.loads(cluster.cortex(verb, "--workflow", document["id"][:-1], "--json").stdout)
        assert len(by_prefix[verb]) >= rows
        assert cluster.cortex(verb, "--workflow", "nothere").returncode == 3
    assert cluster.cortex("logs", "--stdout", document["tasks"]["a"]["task_id"]).stdout == b"hi\n"


async def test_show_says_what_a_task_waits_for(cluster: Cluster) -> None:
    flow = Workflow("nowhere").task("a", "true").task("b", "true", depends_on="a", on="nosuch")
    async with cluster.client() as client:
        workflow_id = await submit(client, flow)
        await until(client, workflow_id, "b", "queued")
        await client.get_workflow(workflow_id)
        await cluster.caught_up(client)
        for address in cluster.nodes.values():
            one = cluster.cortex("--cluster", address.address, "workflow", "show", "--json", workflow_id)
            assert "target_node is nosuch" in json.loads(one.stdout)["tasks"]["b"]["reason"]
        await client.cancel_workflow(workflow_id)


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ({"a": {"depends_on": ["b"]}, "b": {"depends_on": ["a"]}}, ["circle", "a", "b"]),
        ({"a": {"depends_on": ["a"]}}, ["'a'", "itself"]),
        ({"a": {"depends_on": ["ghost"]}}, ["'a'", "'ghost'"]),
        ({"b": {}, "a": {"depends_on": ["b", "b"]}}, ["'a'", "twice"]),
        ({"a b": {}}, ["'a b'"]),
        ({"a": {"condition": "x" * 5000}}, ["condition", "limit"]),
        ({"a": {"map": {"over": list(range(1000))}}, "b": {}}, ["1001", "1000"]),
        ({f"t{i}": {"depends_on": [f"t{i - 1}"] if i else []} for i in range(20_000)}, ["20000 tasks", "1000"]),
        ({f"t{i}": {"depends_on": [f"t{(i + 1) % 1000}"]} for i in range(1000)}, ["circle", "more"]),
        (
            {f"t{i}": {"depends_on": [f"t{j}" for j in range(min(i, 500))]} for i in range(600)},
            ["174750 dependencies", "20000"],
        ),
    ],
)
def test_bad_workflows_are_refused_whole(
    cluster: Cluster, tmp_path: Path, tasks: dict[str, dict[str, object]], told: list[str]
) -> None:
    file = tmp_path / "flow.json"
    file.write_text(
        json.dumps({"name": "bad", "tasks": {key: {"command": "true", **task} for key, task in tasks.items()}})
    )
    before = json.loads(cluster.cortex("workflow", "list", "--json").stdout)["total"]
    ran = cluster.cortex("workflow", "submit", str(file))
    assert ran.returncode == 1
    message, remedy = ran.stderr.decode().splitlines()
    assert all(word in message for word in told), message
    assert remedy
    assert json.loads(cluster.cortex("workflow", "list", "--json").stdout)["total"] == before
