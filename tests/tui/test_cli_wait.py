"""submit --wait, wait, logs: output byte for byte, exit codes, retries, lost links, Ctrl-C."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from unittest.mock import Mock

import pytest

from cortex.v1 import types_pb2 as types
from tests.tui.command_line import CommandLine
from tests.tui.fake_cluster import FakeCluster, Refusal
from tests.tui.fake_daemon import FakeDaemon
from tui.errors import ClusterError
from tui.verbs.change import _in_spite
from tui.verbs.follow import end_of, with_output
from tui.verbs.tasks import _run_time


async def submitted(cluster: FakeCluster) -> str:
    """Id of the one task, once it is there."""
    await cluster.called("Submit")
    return next(iter(cluster.tasks))


async def test_wait_ends_with_the_commands_status(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.execute = True
    ran = await cortex("submit", "--wait", "--", "sh", "-c", "echo hi; echo oops >&2; exit 7")
    assert (ran.code, ran.out, ran.err) == (7, b"hi\n", "oops\n")
    task = next(iter(cluster.tasks.values()))
    assert task.spec.retry.max_retries == 0
    assert task.spec.retry.HasField("max_retries")
    again = await cortex("wait", task.id)
    assert (again.code, again.out, again.err) == (7, b"hi\n", "oops\n")


async def test_retries_given_are_kept(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.execute = True
    assert (await cortex("submit", "--wait", "--retries", "2", "--", "true")).code == 0
    assert next(iter(cluster.tasks.values())).spec.retry.max_retries == 2


async def test_killed_by_a_signal(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.execute = True
    ran = await cortex("submit", "--wait", "--", "sh", "-c", "kill -9 $$")
    assert (ran.code, ran.out) == (137, b"")
    assert "ended dead_letter" in ran.err


async def test_bytes_are_written_as_they_are(cortex: CommandLine, cluster: FakeCluster) -> None:
    data = bytes(range(256)) * 4096
    process = await cortex.start("submit", "--wait", "--", "x")
    task = await submitted(cluster)
    cluster.start(task)
    cluster.write(task, stdout=data[:100_000])
    await cluster.called("Output")
    cluster.write(task, stdout=data[100_000:], stderr=b"\x1b[31mred")
    cluster.finish(task)
    ran = await cortex.end(process)
    assert (ran.code, ran.out, ran.err) == (0, data, "\x1b[31mred")


async def test_output_of_a_long_ended_task_is_fetched_whole(cortex: CommandLine, cluster: FakeCluster) -> None:
    data = b"".join(b"line %d\n" % number for number in range(20_000))
    cluster.add_task("t0")
    cluster.start("t0")
    cluster.write("t0", stdout=data)
    cluster.finish("t0")
    ran = await cortex("wait", "t0")
    assert (ran.code, ran.out, ran.err) == (0, data, "")


async def test_what_a_dead_machine_keeps_is_said(cortex: CommandLine, cluster: FakeCluster) -> None:
    data = b"x" * 100_000
    cluster.add_task("t0")
    cluster.start("t0")
    cluster.write("t0", stdout=data)
    cluster.finish("t0")
    cluster.outputs["t0"].stdout = b""
    ran = await cortex("wait", "t0")
    assert (ran.code, len(ran.out)) == (0, 4096 + 12288)
    assert ran.err == "cortex: 83616 bytes of stdout are on n1, which does not answer.\n"


async def test_every_attempt_is_written(cortex: CommandLine, cluster: FakeCluster) -> None:
    process = await cortex.start("submit", "--wait", "--retries", "3", "--", "x")
    task = await submitted(cluster)
    cluster.start(task)
    cluster.write(task, stdout=b"first\n")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"first\n"
    cluster.finish(task, 1, state=types.TASK_STATE_QUEUED)
    cluster.start(task)
    cluster.write(task, stdout=b"second\n")
    cluster.finish(task, 0)
    ran = await cortex.end(process)
    assert (ran.code, ran.out) == (0, b"second\n")


@pytest.mark.parametrize("state", ["cancelled", "dead_letter"])
async def test_a_task_that_never_ran_is_125(cortex: CommandLine, cluster: FakeCluster, state: str) -> None:
    process = await cortex.start("submit", "--wait", "--", "nope")
    task = await submitted(cluster)
    await cluster.called("Watch")
    row = cluster.copy_of(task)
    row.state, row.error = types.TaskState.Value(f"TASK_STATE_{state.upper()}"), "nope: no such \x1bcommand"
    cluster.put(row)
    ran = await cortex.end(process)
    assert ran.code == 125
    assert ran.err == f"cortex: task {task} ended {state}: nope: no such ^[command\n"


async def test_wait_document(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.execute = True
    ran = await cortex("submit", "--wait", "--json", "--", "sh", "-c", "echo hi; exit 3")
    assert ran.code == 3
    assert (ran.document["exit_code"], ran.document["result"]["stdout_head"]) == (3, "hi\n")
    assert ran.document["deduplicated"] is False
    both = await cortex("wait", "--json", ran.document["id"], ran.document["id"])
    assert [task["exit_code"] for task in both.document["tasks"]] == [3, 3]
    assert [task["result"]["stdout_head"] for task in both.document["tasks"]] == ["hi\n", "hi\n"]


async def test_a_list_says_that_output_is_left_out_and_not_that_it_was_cut(
    cortex: CommandLine, cluster: FakeCluster
) -> None:
    cluster.add_task("t0")
    cluster.start("t0")
    cluster.write("t0", stdout=b"hi\n")
    cluster.finish("t0")
    (task,) = (await cortex("tasks", "--json")).document["tasks"]
    told = [task["result"][name] for name in ("stdout_head", "stdout_tail", "stderr_head", "truncated")]
    assert told == [None, None, "", False]


async def test_a_list_says_which_task_waits_for_its_lost_machine(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0")
    cluster.start("t0")
    row = cluster.copy_of(cluster.tasks["t0"].id)
    row.lost_at_us, row.reason = 1, "Its machine did not renew its lease."
    cluster.put(row)
    lines = (await cortex("tasks")).text.splitlines()
    assert lines[0].endswith("WHY")
    assert lines[1].endswith("Its machine did not renew its lease.")


async def test_waiting_for_what_is_not_there(cortex: CommandLine) -> None:
    assert (await cortex("wait", "nothing")).code == 3


async def test_a_lost_link_is_outlived(cortex: CommandLine, cluster: FakeCluster, daemon: FakeDaemon) -> None:
    process = await cortex.start("submit", "--wait", "--", "x")
    task = await submitted(cluster)
    cluster.start(task)
    cluster.write(task, stdout=b"before ")
    await cluster.called("Output")
    assert process.stdout is not None
    assert await process.stdout.readexactly(7) == b"before "
    await daemon.stop()
    cluster.write(task, stdout=b"meanwhile ")
    await daemon.start()
    await cluster.called("Output", 2)
    cluster.write(task, stdout=b"after")
    cluster.finish(task, 5)
    ran = await cortex.end(process)
    assert (ran.code, ran.out) == (5, b"meanwhile after")


async def test_an_end_missed_by_a_gone_watch_is_seen(
    cortex: CommandLine, cluster: FakeCluster, daemon: FakeDaemon
) -> None:
    process = await cortex.start("submit", "--wait", "--", "x")
    task = await submitted(cluster)
    await cluster.called("Watch")
    await daemon.stop()
    cluster.start(task)
    cluster.write(task, stdout=b"done\n")
    cluster.finish(task, 4)
    cluster.forget()
    await daemon.start()
    ran = await cortex.end(process)
    assert (ran.code, ran.out) == (4, b"done\n")


async def test_ctrl_c_says_that_the_task_goes_on(cortex: CommandLine, cluster: FakeCluster) -> None:
    process = await cortex.start("submit", "--wait", "--", "x")
    task = await submitted(cluster)
    await cluster.called("Watch")
    process.send_signal(signal.SIGINT)
    ran = await cortex.end(process)
    assert ran.code == 130
    assert ran.err == (
        "cortex: Stopped waiting; the task goes on.\n"
        f"End with `cortex cancel {task}`, wait again with `cortex wait {task}`.\n"
    )


async def test_ctrl_c_before_the_answer_says_that_nothing_is_known(
    cortex: CommandLine, cluster: FakeCluster
) -> None:
    cluster.refuse["Submit"] = Refusal("no_leader", "There is no leader.")
    process = await cortex.start("submit", "--json", "--", "x")
    await cluster.called("Submit")
    process.send_signal(signal.SIGINT)
    ran = await cortex.end(process)
    assert ran.code == 130
    assert "whether anything was submitted is not known" in ran.error["message"]


async def test_cancel_waits_for_the_end(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0")
    cluster.start("t0")
    ran = await cortex("cancel", "--wait", "t0")
    assert (ran.code, ran.text) == (0, "t0\n")


def test_a_cancel_that_a_command_ends_well_on_is_not_told_to_have_come_late() -> None:
    told = [_in_spite(types.Task(state=state)) for state in (types.TASK_STATE_COMPLETED, types.TASK_STATE_FAILED)]
    assert told == ["its command ended with success, when it was told to or before", "it had ended before"]


async def test_out_of_memory_is_said_beside_its_exit_code(cortex: CommandLine, cluster: FakeCluster) -> None:
    process = await cortex.start("submit", "--wait", "--", "x")
    task = await submitted(cluster)
    await cluster.called("Watch")
    row = cluster.copy_of(task)
    row.state, row.cause = types.TASK_STATE_DEAD_LETTER, types.CAUSE_OUT_OF_MEMORY
    row.error, row.result.exit_code = "The kernel killed it.", 137
    cluster.put(row)
    ran = await cortex.end(process)
    assert (ran.code, ran.err) == (137, f"cortex: task {task} ended dead_letter: The kernel killed it.\n")


async def test_a_batch_is_waited_for(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.execute = True
    lines = b'{"command": "exit 0"}\n{"command": "exit 9"}\n'
    ran = await cortex("submit", "--wait", "--json", "--file", "-", stdin=lines)
    assert (ran.code, len(ran.document["ids"])) == (1, 2)
    ended = cluster.tasks[ran.document["ids"][1]]
    assert ran.err == f"cortex: {end_of(ended)}\n"


async def test_logs_of_one_stream_or_both(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0")
    assert "has not started" in (await cortex("logs", "t0")).err
    cluster.add_task("t1", state=types.TASK_STATE_CANCELLED)
    assert (await cortex("logs", "t1")).err == "cortex: task t1 ended cancelled and never ran\n"
    cluster.start("t0")
    cluster.write("t0", b"out\xff\n", b"err\n")
    both = await cortex("logs", "t0")
    assert (both.out, both.err) == (b"out\xff\n", "err\n")
    assert (await cortex("logs", "--stderr", "t0")).out == b"err\n"
    cluster.finish("t0", 1)
    only = await cortex("logs", "--stdout", "t0")
    assert (only.code, only.out, only.err) == (0, b"out\xff\n", "")


async def test_logs_follow_as_json_lines(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0")
    process = await cortex.start("logs", "-f", "--json", "t0")
    await cluster.called("Watch")
    cluster.start("t0")
    cluster.write("t0", b"one")
    assert process.stdout is not None
    async with asyncio.timeout(30):
        line = json.loads(await process.stdout.readline())
    assert line == {"stream": "stdout", "offset": 0, "data_b64": base64.b64encode(b"one").decode()}
    cluster.write("t0", b"two")
    cluster.finish("t0", 1)
    ran = await cortex.end(process)
    assert ran.code == 0
    assert json.loads(ran.out) == {"stream": "stdout", "offset": 3, "data_b64": base64.b64encode(b"two").decode()}


async def test_logs_into_head(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0")
    cluster.start("t0")
    cluster.write("t0", b"line\n" * 200_000)
    cluster.finish("t0")
    ran = await cortex.shell('cortex logs t0 | head -2; echo "${PIPESTATUS[0]}"')
    assert (ran.text, ran.err) == ("line\nline\n0\n", "")


@pytest.mark.parametrize("verb", ["submit --wait -- yes", "logs -f t0", "wait t0"])
async def test_a_reader_who_has_enough_ends_the_wait_for_a_command_that_never_ends(
    cortex: CommandLine, cluster: FakeCluster, verb: str
) -> None:
    if not verb.startswith("submit"):
        cluster.add_task("t0")
    running = asyncio.create_task(cortex.shell(f"cortex {verb} | head -1; echo ${{PIPESTATUS[0]}}"))
    task = await submitted(cluster) if verb.startswith("submit") else "t0"
    cluster.start(task)
    while not running.done():
        cluster.write(task, stdout=b"y\n")
        await asyncio.sleep(0.02)
    ran = running.result()
    assert (ran.text, ran.err) == ("y\n0\n", "")


async def test_output_is_not_asked_for_task_by_task_where_nobody_answers() -> None:
    asked: list[str] = []

    async def get_task(task_id: str) -> None:
        asked.append(task_id)
        raise ClusterError(*("not_found", "It is gone.", "") if task_id == "t0" else ("no_leader", "None.", ""))

    tasks = [types.Task(id=f"t{number}") for number in range(5)]
    assert await with_output(Mock(get_task=get_task), tasks) == tasks
    assert asked == ["t0", "t1"]


def test_an_end_without_a_cause_is_a_sentence() -> None:
    ended = types.Task(id="t0", state=types.TASK_STATE_CANCELLED)
    assert end_of(ended) == "task t0 ended cancelled."
    ended.cancel_reason = "wrong branch"
    assert end_of(ended) == "task t0 ended cancelled: wrong branch"


def test_how_long_it_ran_is_by_the_clock_of_its_supervisor() -> None:
    """A daemon that was away tells the end late."""
    row = types.Task(started_at_us=1_000_000, completed_at_us=61_000_000)
    assert _run_time(row, 0) == "1m"
    row.result.usage.wall_us = 20_000_000
    assert _run_time(row, 0) == "20s"
