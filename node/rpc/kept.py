"""What is kept of a task's output, attempt by attempt, and search in it: each asked where its files are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from functools import partial

from cortex.v1 import cluster_pb2 as pb
from cortex.v1.types_pb2 import EVENT_TYPE_ASSIGNED, Event, Task
from node.core.faults import Code, Fault
from node.env import Offload
from node.link import Caller, Link, LinkClosed
from node.payloads.reading import BadPayload
from node.replica import Replica
from node.rpc.lookup import Lookup
from node.store import EventQuery
from node.worker.output import STDERR, STDOUT, Kept, OutputStore
from node.worker.output_search import CONTEXT_LIMIT, MATCHES_LIMIT, Line, Query, Search

_ATTEMPTS_LIMIT = 1000
_MATCHES = 1000
_SEARCHES_LIMIT = 4
_SEARCH_S = 10.0
_ANSWER_S = 5.0
# Lines of one message: at most 4 KiB each.
_LINES = 200
_STREAMS = ((STDOUT, pb.STREAM_KIND_STDOUT), (STDERR, pb.STREAM_KIND_STDERR))


@dataclass(frozen=True, slots=True)
class Files:
    """Output where it lies: on this machine, and by the link on those that ran the other attempts."""

    node_id: str
    store: OutputStore
    link: Link
    replica: Callable[[], Replica | None]
    """None on a daemon that does not vote, and while a voter begins anew."""
    address_of: Callable[[str], str | None]


class KeptRelay:
    """Serves ListOutput and SearchOutput on any daemon."""

    def __init__(self, files: Files, offload: Offload) -> None:
        self._files = files
        self._offload = offload
        self._searches = 0

    async def attempts(self, request: pb.ListOutputRequest, caller: Caller) -> AsyncIterator[pb.KeptOutput]:
        """One message for each attempt, oldest first. Raises Fault."""
        replica = self._files.replica()
        if request.local or replica is None:
            for kept in await self._here(request.id):
                yield kept
            return
        task = Lookup(replica).task(request.id)
        assigned = await _assigned(replica, task)
        nodes = {event.node for event in assigned.values()} | {failure.node for failure in task.failures}
        asked = sorted((nodes | {task.node, task.started_node}) - {""})
        answers = await asyncio.gather(*(self._at(node, task.id, caller) for node in asked))
        told = {kept.fence: kept for answer in answers for kept in answer or ()}
        away = {node for node, answer in zip(asked, answers, strict=True) if answer is None}
        for fence in sorted(told.keys() | assigned.keys()):
            yield told[fence] if fence in told else _untold(assigned[fence], away)

    async def search(self, request: pb.SearchOutputRequest, caller: Caller) -> AsyncIterator[pb.SearchOutputReply]:
        """Lines as they are found; the last message says `ended`. Raises Fault."""
        query = _checked(request)
        replica = self._files.replica()
        if request.local or replica is None:
            async for reply in self._search_here(request, query):
                yield reply
            return
        task = Lookup(replica).task(request.id)
        fence = request.fence or task.fence
        node = request.node or task.node
        if not fence or not node:
            yield pb.SearchOutputReply(ended=True)
            return
        local = pb.SearchOutputRequest()
        local.CopyFrom(request)
        local.id, local.fence, local.local = task.id, fence, True
        if node == self._files.node_id:
            async for reply in self._search_here(local, query):
                yield reply
            return
        address = self._files.address_of(node)
        try:
            if address is None:
                raise LinkClosed(node)
            async for found in self._files.link.stream(address, "SearchOutput", local, caller.forwarded()):
                if isinstance(found, pb.SearchOutputReply):
                    yield found
        except LinkClosed:
            raise away(node) from None

    async def _search_here(
        self, request: pb.SearchOutputRequest, query: Query
    ) -> AsyncIterator[pb.SearchOutputReply]:
        if self._searches >= _SEARCHES_LIMIT:
            message = f"{self._searches} searches are under way on {self._files.node_id}."
            raise Fault(Code.OVERLOADED, message, "Try again in a few seconds.")
        self._searches += 1
        try:
            async for reply in self._searched(request, query):
                yield reply
        finally:
            self._searches -= 1

    async def _searched(self, request: pb.SearchOutputRequest, query: Query) -> AsyncIterator[pb.SearchOutputReply]:
        loop = asyncio.get_running_loop()
        until, left, read, cut = loop.time() + _SEARCH_S, request.limit or _MATCHES, 0, ""
        for stream, kind in _STREAMS:
            if request.stream not in (kind, pb.STREAM_KIND_UNSPECIFIED) or cut:
                continue
            search = Search(query, partial(self._files.store.read, request.id, request.fence, stream))
            while not search.done and not cut:
                lines = await self._offload(search.step)
                lines, left = _within(lines, left)
                for begin in range(0, len(lines), _LINES):
                    found = [_found(kind, line) for line in lines[begin : begin + _LINES]]
                    yield pb.SearchOutputReply(lines=found, fence=request.fence)
                if not left:
                    cut = (
                        f"It has {request.limit or _MATCHES} matching lines or more; see more with a higher limit."
                    )
                elif loop.time() > until:
                    cut = f"The search took {_SEARCH_S:g} s; look for something simpler, or in one stream."
            read += search.offset
        yield pb.SearchOutputReply(ended=True, cut=cut, searched_bytes=read, fence=request.fence)

    async def _at(self, node: str, task_id: str, caller: Caller) -> list[pb.KeptOutput] | None:
        """What `node` keeps of the task; None when it does not answer."""
        if node == self._files.node_id:
            return await self._here(task_id)
        address = self._files.address_of(node)
        if address is None:
            return None
        request = pb.ListOutputRequest(id=task_id, local=True)
        try:
            async with asyncio.timeout(_ANSWER_S):
                replies = self._files.link.stream(address, "ListOutput", request, caller.forwarded())
                return [reply async for reply in replies if isinstance(reply, pb.KeptOutput)]
        except (LinkClosed, TimeoutError):
            return None

    async def _here(self, task_id: str) -> list[pb.KeptOutput]:
        return [self._kept(kept) for kept in await self._offload(partial(self._files.store.attempts, task_id))]

    def _kept(self, kept: Kept) -> pb.KeptOutput:
        keeping = pb.KEEPING_TRIMMED if kept.trimmed else pb.KEEPING_KEPT
        return pb.KeptOutput(
            fence=kept.fence,
            run=kept.run,
            attempt=kept.attempt,
            node=self._files.node_id,
            keeping=pb.KEEPING_LIVE if kept.live else keeping,
            stdout_bytes=kept.stdout_bytes,
            stderr_bytes=kept.stderr_bytes,
            dropped_bytes=kept.dropped_bytes,
            at_us=kept.at_us,
        )


def away(node: str) -> Fault:
    message = f"The node {node}, which has the output, does not answer."
    return Fault(Code.NO_LEADER, message, "Try again when it is back; see `cortex nodes`.")


async def _assigned(replica: Replica, task: Task) -> dict[int, Event]:
    """Its assignments as far as they are known, by fence. Raises Fault."""
    await replica.saved_through(task.fence)
    query = EventQuery(task=task.id, types=(EVENT_TYPE_ASSIGNED,), newest_first=True, limit=_ATTEMPTS_LIMIT)
    page = await replica.read(lambda reads: reads.list_events(query))
    found = {event.index: event for event in page.events}
    if task.fence and task.fence not in found:
        found[task.fence] = Event(
            index=task.fence, node=task.node, run=task.run, attempt=task.attempt, at_us=task.assigned_at_us
        )
    return found


def _untold(event: Event, away: Iterable[str]) -> pb.KeptOutput:
    """An attempt of which no machine tells."""
    keeping = pb.KEEPING_UNREACHABLE if event.node in away else pb.KEEPING_NONE
    return pb.KeptOutput(
        fence=event.index,
        run=event.run,
        attempt=event.attempt,
        node=event.node,
        keeping=keeping,
        at_us=event.at_us,
    )


def _checked(request: pb.SearchOutputRequest) -> Query:
    """Raises Fault."""
    if not request.pattern:
        raise Fault(Code.INVALID, "The pattern is empty.", "Say what to look for.")
    if request.context > CONTEXT_LIMIT or request.limit > MATCHES_LIMIT:
        message = f"context is {request.context} and limit {request.limit}."
        raise Fault(Code.INVALID, message, f"They go up to {CONTEXT_LIMIT} and {MATCHES_LIMIT}.")
    query = Query(request.pattern, request.ignore_case, request.context)
    try:
        Search(query, lambda offset, limit: b"")
    except BadPayload as error:
        message = str(error)
        remedy = "Write it as RE2 has it: without look-ahead and back-references."
        raise Fault(Code.INVALID, message[:1].upper() + message[1:], remedy) from None
    return query


def _within(lines: list[Line], left: int) -> tuple[list[Line], int]:
    """As many lines as have no more than `left` matches, and how many may follow."""
    for at, line in enumerate(lines):
        left -= line.matches
        if not left:
            return lines[: at + 1], 0
    return lines, left


def _found(kind: pb.StreamKind.ValueType, line: Line) -> pb.FoundLine:
    return pb.FoundLine(stream=kind, number=line.number, offset=line.offset, text=line.text, matches=line.matches)
