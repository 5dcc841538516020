"""The calls about the past, on a replica by itself: moments by index and time, freshness, refusals, audit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, HistoryTrim, NodeCordon, TaskCancel
from node.core import validate
from node.core.faults import Code, Fault
from tests.core.cluster import assign, complete
from tests.node.replica_kit import ANN, Alone, alone


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Alone]:
    async with alone(tmp_path) as made:
        yield made


async def submit(daemon: Alone, task_id: str, request_id: str = "") -> int:
    request = pb.TaskRequest(spec=types_pb2.TaskSpec(argv=[b"true", task_id.encode()]))
    command = Command(task_submit=validate.complete(request, task_id))
    return (await daemon.do(command, actor="ann", request_id=request_id or f"r-{task_id}")).index


def at_index(index: int) -> pb.Moment:
    return pb.Moment(index=index)


async def test_every_read_stands_at_the_moment_that_it_was_asked_for(daemon: Alone) -> None:
    await submit(daemon, "task-a")
    fence = (await daemon.do(assign("task-a"))).index
    then_us = daemon.replica.state.at_us
    done = (await daemon.do(complete("task-a", fence))).index
    await daemon.do(Command(node_cordon=NodeCordon(id="n1", cordoned=True, message="m")))
    for moment in (at_index(fence), pb.Moment(at_us=then_us)):
        one = await daemon.history.get_task(pb.GetTaskRequest(id="task-a", at=moment), ANN)
        assert (one.task.state, one.task.fence, one.index) == (types_pb2.TASK_STATE_ASSIGNED, fence, fence)
        assert [event.type for event in one.events][-1] == types_pb2.EVENT_TYPE_ASSIGNED
        assert (one.at.index, one.at.at_us) == (fence, then_us)
        assert one.age_us > 0
        listed = await daemon.history.list_tasks(
            pb.ListTasksRequest(states=[types_pb2.TASK_STATE_ASSIGNED], at=moment), ANN
        )
        assert ([task.id for task in listed.tasks], listed.total, listed.index) == (["task-a"], 1, fence)
        live = await daemon.history.list_tasks(pb.ListTasksRequest(live=True, at=moment), ANN)
        assert live.total == 1
        nodes = await daemon.nodes.list_nodes(pb.ListNodesRequest(at=moment), ANN)
        assert [(view.node.state, view.assigned, view.age_us) for view in nodes.nodes] == [
            (types_pb2.NODE_STATE_ACTIVE, 1, -1)
        ]
        events = await daemon.history.list_events(pb.ListEventsRequest(at=moment, newest_first=True), ANN)
        assert (events.events[0].index, events.at.index) == (fence, fence)
    now = await daemon.history.get_task(pb.GetTaskRequest(id="task-a"), ANN)
    assert (now.task.state, now.HasField("at")) == (types_pb2.TASK_STATE_COMPLETED, False)
    live = await daemon.history.list_tasks(
        pb.ListTasksRequest(live=True, freshness=pb.Freshness(min_index=done)), ANN
    )
    assert live.total == 0


async def test_a_difference_names_rows_and_fields_and_its_ends(daemon: Alone) -> None:
    begin = await submit(daemon, "task-a")
    await submit(daemon, "task-b")
    await daemon.do(Command(task_cancel=TaskCancel(id="task-a", reason="enough")), actor="ann")
    request = pb.DiffRequest()
    getattr(request, "from").index = begin
    reply = await daemon.history.diff(request, ANN)
    found = {
        (row.table, row.id): {item.field: (item.before, item.after) for item in row.fields} for row in reply.rows
    }
    assert found["tasks", "task-a"] == {"state": ("queued", "cancelled")}
    assert found["tasks", "task-b"]["state"] == ("", "queued")
    assert found["tasks", "task-b"]["command"] == ("", "true task-b")
    assert (reply.from_index, reply.to_index, reply.truncated) == (begin, daemon.replica.state.index, False)
    assert reply.from_us < reply.to_us
    with pytest.raises(Fault, match="first moment is missing"):
        await daemon.history.diff(pb.DiffRequest(), ANN)
    request.to.index = begin - 1
    with pytest.raises(Fault, match="earlier"):
        await daemon.history.diff(request, ANN)


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        (pb.Moment(index=1), Code.GONE),
        (pb.Moment(at_us=1), Code.GONE),
        (pb.Moment(index=10**6), Code.INVALID),
        (pb.Moment(at_us=2**62), Code.INVALID),
        (pb.Moment(at_us=-5), Code.INVALID),
    ],
)
async def test_a_moment_of_which_nothing_is_known_is_refused(daemon: Alone, moment: pb.Moment, code: Code) -> None:
    await submit(daemon, "task-a")
    with pytest.raises(Fault) as caught:
        await daemon.history.list_tasks(pb.ListTasksRequest(at=moment), ANN)
    assert caught.value.code == code
    assert caught.value.remedy


async def test_a_task_that_was_not_there_then_is_not_found(daemon: Alone) -> None:
    first = await submit(daemon, "task-a")
    await submit(daemon, "task-b")
    with pytest.raises(Fault, match=f"not there at index {first}") as caught:
        await daemon.history.get_task(pb.GetTaskRequest(id="task-b", at=at_index(first)), ANN)
    assert caught.value.code == Code.NOT_FOUND


async def test_events_of_a_task_outlive_it(daemon: Alone) -> None:
    await submit(daemon, "task-a")
    await daemon.do(Command(task_cancel=TaskCancel(id="task-a")), actor="ann")
    trim = HistoryTrim(before_us=daemon.replica.now_us() + 10**12, ids=["task-a"])
    index = (await daemon.do(Command(history_trim=trim))).index
    fresh = pb.Freshness(min_index=index)
    found = await daemon.history.list_events(pb.ListEventsRequest(task="task-a", freshness=fresh), ANN)
    assert [event.type for event in found.events] == [
        types_pb2.EVENT_TYPE_SUBMITTED,
        types_pb2.EVENT_TYPE_CANCELLED,
    ]
    with pytest.raises(Fault) as caught:
        await daemon.history.get_task(pb.GetTaskRequest(id="task-a"), ANN)
    assert caught.value.code == Code.NOT_FOUND
    with pytest.raises(Fault) as caught:
        await daemon.history.list_events(pb.ListEventsRequest(task="task-z"), ANN)
    assert caught.value.code == Code.NOT_FOUND


async def test_an_audit_says_who_did_what_under_which_request_and_what_was_refused(daemon: Alone) -> None:
    await submit(daemon, "task-a", "r1")
    fence = (await daemon.do(assign("task-a"))).index
    await daemon.do(complete("task-a", fence))
    await daemon.do(Command(task_cancel=TaskCancel(id="task-a")), actor="bob", request_id="r2")
    set_ = pb.SetSettingRequest(name="events_kept_s", value="90000", mutation=pb.Mutation(request_id="r3"))
    done = await daemon.settings.set_setting(set_, ANN)
    assert (done.operation_id, list(done.ids)) == ("r3", ["events_kept_s"])
    fresh = pb.Freshness(min_index=done.index)
    audit = await daemon.history.list_events(pb.ListEventsRequest(audit=True, freshness=fresh), ANN)
    name = types_pb2.EventType.Name
    assert [(row.actor, row.operation, name(row.type).removeprefix("EVENT_TYPE_")) for row in audit.events] == [
        ("ann", "r1", "SUBMITTED"),
        ("bob", "r2", "REJECTED"),
        ("ann", "r3", "SETTING_CHANGED"),
    ]
    bobs = await daemon.history.list_events(pb.ListEventsRequest(actor="bob"), ANN)
    assert [row.task for row in bobs.events] == ["task-a"]
    of_request = await daemon.history.list_events(pb.ListEventsRequest(operation="r1"), ANN)
    assert [row.operation for row in of_request.events] == ["r1"]
    rejected = [types_pb2.EVENT_TYPE_REJECTED]
    assert len((await daemon.history.list_events(pb.ListEventsRequest(types=rejected), ANN)).events) == 1


async def test_settings_are_shown_as_they_were(daemon: Alone) -> None:
    async def shown(moment: pb.Moment | None = None) -> dict[str, tuple[str, str]]:
        reply = await daemon.settings.get_settings(pb.GetSettingsRequest(at=moment), ANN)
        assert reply.HasField("at") == (moment is not None)
        assert moment is None or (reply.index == reply.at.index == moment.index and reply.at.at_us)
        return {row.name: (row.value, row.default_value) for row in reply.settings}

    await submit(daemon, "task-a")
    known = [(daemon.replica.state.index, await shown())]
    for name, value in (
        ("max_queue_depth", "7"),
        ("profile", '"orchestrator"'),
        ("max_queue_depth", "8"),
        ("events_kept_s", "5000"),
        ("profile", '"resources"'),
    ):
        await daemon.settings.set_setting(
            pb.SetSettingRequest(name=name, value=value, mutation=pb.Mutation(client="c", request_id=name + value)),
            ANN,
        )
        known.append((daemon.replica.state.index, await shown()))
    assert len({str(values) for _, values in known}) == len(known)
    for index, values in known:
        assert await shown(at_index(index)) == values
    with pytest.raises(Fault, match="later than now"):
        await shown(at_index(index + 1))


async def test_settings_are_shown_changed_and_refused(daemon: Alone) -> None:
    await daemon.settings.set_setting(pb.SetSettingRequest(name="max_queue_depth", value="7"), ANN)
    shown = await daemon.settings.get_settings(pb.GetSettingsRequest(), ANN)
    found = {row.name: row for row in shown.settings}
    assert (found["max_queue_depth"].value, found["max_queue_depth"].default_value) == ("7", "1000000")
    assert all(row.help for row in shown.settings)
    for name, value, remedy in (
        ("max_queue_depth", "0", "`cortex settings get max_queue_depth` says"),
        ("max_queue_depth", '"x"', "`cortex settings get max_queue_depth` says"),
        ("nonsense", "1", "There are: dead_letters_kept_s, "),
        ("profile", '"x"', "`cortex settings get profile` says"),
        ("lease_ms", "15000", "Choose another value, or change the other setting first."),
    ):
        with pytest.raises(Fault) as caught:
            await daemon.settings.set_setting(pb.SetSettingRequest(name=name, value=value), ANN)
        assert caught.value.code == Code.INVALID
        assert caught.value.remedy.startswith(remedy)


async def test_what_may_take_long_is_not_read_on_the_loop(daemon: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    await submit(daemon, "task-a")
    reads = daemon.replica.store.reads
    threads: list[threading.Thread] = []
    for method in ("list_tasks", "list_tasks_at", "task_at", "nodes_at", "list_events", "diff", "list_workflows"):
        plain = getattr(reads, method)

        def spied(*args: object, plain: object = plain) -> object:
            threads.append(threading.current_thread())
            return plain(*args)  # type: ignore[operator]

        monkeypatch.setattr(reads, method, spied)
    moment = at_index(daemon.replica.state.index)
    await daemon.history.list_tasks(pb.ListTasksRequest(text="true"), ANN)
    await daemon.history.list_tasks(pb.ListTasksRequest(at=moment), ANN)
    await daemon.history.get_task(pb.GetTaskRequest(id="task-a", at=moment), ANN)
    await daemon.nodes.list_nodes(pb.ListNodesRequest(at=moment), ANN)
    await daemon.history.list_events(pb.ListEventsRequest(audit=True), ANN)
    request = pb.DiffRequest()
    getattr(request, "from").CopyFrom(moment)
    await daemon.history.diff(request, ANN)
    await daemon.workflows.list(pb.ListWorkflowsRequest(text="nightly"), ANN)
    assert len(threads) == 7
    assert threading.main_thread() not in threads


async def test_long_reads_under_way_are_bounded(daemon: Alone) -> None:
    gate = threading.Event()
    waiting = [asyncio.ensure_future(daemon.replica.read(lambda _: gate.wait(60))) for _ in range(32)]
    await asyncio.sleep(0)
    with pytest.raises(Fault) as caught:
        await daemon.replica.read(lambda _: None)
    assert caught.value.code == Code.OVERLOADED
    gate.set()
    assert all(await asyncio.gather(*waiting))
    assert await daemon.replica.read(lambda reads: reads is daemon.replica.store.reads)
