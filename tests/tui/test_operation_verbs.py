"""retry, discard, priority, annotate, operations, undo, dead-letters and run against a fake cluster."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from cortex.v1 import types_pb2 as types
from tests.tui.command_line import CommandLine
from tests.tui.conftest import SECRET
from tests.tui.fake_cluster import FakeCluster, Refusal
from tests.tui.fake_daemon import FakeDaemon
from tests.tui.fake_operations import carry_out, end_operation
from tui.link.client import ClusterClient
from tui.verbs.run import waiting


def letter(cluster: FakeCluster, task_id: str, cause: bytes = b"boom") -> str:
    """A dead letter; its fingerprint."""
    cluster.add_task(task_id)
    cluster.start(task_id)
    cluster.write(task_id, stderr=cause)
    cluster.finish(task_id, 1, error="The command ended with exit code 1.")
    return cluster.tasks[task_id].fingerprint


def only(cluster: FakeCluster) -> str:
    """Id of the one operation."""
    (operation_id,) = cluster.operations
    return operation_id


async def test_retry_of_ids_is_immediate(cortex: CommandLine, cluster: FakeCluster) -> None:
    letter(cluster, "t0")
    ran = await cortex("retry", "t0", "--json")
    assert ran.document == {"operation_id": only(cluster), "index": cluster.index, "ids": ["t0"]}
    assert ran.err == ""
    assert cluster.tasks["t0"].state == types.TASK_STATE_QUEUED


async def test_the_tasks_of_an_operation(cortex: CommandLine, cluster: FakeCluster) -> None:
    for task_id in ("t0", "t1"):
        letter(cluster, task_id)
    await cortex("retry", "t0")
    cluster.tasks["t0"].operation = only(cluster)
    ran = await cortex("tasks", "--operation", only(cluster), "--json")
    assert [task["id"] for task in ran.document["tasks"]] == ["t0"]
    assert (await cortex("tasks", "--operation", only(cluster), "--at", "5")).code == 0


async def test_operations_and_causes_of_the_past(cortex: CommandLine, cluster: FakeCluster) -> None:
    letter(cluster, "t0")
    letter(cluster, "t1", b"other")
    await cortex("retry", "t0")
    as_of = {"index": 7, "at": "1970-01-01T00:00:01.000000Z"}
    for words in (("operations",), ("operations", only(cluster)), ("dead-letters", "--group")):
        assert (await cortex(*words, "--at", "7", "--json")).document["as_of"] == as_of
        assert (await cortex(*words, "--at", "7")).text.startswith("as of index 7, 1970-01-01T00:00:01")
        assert "as_of" not in (await cortex(*words, "--json")).document
    cluster.operations[only(cluster)].ClearField("counts")
    assert (await cortex("operations", only(cluster), "--at", "7", "--json")).document["counts"] is None
    (row,) = (await cortex("operations", "--at", "7", "--json")).document["operations"]
    assert row["counts"] is None
    cause = cluster.tasks["t1"].fingerprint
    assert (await cortex("dead-letters", "--cause", cause, "--at", "7")).code == 0
    both = await cortex("dead-letters", "--cause", cause, "--group", "--at", "7")
    assert (both.code, both.err.splitlines()[0]) == (2, "cortex: --cause and --group exclude each other.")


async def test_a_reason_is_no_outcome(cortex: CommandLine, cluster: FakeCluster) -> None:
    letter(cluster, "t0")
    await cortex("discard", "t0", "--reason", "too old")
    row = cluster.operations[only(cluster)]
    row.not_before_us = 0
    header, line = (await cortex("operations")).text.splitlines()
    assert header.split()[-2:] == ["OUTCOME", "REASON"]
    assert line[header.index("OUTCOME") : header.index("REASON")].strip() == "-"
    assert line[header.index("REASON") :].strip() == "too old"
    row.outcome = "1 of 1 tasks"
    header, line = (await cortex("operations")).text.splitlines()
    assert line[header.index("OUTCOME") : header.index("REASON")].strip() == "1 of 1 tasks"


async def test_discard_says_how_to_take_it_back(cortex: CommandLine, cluster: FakeCluster) -> None:
    letter(cluster, "t0")
    ran = await cortex("discard", "t0", "--reason", "old")
    operation_id = only(cluster)
    assert (ran.code, ran.text) == (0, "t0\n")
    assert ran.err == f"cortex: begins in 10 s; until then `cortex undo {operation_id}` takes it back\n"
    assert cluster.tasks["t0"].state == types.TASK_STATE_DEAD_LETTER
    assert (await cortex("undo", operation_id[:8], "--reason", "mistake")).code == 0
    assert cluster.operations[operation_id].state == types.OPERATION_STATE_UNDONE
    again = await cortex("undo", operation_id)
    assert (again.code, again.err.splitlines()[0]) == (1, f"cortex: Operation {operation_id} has begun.")


async def test_discard_at_once(cortex: CommandLine, cluster: FakeCluster) -> None:
    cause = letter(cluster, "t0")
    letter(cluster, "t1")
    ran = await cortex("discard", "--cause", cause, "--reason", "old", "--now")
    assert (ran.code, ran.err) == (0, "")
    assert {task.state for task in cluster.tasks.values()} == {types.TASK_STATE_CANCELLED}


@pytest.mark.parametrize(
    "words",
    [
        ("discard", "t0"),
        ("discard", "--reason", "old"),
        ("discard", "t0", "--cause", "f", "--reason", "old"),
        ("retry",),
        ("retry", "t0", "--cause", "f"),
        ("retry", "t0", "--canary"),
        ("retry", "t0", "t1", "--edit"),
        ("retry", "--cause", "f", "--edit"),
        ("priority", "t0"),
        ("priority", "t0", "11"),
        ("priority", "t0", "P9"),
        ("annotate", "t0"),
        ("run", "--", "true"),
        ("run", "--all"),
        ("run", "--all", "--nodes", "n1", "--", "true"),
        ("run", "--all", "--timeout", "soon", "--", "true"),
        ("operations", "--limit", "0"),
        ("undo",),
    ],
)
async def test_what_is_wrongly_written(cortex: CommandLine, cluster: FakeCluster, words: tuple[str, ...]) -> None:
    ran = await cortex(*words)
    assert (ran.code, ran.out) == (2, b"")
    assert not cluster.calls


async def test_retry_of_a_cause(cortex: CommandLine, cluster: FakeCluster) -> None:
    cause = letter(cluster, "t0")
    ran = await cortex("retry", "--cause", cause, "--canary")
    assert ran.text == f"{only(cluster)}\n"
    assert ran.err == f"cortex: 1 letter; begins in 10 s; until then `cortex undo {only(cluster)}` takes it back\n"
    request = next(request for method, request in cluster.calls if method == "RetryTask")
    assert (request.fingerprint, request.canary, request.HasField("undo_window_ms")) == (cause, True, False)


async def test_a_retry_waits_for_its_tasks(cortex: CommandLine, cluster: FakeCluster) -> None:
    letter(cluster, "t0")
    process = await cortex.start("retry", "t0", "--wait")
    await cluster.called("RetryTask")
    await cluster.called("Watch")
    cluster.start("t0")
    cluster.finish("t0", 1, error="exit code 1")
    ran = await cortex.end(process)
    assert (ran.code, ran.text) == (1, "t0\n")
    assert ran.err == "cortex: task t0 ended dead_letter: exit code 1\n"


async def test_a_retry_of_a_cause_waits_for_the_operation(cortex: CommandLine, cluster: FakeCluster) -> None:
    cause = letter(cluster, "t0")
    process = await cortex.start("retry", "--cause", cause, "--wait", "--json")
    await cluster.called("GetOperation")
    end_operation(cluster, only(cluster), types.OPERATION_STATE_STOPPED, "1 of 1 failed the same way again")
    ran = await cortex.end(process)
    assert ran.code == 1
    assert (ran.document["state"], ran.document["outcome"]) == ("stopped", "1 of 1 failed the same way again")
    assert ran.document["operation_id"] == only(cluster)


async def test_ctrl_c_leaves_an_operation_going(cortex: CommandLine, cluster: FakeCluster) -> None:
    cause = letter(cluster, "t0")
    process = await cortex.start("retry", "--cause", cause, "--wait")
    await cluster.called("GetOperation")
    process.send_signal(signal.SIGINT)
    ran = await cortex.end(process)
    assert ran.code == 130
    assert f"`cortex undo {only(cluster)} --stop`" in ran.err


async def test_priority_and_annotate(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0")
    assert (await cortex("priority", "t0", "P0", "--now")).text == "t0\n"
    assert cluster.tasks["t0"].priority == 10
    assert (await cortex("annotate", "t0", "disk was full")).text == "t0\n"
    assert cluster.tasks["t0"].annotations[0].text == "disk was full"


async def test_dead_letters(cortex: CommandLine, cluster: FakeCluster) -> None:
    for number in range(3):
        letter(cluster, f"t{number}", b"boom" if number else b"other")
    listed = (await cortex("dead-letters", "--json")).document
    assert [task["id"] for task in listed["tasks"]] == ["t2", "t1", "t0"]
    causes = (await cortex("dead-letters", "--group", "--json")).document["causes"]
    assert [cause["count"] for cause in causes] == [2, 1]
    told = {"fingerprint", "count", "first_at", "last_at", "nodes", "sample", "error", "error_type"}
    assert set(causes[0]) == told
    assert (causes[0]["nodes"], causes[0]["sample"]) == (["n1"], "t2")
    cause = causes[0]["fingerprint"]
    await cortex("dead-letters", "--cause", cause)
    assert cluster.calls[-1][1].fingerprint == cause
    assert (await cortex("dead-letters", "--cause", cause, "--group")).code == 2
    shown = (await cortex("dead-letters", "--group")).text
    assert shown.splitlines()[1].endswith("t2      The command ended with exit code 1.")


async def test_operations_are_listed_and_shown(cortex: CommandLine, cluster: FakeCluster) -> None:
    cause = letter(cluster, "t0")
    cluster.add_task("t1")
    await cortex("priority", "t1", "3")
    await cortex("retry", "--cause", cause)
    later, earlier = reversed(cluster.operations)
    listed = (await cortex("operations", "--json")).document
    assert [item["id"] for item in listed["operations"]] == [later, earlier]
    assert {"id", "kind", "state", "counts", "not_before", "actor"} <= set(listed["operations"][0])
    carry_out(cluster, earlier)
    assert [item["id"] for item in (await cortex("operations", "--live", "--json")).document["operations"]] == [
        later
    ]
    text = (await cortex("operations")).text.splitlines()
    assert text[0].split() == ["ID", "KIND", "STATE", "TASKS", "GOOD", "BAD", "AGE", "ACTOR", "OUTCOME", "REASON"]
    assert "1 of 1 tasks" in text[2]
    shown = (await cortex("operations", earlier[:8], "--json")).document
    assert (shown["tasks"], shown["priority"], shown["counts"]["issued"]) == (["t1"], 3, 1)
    assert "kind:         priority\n" in (await cortex("operations", earlier)).text
    page = await cortex("operations", "--limit", "1")
    assert page.err == "cortex: the next with --cursor 1\n"
    assert (await cortex("operations", "nothing")).code == 3


async def test_a_stop(cortex: CommandLine, cluster: FakeCluster) -> None:
    cause = letter(cluster, "t0")
    await cortex("retry", "--cause", cause)
    assert (await cortex("undo", only(cluster), "--stop")).code == 0
    assert cluster.operations[only(cluster)].state == types.OPERATION_STATE_STOPPED


def editor(folder: Path, script: str) -> str:
    path = folder / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


async def test_edit_and_retry(cortex: CommandLine, cluster: FakeCluster, tmp_path: Path) -> None:
    letter(cluster, "t0")
    cortex.environment["EDITOR"] = editor(tmp_path, "sed -i 's/^timeout:.*//; $a timeout: 90s' \"$1\"")
    ran = await cortex("retry", "t0", "--edit")
    assert (ran.code, ran.text) == (0, "t0\n")
    assert "+timeout: 90s" in ran.err
    assert cluster.tasks["t0"].spec.timeout_ms == 90_000


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("true", "unchanged", "Nothing was changed, and nothing retried."),
        ("exit 3", "failed", "The editor ended with 3."),
        ("echo 'nonsense: 1' >> \"$1\"", "invalid", "Nothing was retried: nonsense: there is no such key"),
        ("echo '- [' > \"$1\"", "invalid", "Nothing was retried: line"),
        ("echo 'priority: 3' >> \"$1\"", "invalid", "Nothing was retried: priority: a retry keeps it"),
        ('echo 5 > "$1"', "invalid", "Nothing was retried: the file: it is no map"),
    ],
)
async def test_edits_that_lead_nowhere(
    cortex: CommandLine, cluster: FakeCluster, tmp_path: Path, script: str, code: str, said: str
) -> None:
    letter(cluster, "t0")
    cortex.environment["EDITOR"] = editor(tmp_path, script)
    ran = await cortex("retry", "t0", "--edit", "--json")
    assert (ran.code, ran.error["code"]) == (1, code)
    assert ran.error["message"].startswith(said)
    assert cluster.tasks["t0"].state == types.TASK_STATE_DEAD_LETTER


async def test_an_editor_that_is_not_there(cortex: CommandLine, cluster: FakeCluster) -> None:
    letter(cluster, "t0")
    cortex.environment["EDITOR"] = "/nowhere/vi"
    ran = await cortex("retry", "t0", "--edit")
    assert (ran.code, ran.err.splitlines()[0]) == (
        1,
        "cortex: The editor /nowhere/vi cannot be started: No such file or directory.",
    )


def end_all(cluster: FakeCluster, ends: dict[str, tuple[int, bytes]]) -> None:
    """Each task of the run ends on its node with an exit code and output."""
    for task in [task for task in cluster.tasks.values() if task.operation]:
        code, output = ends[task.spec.constraints.target_node]
        cluster.start(task.id, task.spec.constraints.target_node)
        cluster.write(task.id, stdout=output)
        cluster.finish(task.id, code)


async def test_run_shows_nodes_with_the_same_result_together(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_node("n3")
    process = await cortex.start("run", "--all", "--", "uname", "-r")
    await cluster.called("Watch")
    end_all(cluster, {"n1": (0, b"6.1\n"), "n2": (1, b"\x1b[31mno\n"), "n3": (0, b"6.1\n")})
    ran = await cortex.end(process)
    assert ran.code == 1
    assert ran.text == "n1, n3: exit 0\n  6.1\n\nn2: exit 1\n  ^[[31mno\n"
    request = next(request for method, request in cluster.calls if method == "RunOnNodes")
    assert request.task.spec.retry.max_retries == 0
    assert request.task.spec.on_exhausted == types.ON_EXHAUSTED_FAIL


async def test_run_as_a_document(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.nodes["n2"].node.online = False
    cluster.add_node("n3")
    process = await cortex.start("run", "--all", "--json", "--", "true")
    await cluster.called("Watch")
    end_all(cluster, {"n1": (0, b"a"), "n3": (0, b"a")})
    ran = await cortex.end(process)
    assert (ran.code, ran.err) == (0, "cortex: not on n2, which is offline\n")
    operation_id = ran.document["operation_id"]
    assert ran.document["task_ids"] == [f"{operation_id}.0", f"{operation_id}.1"]
    (group,) = ran.document["groups"]
    assert (group["nodes"], group["exit_code"], group["stdout"]) == (["n1", "n3"], 0, "a")
    assert ran.document["skipped"] == [{"node": "n2", "reason": "is offline"}]


async def test_run_on_some(cortex: CommandLine, cluster: FakeCluster) -> None:
    process = await cortex.start("run", "--nodes", "n2,n2", "--", "true")
    await cluster.called("Watch")
    end_all(cluster, {"n2": (0, b"")})
    assert (await cortex.end(process)).text == "n2: exit 0\n"
    assert (await cortex("run", "--nodes", "n9", "--", "true")).code == 3
    cluster.refuse["RunOnNodes"] = Refusal("wrong_state", "Nothing was run: n1 is cordoned.", "Leave it out.")
    assert (await cortex("run", "--nodes", "n1", "--", "true")).code == 1


async def test_which_nodes_a_run_waits_for(cluster: FakeCluster, daemon: FakeDaemon) -> None:
    states = {"t0": "COMPLETED", "t1": "RUNNING", "t2": "RUNNING", "t3": "QUEUED"}
    for number, (task_id, state) in enumerate(states.items()):
        task = cluster.add_task(task_id, operation="op1", state=types.TaskState.Value(f"TASK_STATE_{state}"))
        task.spec.constraints.target_node = f"n{number}"
    cluster.tasks["t2"].lost_at_us, cluster.tasks["t2"].reason = 1, "it is lost"
    cluster.tasks["t3"].reason = "offline (1 node)"
    async with ClusterClient([daemon.address], SECRET) as client:
        assert await waiting(client, "op1") == [
            "cortex: n3 does not run it yet: offline (1 node)\nGo on without it: cortex cancel t3",
            "cortex: n2 does not run it yet: it is lost\nGo on without it: cortex cancel t2",
        ]


async def test_ctrl_c_leaves_a_run_going(cortex: CommandLine, cluster: FakeCluster) -> None:
    process = await cortex.start("run", "--all", "--", "sleep", "60")
    await cluster.called("Watch")
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(60):
        ran = await cortex.end(process)
    assert ran.code == 130
    assert "the tasks go on" in ran.err
