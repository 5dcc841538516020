"""What is kept of a task's attempts on several machines, and searches in it, through any daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1.log_pb2 import Command, NodeJoin
from cortex.v1.types_pb2 import TASK_TYPE_SHELL, Node, Slots, StreamSummary, TaskResult
from cortex.v1.worker_pb2 import Assignment
from node.core import validate
from node.core.faults import Code, Fault
from node.link import LinkClosed
from node.rpc.kept import Files, KeptRelay
from node.worker.output import STDERR, STDOUT, OutputStore
from node.worker.port import AttemptKey
from tests.core.cluster import assign, failed
from tests.node.replica_kit import ANN, alone


async def here(function: Callable[[], Any], /) -> Any:
    return function()


class Relays:
    """Two machines; `n1` votes. What is not in `up` does not answer."""

    def __init__(self, folder: Path, replica: Any) -> None:
        self.up = {"n1", "n2"}
        self.stores = {name: OutputStore(folder / name) for name in ("n1", "n2")}
        self.relays = {
            name: KeptRelay(
                Files(name, store, self, (lambda: replica) if name == "n1" else (lambda: None), lambda node: node),
                here,
            )
            for name, store in self.stores.items()
        }  # fmt: skip
        self.replica = replica

    async def stream(self, address: str, method: str, request: Any, caller: Any) -> AsyncIterator[Any]:
        if address not in self.up:
            raise LinkClosed(address)
        relay = self.relays[address]
        call: Any = relay.attempts if method == "ListOutput" else relay.search
        async for reply in call(request, caller):
            yield reply

    def wrote(
        self, node: str, fence: int, attempt: int, out: bytes, err: bytes = b"", trimmed: bool = False
    ) -> None:
        store, key = self.stores[node], AttemptKey("task-1", fence)
        for stream, data in ((STDOUT, out), (STDERR, err)):
            path = Path(store._path(key, stream))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"" if trimmed else data)
        result = TaskResult(ended_at_us=fence)
        result.stdout.CopyFrom(StreamSummary(total_bytes=len(out)))
        result.stderr.CopyFrom(StreamSummary(total_bytes=len(err)))
        store.finish(key, Assignment(run=1, attempt=attempt), result)

    async def kept(self, task: str = "task-1") -> list[tuple[int, int, str, str, int, int]]:
        request = pb.ListOutputRequest(id=task)
        return [
            (
                kept.fence, kept.attempt, kept.node, pb.Keeping.Name(kept.keeping).removeprefix("KEEPING_"),
                kept.stdout_bytes, kept.stderr_bytes,
            )
            async for kept in self.relays["n1"].attempts(request, ANN)
        ]  # fmt: skip

    async def found(self, pattern: str, **fields: Any) -> tuple[list[tuple[str, int, bytes]], pb.SearchOutputReply]:
        request = pb.SearchOutputRequest(**{"id": "task-1", "pattern": pattern, **fields})
        lines: list[tuple[str, int, bytes]] = []
        async for reply in self.relays["n1"].search(request, ANN):
            lines += [(pb.StreamKind.Name(line.stream)[12:], line.number, line.text) for line in reply.lines]
        assert reply.ended
        return lines, reply


@asynccontextmanager
async def relays(folder: Path) -> AsyncIterator[tuple[Relays, list[int]]]:
    """A task that failed on n1 and was assigned to n2; with the fences of both attempts."""
    async with alone(folder) as daemon:
        node = Node(id="n2", hostname="two", incarnation="i", slots=[Slots(type=TASK_TYPE_SHELL, count=2)])
        await daemon.do(Command(node_join=NodeJoin(node=node)))
        request = pb.TaskRequest()
        request.spec.argv.append(b"true")
        await daemon.do(Command(task_submit=validate.complete(request, "task-1")))
        first = (await daemon.do(assign("task-1"))).index
        await daemon.do(failed("task-1", first))
        second = (await daemon.do(assign("task-1", "n2"))).index
        made = Relays(folder, daemon.replica)
        made.wrote("n1", first, 0, b"one\ntwo\n", b"no two\n")
        made.wrote("n2", second, 1, b"three two\n")
        yield made, [first, second]


async def test_each_attempt_is_listed_from_the_machine_that_ran_it(tmp_path: Path) -> None:
    async with relays(tmp_path) as (made, (first, second)):
        assert await made.kept() == [(first, 0, "n1", "KEPT", 8, 7), (second, 1, "n2", "KEPT", 10, 0)]


async def test_a_machine_that_does_not_answer_and_what_was_removed_are_said(tmp_path: Path) -> None:
    async with relays(tmp_path) as (made, (first, second)):
        made.up.discard("n2")
        made.wrote("n1", first, 0, b"one\ntwo\n", b"no two\n", trimmed=True)
        assert await made.kept() == [(first, 0, "n1", "TRIMMED", 8, 7), (second, 1, "n2", "UNREACHABLE", 0, 0)]


async def test_one_that_wrote_nothing_is_listed_as_such(tmp_path: Path) -> None:
    async with relays(tmp_path) as (made, (_, second)):
        relay = made.relays["n2"]
        relay._files = replace(relay._files, store=OutputStore(tmp_path / "empty"))
        assert (await made.kept())[1] == (second, 1, "n2", "NONE", 0, 0)


async def test_a_search_goes_where_the_output_is(tmp_path: Path) -> None:
    async with relays(tmp_path) as (made, (first, second)):
        lines, reply = await made.found("two")
        assert (lines, reply.fence, reply.searched_bytes) == ([("STDOUT", 1, b"three two")], second, 10)
        lines, reply = await made.found("TWO", ignore_case=True, fence=first, node="n1")
        assert lines == [("STDOUT", 2, b"two"), ("STDERR", 1, b"no two")]
        lines, _ = await made.found("two", fence=first, node="n1", stream=pb.STREAM_KIND_STDERR)
        assert lines == [("STDERR", 1, b"no two")]
        lines, _ = await made.found("two", fence=first, node="n1", context=1, stream=pb.STREAM_KIND_STDOUT)
        assert lines == [("STDOUT", 1, b"one"), ("STDOUT", 2, b"two")]


async def test_a_search_stops_at_its_limit_and_says_so(tmp_path: Path) -> None:
    async with relays(tmp_path) as (made, (_, second)):
        made.wrote("n2", second, 1, b"x\n" * 1000, b"x\n")
        lines, reply = await made.found("x", limit=450)
        assert (len(lines), lines[-1]) == (450, ("STDOUT", 450, b"x"))
        assert reply.cut == "It has 450 matching lines or more; see more with a higher limit."


async def test_a_search_where_nobody_answers_says_who(tmp_path: Path) -> None:
    async with relays(tmp_path) as (made, _):
        made.up.discard("n2")
        with pytest.raises(Fault, match="The node n2, which has the output, does not answer") as refused:
            await made.found("two")
        assert refused.value.code == Code.NO_LEADER


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pattern": ""}, "The pattern is empty"),
        ({"pattern": "("}, r"Pattern is no regular expression: missing \)"),
        ({"pattern": "x", "context": 101}, "context is 101"),
        ({"pattern": "x", "limit": 100_001}, "limit 100001"),
        ({"pattern": "x", "id": "task-2"}, "There is no task 'task-2'"),
    ],
)
async def test_what_cannot_be_searched_is_refused(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    async with relays(tmp_path) as (made, _):
        with pytest.raises(Fault, match=said) as refused:
            await made.found(**fields)
        assert refused.value.remedy


async def test_many_searches_at_once_are_refused(tmp_path: Path) -> None:
    async with relays(tmp_path) as (made, _):
        made.relays["n2"]._searches = 4
        with pytest.raises(Fault, match="4 searches are under way on n2") as refused:
            await made.found("two")
        assert refused.value.code == Code.OVERLOADED
