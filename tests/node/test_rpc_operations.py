"""Retry, discard, priority, run, undo, causes and notes as a client calls them: every refusal with its remedy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, NodeCordon, NodeJoin, TaskSubmit
from cortex.v1.types_pb2 import Operation, Task
from node.core import validate
from node.core.faults import Code, Fault
from node.core.model import CANCELLED, DEAD_LETTER, QUEUED
from node.core.operations import DONE, SCHEDULED, UNDONE
from node.leader.operations import Operations
from node.leader.port import Settings
from tests.core.cluster import assign, failed
from tests.node.replica_kit import ANN, Alone, alone

CAUSE = "f00dfeed"


class Ward:
    """A daemon with letters, and its leader's duty."""

    def __init__(self, daemon: Alone) -> None:
        self.daemon = daemon
        self.calls = daemon.operations
        self.replica = daemon.replica
        self.requests = 0

    def mutation(self, request_id: str = "", client: str = "c") -> pb.Mutation:
        self.requests += 1
        return pb.Mutation(client=client, request_id=request_id or f"r{self.requests}")

    async def letter(self, task_id: str, cause: str = CAUSE, **spec: object) -> None:
        await self.daemon.do(Command(task_submit=submission(task_id, **spec)))
        reply = await self.daemon.do(assign(task_id))
        command = failed(task_id, reply.index)
        command.task_failed.fingerprint = cause
        await self.daemon.do(command)
        assert self.task(task_id).state == DEAD_LETTER

    def task(self, task_id: str) -> Task:
        task = self.replica.task(task_id)
        assert task is not None
        return task

    def row(self, operation_id: str) -> Operation:
        row = self.replica.operation(operation_id)
        assert row is not None
        return row

    async def ended(self, operation_id: str) -> Operation:
        async with asyncio.timeout(30):
            while self.row(operation_id).ended_at_us == 0:
                await self.replica.feed.wait()
        return self.row(operation_id)

    async def retry(self, **fields: Any) -> pb.MutationReply:
        return await self.calls.retry_task(pb.RetryTaskRequest(mutation=self.mutation(), **fields), ANN)

    async def discard(self, **fields: Any) -> pb.MutationReply:
        fields.setdefault("reason", "old")
        return await self.calls.discard_task(pb.CancelTaskRequest(mutation=self.mutation(), **fields), ANN)

    async def run(self, *argv: bytes, **fields: Any) -> pb.RunOnNodesReply:
        sandbox = fields.pop("sandbox", types_pb2.SANDBOX_LEVEL_NONE)
        task = pb.TaskRequest(spec=types_pb2.TaskSpec(argv=argv, sandbox=sandbox))
        return await self.calls.run_on_nodes(
            pb.RunOnNodesRequest(mutation=self.mutation(), task=task, **fields), ANN
        )

    async def undo(self, operation_id: str) -> pb.MutationReply:
        request = pb.StopOperationRequest(mutation=self.mutation(), id=operation_id)
        return await self.calls.undo_operation(request, ANN)


def submission(task_id: str, **spec: object) -> TaskSubmit:
    once = types_pb2.RetryPolicy(max_retries=0)
    full = types_pb2.TaskSpec(argv=[b"true"], retry=once, **spec)  # type: ignore[arg-type]
    return validate.complete(pb.TaskRequest(spec=full), task_id)


@asynccontextmanager
async def ward(folder: Path) -> AsyncIterator[Ward]:
    async with alone(folder) as daemon:
        env = daemon.replica._env
        duty = Operations(env.clock, daemon.replica, Settings(node_id="n1"))
        daemon.replica.observers.append(lambda changes, _index: duty.observe(changes))
        running = asyncio.ensure_future(duty.run())
        try:
            yield Ward(daemon)
        finally:
            running.cancel()


async def refused(doing: Awaitable[object], code: Code, words: str) -> None:
    with pytest.raises(Fault) as refusal:
        await doing
    assert refusal.value.code == code
    assert words in refusal.value.message
    assert refusal.value.remedy


