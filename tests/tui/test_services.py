"""How a service that is ready is shown: in lists, in its details, to scripts."""

from __future__ import annotations

from cortex.v1 import types_pb2 as types
from cortex.v1.cluster_pb2 import WhyReply
from tests.tui.command_line import CommandLine
from tests.tui.fake_cluster import FakeCluster
from tui.columns.base import Draw
from tui.columns.tasks import QUEUE, why_text
from tui.details.task import task_facts, task_headline
from tui.details.under import task_under
from tui.documents import json_view
from tui.drawing.draw import UNICODE, task_state
from tui.store.progress import is_starting
from tui.store.view import ClusterView
from tui.verbs.tasks import _why

AT_US = 1_700_000_000_000_000


def service(**fields: object) -> types.Task:
    task = types.Task(
        id="s1",
        state=types.TASK_STATE_RUNNING,
        spec=types.TaskSpec(type=types.TASK_TYPE_SERVICE, argv=[b"serve"]),
        started_at_us=AT_US,
        ready_at_us=AT_US + 1_500_000,
        endpoints=[types.Endpoint(name="web", value="http://h:80"), types.Endpoint(name="port", value="h:80")],
    )
    task.MergeFrom(types.Task(**fields))  # type: ignore[arg-type]
    return task


def word(task: types.Task) -> str:
    return "".join(text for text, _ in task_state(task, UNICODE))


def test_the_queue_says_that_it_is_ready_and_where() -> None:
    assert word(service()).endswith(" ready")
    assert why_text(service()) == _why(service()) == "web http://h:80, port h:80"


def test_where_it_is_reached_is_of_this_attempt() -> None:
    below = "".join(
        text for line in task_under(service(), Draw(AT_US, 0.0, UNICODE, ClusterView())) for text, _ in line
    )
    assert "web http://h:80" in below
    assert "Before" not in below


def test_what_goes_on_with_it_comes_first() -> None:
    assert word(service(cancel_requested=True)).endswith(" cancelling")
    assert word(service(migrate_requested=True)).endswith(" migrating")
    assert word(service(state=types.TASK_STATE_CANCELLED)).endswith(" cancelled")
    assert why_text(service(state=types.TASK_STATE_CANCELLED, cancel_reason="old")) == "old"


def test_one_that_is_not_ready_just_runs() -> None:
    task = service()
    task.ClearField("ready_at_us")
    task.ClearField("endpoints")
    assert word(task).endswith(" running")
    assert why_text(task) == _why(task) == ""


def restarting(starting: bool = True) -> types.TaskProgress:
    return types.TaskProgress(task="s1", fence=7, current=1, message="Restart 1 of 5 in 8 s.", starting=starting)


def test_between_two_lives_it_is_starting_and_reached_nowhere() -> None:
    draw = Draw(AT_US, 0.0, UNICODE, ClusterView())
    draw.view.progress.fold([restarting()])
    task = service(fence=7)
    state = QUEUE.columns[0]
    shown = [state.draw(task, draw, 20), *task_headline(task, draw)[:1]]
    assert ["starting" in "".join(text for text, _ in cell) for cell in shown] == [True, True]
    facts = "".join(text for line in task_facts(task, [], WhyReply(), draw, 100) for text, _ in line)
    assert "http://h:80" not in facts
    document = json_view.task(task, told=restarting())
    assert (document["ready_at"], document["endpoints"]) == (None, None)
    draw.view.progress.fold([restarting(starting=False)])
    assert "".join(text for text, _ in state.draw(task, draw, 20)).endswith(" ready")


def test_what_an_attempt_before_told_of_a_restart_is_not_of_this_one() -> None:
    assert not is_starting(service(fence=8), restarting())


async def test_a_service_between_two_lives_is_waited_for(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0")
    cluster.start("t0")
    task = cluster.copy_of("t0")
    task.ready_at_us = AT_US
    task.endpoints.add(name="web", value="http://h:80")
    cluster.put(task, types.EVENT_TYPE_READY)
    cluster.progress["t0"] = types.TaskProgress(task="t0", fence=task.fence, starting=True)
    shown = await cortex("task", "t0")
    assert "http://h:80" not in shown.text.split("submitted")[0]
    process = await cortex.start("wait", "--ready", "t0")
    await cluster.called("GetTask", 2)
    del cluster.progress["t0"]
    ran = await cortex.end(process)
    assert (ran.code, ran.text, ran.err) == (0, "web  http://h:80\n", "")


def test_scripts_read_when_and_where() -> None:
    document = json_view.task(service())
    assert document["type"] == "service"
    assert document["state"] == "running"
    assert document["ready_at"] == "2023-11-14T22:13:21.500000Z"
    assert document["endpoints"] == {"web": "http://h:80", "port": "h:80"}


async def test_one_may_wait_until_it_is_ready(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0")
    cluster.start("t0")
    process = await cortex.start("wait", "--ready", "t0")
    await cluster.called("Watch")
    task = cluster.copy_of("t0")
    task.ready_at_us = AT_US
    task.endpoints.add(name="web", value="http://h:80")
    cluster.put(task, types.EVENT_TYPE_READY)
    ran = await cortex.end(process)
    assert (ran.code, ran.text, ran.err) == (0, "web  http://h:80\n", "")
    again = await cortex("wait", "--ready", "--json", "t0")
    assert (again.code, again.document["endpoints"]) == (0, {"web": "http://h:80"})


async def test_one_that_ends_before_it_is_ready_is_said(cortex: CommandLine, cluster: FakeCluster) -> None:
    cluster.add_task("t0")
    cluster.start("t0")
    process = await cortex.start("wait", "--ready", "t0")
    await cluster.called("Watch")
    cluster.finish("t0", 1)
    ran = await cortex.end(process)
    assert ran.code == 1
    assert ran.err.startswith("cortex: task t0 ended dead_letter before it was ready")
