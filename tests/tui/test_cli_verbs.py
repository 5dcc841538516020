"""`cortex` as a process against a fake cluster: documents, tables, exit codes, sentences."""

from __future__ import annotations

import json
import re

import pytest

from cortex.v1 import types_pb2 as types
from tests.tui.command_line import CommandLine
from tests.tui.fake_cluster import FakeCluster, Refusal
from tests.tui.fake_daemon import FakeDaemon


async def test_submit_prints_the_id(cortex: CommandLine, cluster: FakeCluster) -> None:
    ran = await cortex("submit", "--name", "x", "--env", "A=b=c", "--mem", "512", "--", "echo", "-n", "hi")
    assert ran.code == 0
    task = cluster.tasks[ran.text.strip()]
    assert list(task.spec.argv) == [b"echo", b"-n", b"hi"]
    assert [(item.name, item.value) for item in task.spec.env] == [("A", b"b=c")]
    assert task.spec.constraints.min_memory_mb == 512
    assert not task.spec.HasField("retry")


async def test_submit_document_and_key(cortex: CommandLine, cluster: FakeCluster) -> None:
    first = await cortex("submit", "--json", "--key", "k", "--", "true")
    assert first.document == {"id": next(iter(cluster.tasks)), "deduplicated": False, "index": cluster.index}
    second = await cortex("submit", "--key", "k", "-o", "json", "--", "true")
    assert second.document["deduplicated"] is True
    assert "nothing new was submitted" in second.err


async def test_arguments_that_are_not_utf8_arrive(cortex: CommandLine, cluster: FakeCluster) -> None:
    ran = await cortex.shell("cortex submit -- printf $'\\xff\\xfe'")
    assert ran.code == 0
    assert list(cluster.tasks[ran.text.strip()].spec.argv) == [b"printf", b"\xff\xfe"]


async def test_submit_a_file_is_one_batch(cortex: CommandLine, cluster: FakeCluster) -> None:
    lines = "".join(json.dumps({"command": ["echo", str(n)], "name": f"t{n}"}) + "\n" for n in range(1000))
    ran = await cortex("submit", "--json", "--file", "-", stdin=lines.encode())
    assert len(ran.document["ids"]) == 1000
    assert set(ran.document) == {"ids", "index"}
    assert [method for method, _ in cluster.calls] == ["SubmitBatch"]


async def test_one_bad_line_refuses_the_batch_and_is_named(cortex: CommandLine, cluster: FakeCluster) -> None:
    (cortex.folder / "tasks.jsonl").write_text('{"command": "a"}\n{"command": "b", "priority": NaN}\n')
    ran = await cortex("submit", "--file", "tasks.jsonl")
    assert ran.code == 1
    assert ran.err == (
        "cortex: tasks.jsonl: line 2: priority: nan is not a whole number from 0 to 10.\n"
        "Correct these lines; nothing of the file was submitted.\n"
    )
    assert not cluster.calls


async def test_the_clusters_own_line_numbers_become_the_files(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.refuse["SubmitBatch"] = Refusal("invalid", "Nothing was submitted. Line 2: cwd is missing.")
    ran = await cortex("submit", "--file", "-", stdin=b'{"command": "a"}\n\n\n{"command": "b"}\n')
    assert "Line 4: cwd is missing." in ran.err


async def test_dry_run_says_where(cortex: CommandLine, cluster: FakeCluster) -> None:
    ran = await cortex("submit", "--dry-run", "--json", "--", "true")
    assert [node["verdict"] for node in ran.document["nodes"]] == ["eligible", "eligible"]
    assert not cluster.tasks


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("submit", "--priority", "NaN", "--", "true"), '--priority: "NaN" is not a whole number from 0 to 10.'),
        (("submit",), "There is no command."),
        (("submit", "--env", "A", "--", "true"), "--env: 'A' has no name and value."),
        (("submit", "--cwd", "here", "--", "true"), '--cwd: "here" is not absolute'),
        (("submit", "--file", "x", "--name", "y"), "--file and --name exclude each other."),
        (("submit", "--file", "none.jsonl"), "none.jsonl cannot be read: No such file or directory."),
        (("tasks", "--state", "lost"), "Invalid value for '--state': 'lost' is not one of"),
        (("tasks", "--limit", "0"), "Invalid value for '--limit': 0 is not in the range"),
        (("events", "--since", "soon"), "--since: 'soon' is not a time"),
        (("drian", "n1"), "There is no command 'cortex drian'."),
        (("leader", "elect"), "There is no command 'cortex leader elect'."),
        (("tasks", "--bogus", "x"), "No such option '--bogus'."),
        (("task",), "Missing argument 'ID'."),
        (("console",), "The console needs a terminal."),
        (("--data", "x", "--cluster", "h:1", "nodes"), "--data and --cluster both name a cluster."),
    ],
)
async def test_usage_is_one_sentence_and_exit_2(
    cortex: CommandLine, arguments: tuple[str, ...], sentence: str
) -> None:
    ran = await cortex(*arguments)
    assert ran.code == 2
    assert ran.err.startswith(f"cortex: {sentence}"), ran.err
    assert ran.err.count("\n") == 2
    assert not ran.out