async def test_a_retry_of_ids_has_happened_when_it_is_answered(tmp_path: Path) -> None:
    async with ward(tmp_path) as w:
        await w.letter("letter-one")
        await w.letter("letter-two")
        request = pb.RetryTaskRequest(mutation=w.mutation("op"), ids=["letter-o", "letter-two", "letter-one"])
        reply = await w.calls.retry_task(request, ANN)
        assert (reply.operation_id, list(reply.ids)) == ("op", ["letter-one", "letter-two"])
        assert (w.task("letter-one").state, w.task("letter-one").operation) == (QUEUED, "op")
        assert (w.row("op").state, w.row("op").actor) == (DONE, "ann")
        again = await w.calls.retry_task(request, ANN)
        assert again == reply
        await refused(w.retry(ids=["letter-one"]), Code.WRONG_STATE, "Task letter-one is queued: only a failed")


async def test_some_of_several_may_be_refused(tmp_path: Path) -> None:
    async with ward(tmp_path) as w:
        await w.letter("letter-one")
        await w.daemon.do(Command(task_submit=submission("waiting")))
        await refused(
            w.retry(ids=["letter-one", "waiting"]), Code.WRONG_STATE, "1 of 2 were changed; refused: Task"
        )
        assert w.task("letter-one").state == QUEUED
        await refused(
            w.discard(ids=["letter-one", "waiting"]),
            Code.WRONG_STATE,
            "Nothing was begun, since not all can be meant: letter-one is queued, waiting is queued.",
        )


async def test_a_cause_by_its_prefix_after_a_window(tmp_path: Path) -> None:
    async with ward(tmp_path) as w:
        for number in range(3):
            await w.letter(f"letter-{number}")
        await w.letter("other", cause="f00d0000")
        await refused(w.retry(fingerprint="f00d"), Code.AMBIGUOUS, "'f00d' could be f00d0000 or f00dfeed.")
        await refused(w.retry(fingerprint="beef"), Code.NOT_FOUND, "No dead letter has the cause 'beef'.")
        reply = await w.retry(fingerprint="f00df")
        assert (w.row(reply.operation_id).state, list(reply.ids)) == (SCHEDULED, [])
        row = w.row(reply.operation_id)
        assert row.not_before_us - row.created_at_us == 10_000_000
        await w.undo(reply.operation_id)
        assert w.row(reply.operation_id).state == UNDONE
        await refused(w.undo(reply.operation_id), Code.WRONG_STATE, "is undone already")

        reply = await w.discard(fingerprint=CAUSE, undo_window_ms=50)
        row = await w.ended(reply.operation_id)
        assert (row.state, row.counts.issued) == (DONE, 3)
        assert [w.task(f"letter-{number}").state for number in range(3)] == [CANCELLED] * 3
        assert w.task("other").state == DEAD_LETTER
        assert w.task("letter-0").cancel_reason == "old"


async def test_causes(tmp_path: Path) -> None:
    async with ward(tmp_path) as w:
        for number in range(3):
            await w.letter(f"letter-{number}")
        await w.letter("other", cause="cafe")
        freshness = pb.Freshness(min_index=w.replica.state.index)
        reply = await w.calls.list_causes(pb.ListCausesRequest(freshness=freshness), ANN)
        assert [(cause.fingerprint, cause.count) for cause in reply.causes] == [(CAUSE, 3), ("cafe", 1)]
        assert (reply.causes[0].sample.id, list(reply.causes[0].nodes)) == ("letter-2", ["n1"])
        assert reply.index >= freshness.min_index
        await refused(w.calls.list_causes(pb.ListCausesRequest(limit=1001), ANN), Code.INVALID, "limit 1001")

        def listed(**fields: Any) -> Awaitable[pb.ListTasksReply]:
            return w.daemon.history.list_tasks(pb.ListTasksRequest(**fields), ANN)

        page = await listed(fingerprint="f00d", limit=2)
        assert ([task.id for task in page.tasks], page.total) == (["letter-2", "letter-1"], 3)
        rest = await listed(fingerprint="f00d", limit=2, cursor=page.next_cursor)
        assert [task.id for task in rest.tasks] == ["letter-0"]
        await refused(listed(fingerprint="f00d", text="x"), Code.INVALID, "Letters of one cause")
        await refused(listed(fingerprint="f00d", states=[QUEUED]), Code.INVALID, "Letters of one cause")
        await refused(listed(fingerprint="beef"), Code.NOT_FOUND, "'beef'")


async def test_edited_retries_are_checked_as_submissions(tmp_path: Path) -> None:
    async with ward(tmp_path) as w:
        await w.letter("letter-one")
        await w.letter("letter-two")
        bad = types_pb2.TaskSpec(argv=[b"true"], timeout_ms=-1)
        await refused(w.retry(ids=["letter-one"], edited_spec=bad), Code.INVALID, "timeout_ms")
        spec = types_pb2.TaskSpec(argv=[b"false"])
        both = ["letter-one", "letter-two"]
        await refused(w.retry(ids=both, edited_spec=spec), Code.INVALID, "One task at a time")
        await refused(w.retry(fingerprint=CAUSE, edited_spec=spec), Code.INVALID, "One task at a time")
        await w.retry(ids=["letter-one"], edited_spec=spec)
        task = w.task("letter-one")
        assert list(task.spec.argv) == [b"false"]
        assert task.spec.kill_timeout_ms, "defaults are filled in"


async def test_what_is_wrongly_asked(tmp_path: Path) -> None:
    async with ward(tmp_path) as w:
        await w.letter("letter-one")
        one = ["letter-one"]
        await refused(w.retry(), Code.INVALID, "Either tasks or a cause")
        await refused(w.retry(ids=one, fingerprint=CAUSE), Code.INVALID, "Either tasks or a cause")
        await refused(w.retry(ids=one, canary=True), Code.INVALID, "A canary goes through")
        await refused(w.retry(ids=["nobody"]), Code.NOT_FOUND, "'nobody'")
        await refused(w.retry(ids=["x"] * 1001), Code.TOO_LARGE, "1001 tasks are named, the limit is 1000.")
        await refused(w.retry(ids=one, undo_window_ms=-1), Code.INVALID, "undo_window_ms is -1.")
        await refused(w.retry(ids=one, undo_window_ms=1 << 40), Code.INVALID, "undo_window_ms is")
        await refused(w.discard(ids=one, reason=" "), Code.INVALID, "A discard needs a reason.")
        await refused(w.discard(ids=one, reason="x" * 201), Code.INVALID, "201 characters")
        for priority in (-1, 11):
            request = pb.SetPriorityRequest(mutation=w.mutation(), ids=one, priority=priority, undo_window_ms=0)
            await refused(w.calls.set_priority(request, ANN), Code.INVALID, "priority goes from 0 to 10.")
        for text in ("", "x" * 501, "two\nlines"):
            note = pb.AnnotateTaskRequest(mutation=w.mutation(), id="letter-one", text=text)
            await refused(w.calls.annotate_task(note, ANN), Code.INVALID, "annotation")
        await refused(w.undo("nothing"), Code.NOT_FOUND, "There is no operation 'nothing'.")
        odd = pb.GetOperationRequest(id="")
        await refused(w.calls.get_operation(odd, ANN), Code.NOT_FOUND, "There is no operation ''.")
        assert w.task("letter-one").state == DEAD_LETTER
        assert not w.replica.state.operations