async def test_an_unknown_command_lists_what_exists(cortex: CommandLine) -> None:
    assert "Commands: console, up, down, submit, " in (await cortex("works", "list")).err


async def test_errors_as_json(cortex: CommandLine) -> None:
    ran = await cortex("task", "nothere", "--json")
    assert ran.code == 3
    assert ran.error == {
        "code": "not_found",
        "message": "There is no task 'nothere'.",
        "remedy": "List the tasks with `cortex tasks`.",
    }
    usage = await cortex("tasks", "-o", "json", "--limit", "x")
    assert (usage.code, usage.error["code"]) == (2, "usage")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json", "voters", "list"),
        ("voters", "--json", "list"),
        ("voters", "list", "--json"),
        ("-o", "json", "voters"),
        ("voters", "-o", "json", "list"),
    ],
)
async def test_target_flags_stand_anywhere(
    cortex: CommandLine, daemon: FakeDaemon, arguments: tuple[str, ...]
) -> None:
    cluster = cortex.environment.pop("CORTEX_CLUSTER")
    for place in range(len(arguments) + 1):
        if place and arguments[place - 1] == "-o":
            continue
        ran = await cortex(*arguments[:place], "--cluster", cluster, *arguments[place:])
        assert ran.code == 0, ran.err
        assert [voter["id"] for voter in ran.document["voters"]] == ["n1", "n2"]


async def test_tasks_page_and_filter(cortex: CommandLine, cluster: FakeCluster) -> None:
    for number in range(5):
        cluster.add_task(f"t{number}", f"job-{number % 2}")
    cluster.start("t0")
    first = (await cortex("tasks", "--json", "--limit", "2", "--filter", "job-0")).document
    assert [task["id"] for task in first["tasks"]] == ["t4", "t2"]
    assert first["total"] == 3
    rest = await cortex("tasks", "--json", "--filter", "job-0", "--cursor", first["next_cursor"])
    assert [task["id"] for task in rest.document["tasks"]] == ["t0"]
    assert rest.document["next_cursor"] is None
    running = await cortex("tasks", "--json", "--state", "running", "--state", "completed")
    assert [task["id"] for task in running.document["tasks"]] == ["t0"]


async def test_filter_expressions_as_in_the_console(cortex: CommandLine, cluster: FakeCluster) -> None:
    for number in range(30):
        cluster.add_task(f"t{number}", f"job {number}", priority=number % 3)
    for number in range(0, 30, 2):
        cluster.start(f"t{number}")
    expression = "state=running priority>0"
    first = (await cortex("tasks", "--json", "--limit", "6", "--filter", expression)).document
    assert (first["total"], len(first["tasks"])) == (10, 6)
    assert {task["state"] for task in first["tasks"]} == {"running"}
    rest = await cortex("tasks", "--json", "--filter", expression, "--cursor", first["next_cursor"])
    assert len(rest.document["tasks"]) == 4
    assert rest.document["next_cursor"] is None
    bad = await cortex("tasks", "--filter", "state=running and (node=n1")
    assert (bad.code, bad.err.splitlines()[0]) == (2, "cortex: --filter: ( is never closed at column 19.")