async def test_run_names_nodes_that_cannot(tmp_path: Path) -> None:
    async with ward(tmp_path) as w:
        for number, slots in ((2, 2), (3, 0), (4, 2)):
            offer = [types_pb2.Slots(type=types_pb2.TASK_TYPE_SHELL, count=slots)]
            node = types_pb2.Node(id=f"n{number}", hostname=f"host{number}", incarnation="i", slots=offer)
            await w.daemon.do(Command(node_join=NodeJoin(node=node)))
        await w.daemon.do(Command(node_cordon=NodeCordon(id="n2", cordoned=True)))
        reply = await w.run(b"uptime", all=True)
        assert list(reply.nodes) == ["n1", "n4"]
        assert [(row.node, row.reason) for row in reply.skipped] == [
            ("n2", "is cordoned"),
            ("n3", "has no slots for shell tasks"),
        ]
        assert list(reply.task_ids) == [f"{reply.operation_id}.0", f"{reply.operation_id}.1"]
        assert w.task(reply.task_ids[1]).spec.constraints.target_node == "n4"
        assert (await w.run(b"uptime", nodes=["host4", "n4"])).nodes == ["n4"]
        await refused(
            w.run(b"uptime", nodes=["n1", "n2", "n3"]), Code.WRONG_STATE, "n2 is cordoned, n3 has no slots"
        )
        strict = w.run(b"uptime", nodes=["n1"], sandbox=types_pb2.SANDBOX_LEVEL_STRICT)
        await refused(strict, Code.WRONG_STATE, "n1 does not offer sandbox level strict")
        await refused(w.run(b"uptime", nodes=["n9"]), Code.NOT_FOUND, "There is no node 'n9'.")
        await refused(w.run(b"uptime"), Code.INVALID, "Either all nodes or some")
        await refused(w.run(b"uptime", all=True, nodes=["n1"]), Code.INVALID, "Either all nodes or some")
        await refused(w.run(all=True), Code.INVALID, "")
        keyed = pb.TaskRequest(submit_key="k", spec=types_pb2.TaskSpec(argv=[b"x"]))
        request = pb.RunOnNodesRequest(mutation=w.mutation(), task=keyed, all=True)
        await refused(w.calls.run_on_nodes(request, ANN), Code.INVALID, "neither a submit key nor a target node")


async def test_an_id_for_every_request(tmp_path: Path) -> None:
    """Ids of operations are those of requests where that is possible, and distinct for clients where it is not."""
    async with ward(tmp_path) as w:
        ids = []
        for number, (request_id, client) in enumerate([("a request", "c"), ("a request", "d"), ("x" * 57, "c")]):
            await w.letter(f"letter-{number}")
            mutation = w.mutation(request_id, client)
            request = pb.RetryTaskRequest(mutation=mutation, ids=[f"letter-{number}"])
            ids.append((await w.calls.retry_task(request, ANN)).operation_id)
        assert len(set(ids)) == 3
        assert all(len(operation_id) == 24 for operation_id in ids)
        await w.letter("letter-9")
        nameless = pb.RetryTaskRequest(ids=["letter-9"])
        assert (await w.calls.retry_task(nameless, ANN)).operation_id


async def test_operations_are_listed_without_their_lists_and_watched(tmp_path: Path) -> None:
    async with ward(tmp_path) as w:
        await w.letter("letter-one")
        begun = await w.discard(ids=["letter-one"])
        freshness = pb.Freshness(min_index=begun.index)
        listed = await w.calls.list_operations(pb.ListOperationsRequest(live=True, freshness=freshness), ANN)
        (row,) = listed.operations
        assert (row.id, row.state, list(row.bulk.ids)) == (begun.operation_id, SCHEDULED, [])
        full = await w.calls.get_operation(pb.GetOperationRequest(id=begun.operation_id, freshness=freshness), ANN)
        assert list(full.operation.bulk.ids) == ["letter-one"]

        watch = w.daemon.watcher.watch(pb.WatchRequest(snapshot=True), ANN)
        async with asyncio.timeout(30), aclosing(watch) as replies:
            seen: list[Operation] = []
            async for reply in replies:
                seen += [change.operation for change in reply.changes if change.HasField("operation")]
                if reply.snapshot_end:
                    await w.undo(begun.operation_id)
                if len(seen) == 2:
                    break
        assert [row.state for row in seen] == [SCHEDULED, UNDONE]
        stop = pb.StopOperationRequest(mutation=w.mutation(), id=begun.operation_id)
        await refused(w.calls.stop_operation(stop, ANN), Code.WRONG_STATE, "is undone already")


async def test_the_tasks_of_an_operation(tmp_path: Path) -> None:
    async with ward(tmp_path) as w:
        for number in range(3):
            await w.letter(f"letter-{number}")
        await w.daemon.do(Command(task_submit=submission("waiting")))
        retried = await w.retry(ids=["letter-0", "letter-2"])

        def listed(**fields: Any) -> Awaitable[pb.ListTasksReply]:
            freshness = pb.Freshness(min_index=retried.index)
            return w.daemon.history.list_tasks(pb.ListTasksRequest(freshness=freshness, **fields), ANN)

        page = await listed(operation=retried.operation_id, limit=1)
        assert ([task.id for task in page.tasks], page.total) == (["letter-2"], 2)
        rest = await listed(operation=retried.operation_id, limit=1, cursor=page.next_cursor)
        assert ([task.id for task in rest.tasks], rest.next_cursor) == (["letter-0"], "")
        assert (await listed(operation=retried.operation_id, text="r-2")).total == 1
        assert (await listed(operation=retried.operation_id, states=[DEAD_LETTER])).total == 0
        await refused(listed(operation="nothing"), Code.NOT_FOUND, "There is no operation 'nothing'.")
        then = await listed(operation=retried.operation_id, at=pb.Moment(index=retried.index))
        assert [task.id for task in then.tasks] == ["letter-2", "letter-0"]
        before = await listed(operation=retried.operation_id, at=pb.Moment(index=retried.index - 1))
        assert (list(before.tasks), before.total, before.at.index) == ([], 0, retried.index - 1)


async def test_operations_and_causes_as_they_were(tmp_path: Path) -> None:
    async with ward(tmp_path) as w:
        await w.letter("letter-0")
        before = pb.Moment(index=w.daemon.replica.state.index)
        retried = await w.retry(ids=["letter-0"])
        then = pb.Moment(index=retried.index)
        operations, history = w.daemon.operations, w.daemon.history

        (cause,) = (await operations.list_causes(pb.ListCausesRequest(at=before), ANN)).causes
        assert (cause.count, cause.sample.id) == (1, "letter-0")
        assert not (await operations.list_causes(pb.ListCausesRequest(at=then), ANN)).causes
        request = pb.ListTasksRequest(fingerprint=cause.fingerprint, at=before)
        listed = await history.list_tasks(request, ANN)
        assert ([task.id for task in listed.tasks], listed.at.index) == (["letter-0"], before.index)
        gone = history.list_tasks(pb.ListTasksRequest(fingerprint=cause.fingerprint, at=then), ANN)
        await refused(gone, Code.NOT_FOUND, "No dead letter had the cause")

        reply = await operations.list_operations(pb.ListOperationsRequest(at=then), ANN)
        assert [row.id for row in reply.operations] == [retried.operation_id]
        assert reply.at.index == then.index
        assert not (await operations.list_operations(pb.ListOperationsRequest(at=before), ANN)).operations
        one = await operations.get_operation(pb.GetOperationRequest(id=retried.operation_id, at=then), ANN)
        assert (one.operation.id, one.at.index) == (retried.operation_id, then.index)
        early = operations.get_operation(pb.GetOperationRequest(id=retried.operation_id, at=before), ANN)
        await refused(early, Code.NOT_FOUND, f"was not there at index {before.index}")
        for asked in (
            operations.list_operations(pb.ListOperationsRequest(at=pb.Moment(index=10**6)), ANN),
            operations.list_causes(pb.ListCausesRequest(at=pb.Moment(index=10**6)), ANN),
            operations.get_operation(
                pb.GetOperationRequest(id=retried.operation_id, at=pb.Moment(index=10**6)), ANN
            ),
        ):
            await refused(asked, Code.INVALID, "later than now")