@pytest.mark.parametrize(
    ("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
async def test_a_terminal_gets_colour_and_its_width(
    cortex: CommandLine, cluster: FakeCluster, variables: dict[str, str], coloured: bool
) -> None:
    cluster.add_task("t0", "true " + "x" * 200)
    cluster.start("t0")
    cortex.environment.update({"TERM": "xterm-256color", "COLUMNS": "", **variables})
    seen = await cortex.on_terminal("tasks", columns=70)
    assert ("\x1b[36mrunning" in seen) is coloured
    lines = re.sub(r"\x1b\[[0-9;]*m", "", seen).splitlines()
    assert lines[1].endswith("…")
    assert len(lines[1]) <= 70


async def test_tables_are_plain_and_harmless(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0", "true", name="evil \x1b[2J\u202e[bold]name[/]")
    ran = await cortex("tasks")
    assert ran.code == 0
    assert ran.text.splitlines()[0].split() == [
        "ID",
        "STATE",
        "PRI",
        "NODE",
        "TRY",
        "AGE",
        "TIME",
        "NAME",
        "COMMAND",
    ]
    assert "evil ^[[2J\\u202e[bold]name[/]" in ran.text
    assert "\x1b" not in ran.text


async def test_head_ends_quietly(cortex: CommandLine, cluster: FakeCluster) -> None:
    for number in range(1000):
        cluster.add_task(f"t{number:04}", "x" * 200)
    ran = await cortex.shell('cortex tasks --limit 1000 | head -1; echo "${PIPESTATUS[0]}"')
    assert ran.text.splitlines()[1:] == ["0"]
    assert ran.err == ""


async def test_a_full_disk_is_said(cortex: CommandLine) -> None:
    ran = await cortex.shell("cortex nodes > /dev/full; echo $? >&2")
    assert ran.err == "cortex: No space left on device.\nCheck where the output goes, and its disk.\n1\n"


async def test_closed_stdout_is_survived(cortex: CommandLine) -> None:
    ran = await cortex.shell("cortex nodes >&-; echo $? >&2")
    assert ran.err == "0\n"


async def test_cancel_and_retry(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0")
    cluster.add_task("t1")
    ran = await cortex("cancel", "t0", "t1", "--reason", "tired", "--json")
    assert (ran.document["ids"], set(ran.document)) == (["t0", "t1"], {"operation_id", "index", "ids"})
    assert cluster.calls[-1][1].reason == "tired"
    again = await cortex("cancel", "t0")
    assert (again.code, again.err.splitlines()[0]) == (1, "cortex: Task t0 has ended.")
    assert (await cortex("retry", "t0")).text == "t0\n"


async def test_cordon_and_uncordon(cortex: CommandLine, cluster: FakeCluster) -> None:
    assert (await cortex("cordon", "n1", "--message", "new disk", "--json")).document["ids"] == ["n1"]
    assert (await cortex("node", "n1", "--json")).document["state"] == "cordoned"
    assert (await cortex("uncordon", "n1.local")).code == 3
    assert (await cortex("uncordon", "n1")).text == "n1\n"
    assert (await cortex("node", "n1.local")).text.startswith("id:       n1\n")
    assert (await cortex("node", "n")).err.startswith("cortex: 'n' could be any of n1, n2.")


async def test_status_and_leader(cortex: CommandLine, cluster: FakeCluster) -> None:
    document = (await cortex("status", "--json")).document
    assert (document["leader"], document["healthy"], len(document["voters"])) == ("n1", True, 2)
    assert document["alarms"] == []
    cluster.nodes["n2"].node.alarm = "Its log grows."
    assert (await cortex("status")).text.endswith("\nalarm:    n2: Its log grows.\n")
    assert (await cortex("status", "--json")).document["alarms"] == [{"node": "n2", "alarm": "Its log grows."}]
    assert (await cortex("leader", "transfer", "n2", "--json")).document["leader"] == "n2"
    raised = await cortex("cluster", "finalize")
    assert (raised.text, raised.err) == ("2\n", "cortex: feature level 2 was raised from 1\n")
    assert (await cortex("cluster", "finalize", "--json")).document["level"] == 2
    cluster.leader = ""
    none = await cortex("status")
    assert (none.code, "It takes 2 of 2 voters that run" in none.text) == (4, True)


async def test_why(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0")
    ran = await cortex("why", "t0")
    assert ran.text.splitlines()[0] == "t0 is queued"
    assert "label gpu missing" in ran.text
    assert (await cortex("why", "t0", "--json")).document["nodes"][1]["flip"] == "add label gpu"


async def test_events(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0")
    cluster.start("t0")
    ran = await cortex("events", "--json")
    assert [event["type"] for event in ran.document["events"]] == ["submitted", "assigned", "started"]
    assert len((await cortex("events", "--task", "t0", "--since", "5m")).text.splitlines()) == 3


async def test_no_daemon_is_exit_4(cortex: CommandLine, daemon: FakeDaemon) -> None:
    await daemon.stop()
    ran = await cortex("nodes")
    assert ran.code == 4
    assert ran.err.startswith(f"cortex: No daemon answers at {daemon.address}: connection refused")


async def test_no_leader_is_exit_4(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.refuse["CordonNode"] = Refusal("no_leader", "There is no leader.", "Wait for an election.")
    ran = await cortex("cordon", "n1")
    assert ran.code == 4
    assert ran.err == "cortex: There is no leader.\nWait for an election.\n"


async def test_a_wrong_secret_is_refused(cortex: CommandLine) -> None:
    (cortex.folder / "secret").write_text("wrong")
    ran = await cortex("nodes", "--json")
    assert (ran.code, ran.error["code"]) == (1, "unauthenticated")


async def test_no_cluster_named(cortex: CommandLine) -> None:
    del cortex.environment["CORTEX_CLUSTER"]
    ran = await cortex("tasks")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "cortex: No cluster is named.")
    ran = await cortex("tasks", "--data", "nowhere")
    assert (ran.code, ran.err.splitlines()[0]) == (
        4,
        f"cortex: There is no cluster in {cortex.folder / 'nowhere'}.",
    )


async def test_reads_follow_own_writes(cortex: CommandLine, cluster: FakeCluster) -> None:
    written = (await cortex("submit", "--json", "--", "true")).document["index"]
    await cortex("tasks")
    method, request = cluster.calls[-1]
    assert (method, request.freshness.min_index) == ("ListTasks", written)


async def test_lists_show_what_was_shown_before(cortex: CommandLine, cluster: FakeCluster) -> None:
    task_id = (await cortex("submit", "--json", "--", "true")).document["id"]
    cluster.index += 100
    await cortex("task", task_id)
    await cortex("tasks")
    method, request = cluster.calls[-1]
    assert (method, request.freshness.min_index) == ("ListTasks", cluster.index)


async def test_nodes_are_listed_and_shown_as_of_a_moment(cortex: CommandLine, cluster: FakeCluster) -> None:
    await cortex("nodes", "--at", "7")
    assert [(method, request.at.index) for method, request in cluster.calls[-1:]] == [("ListNodes", 7)]
    some = next(iter(cluster.nodes))
    ran = await cortex("node", some, "--at", "7", "--json")
    assert (ran.document["id"], ran.document["events"]) == (some, [])
    asked = [(method, request) for method, request in cluster.calls if method in ("ListNodes", "ListEvents")][-2:]
    assert [method for method, _ in asked] == ["ListNodes", "ListEvents"]
    assert [request.at.index for _, request in asked[:1]] == [7]
    assert asked[1][1].node == some


async def test_completion_scripts(cortex: CommandLine) -> None:
    ran = await cortex("completion", "bash")
    assert "_CORTEX_COMPLETE=bash_complete" in ran.text
    assert (await cortex("completion", "tcsh")).code == 2


async def test_version_and_help(cortex: CommandLine) -> None:
    assert (await cortex("--version")).text.startswith("cortex ")
    ran = await cortex("submit", "-h")
    assert ran.code == 0
    assert "--queue-timeout" in ran.text


@pytest.mark.parametrize("state", ["completed", "dead_letter"])
async def test_task_shows_placement_and_result(cortex: CommandLine, cluster: FakeCluster, state: str) -> None:
    cluster.add_task("t0abc", "make all")
    cluster.start("t0abc")
    cluster.write("t0abc", b"out", b"err")
    cluster.finish(
        "t0abc", 0 if state == "completed" else 2, state=types.TaskState.Value(f"TASK_STATE_{state.upper()}")
    )
    document = (await cortex("task", "t0", "--json")).document
    assert (document["state"], document["result"]["stderr_head"]) == (state, "err")
    assert [event["type"] for event in document["events"]][:3] == ["submitted", "assigned", "started"]
    text = (await cortex("task", "t0abc")).text
    assert "command:       make all\n" in text
    assert "placement:     n1, score 64.8 of 85 (cpu 30.0/30, memory 34.8/30, disk 0.0/15," in text


async def test_a_task_for_a_node_that_is_not_there_is_accepted_and_said_to_wait(
    cortex: CommandLine, cluster: FakeCluster
) -> None:
    ran = await cortex("submit", "--on", "n9", "--", "true")
    task = ran.text.strip()
    assert (ran.code, task in cluster.tasks) == (0, True)
    assert ran.err == (
        f"cortex: no node can take task {task} now, so it waits: there is no node 'n9'\n"
        f"`cortex why {task}` says what would help; end it with `cortex cancel {task}`.\n"
    )
    assert "n1: label gpu missing" in (await cortex("submit", "--gpu", "--", "true")).err
    assert (await cortex("submit", "--", "true")).err == ""


async def test_a_task_shows_what_it_needs(cortex: CommandLine) -> None:
    task = (await cortex("submit", "--on", "n9", "--mem", "1GB", "--", "true")).text.strip()
    assert "needs:         on n9, 1000 MB memory\n" in (await cortex("task", task)).text


@pytest.mark.parametrize("verb", ["status", "up", "down", "console"])
async def test_an_empty_folder_name_is_not_the_default_cluster(cortex: CommandLine, verb: str) -> None:
    ran = await cortex(verb, "--data", "")
    assert (ran.code, ran.err) == (
        2,
        "cortex: --data is empty.\nName a cluster with it, or leave --data out.\n",
    )
