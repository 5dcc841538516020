"""Reads of tasks and events, as they are and as they were; what differs between two moments; the double runs."""

from __future__ import annotations

from dataclasses import replace

from cortex.v1 import cluster_pb2 as pb
from cortex.v1.types_pb2 import TaskProgress
from node.core.faults import Code, Fault
from node.core.model import DEAD_LETTER, LIVE
from node.link import Caller
from node.rpc.calls import Calls, Handlers, page_limit
from node.rpc.views import without_output
from node.store.asof import At, Moment
from node.store.diff import RowDiff
from node.store.events import EventQuery
from node.store.queries import TaskPage, TaskQuery
from node.store.slow import SlowReads

_PAGE_BYTES = 3 * 1024 * 1024
_ROWS_LIMIT = 1_000


class HistoryCalls(Calls):
    """Every method raises Fault."""

    def handlers(self) -> Handlers:
        return {
            "GetTask": self.get_task,
            "ListTasks": self.list_tasks,
            "ListEvents": self.list_events,
            "Diff": self.diff,
            "ListDoubleRuns": self.list_double_runs,
        }

    async def get_task(self, request: pb.GetTaskRequest, caller: Caller) -> pb.GetTaskReply:
        await self._fresh(request.freshness)
        moment = await self._moment(request.at)
        task = self._lookup.task(request.id)
        if moment is not None:
            return await self._task_at(task.id, moment)
        query = EventQuery(task=task.id, newest_first=True, limit=_ROWS_LIMIT)
        stored = self._replica.store.list_events(query).events
        known = {event.id for event in stored}
        events = [*reversed(stored), *(e for e in self._replica.unsaved_events(task.id) if e.id not in known)]
        # A watch that goes on from this index must see all that is not in this row.
        index = self._state.index
        (task,), told = await self._as_led([task], caller)
        progress = told[0] if told else None
        return pb.GetTaskReply(task=task, events=events, index=index, age_us=self._age_us(), progress=progress)

    async def _task_at(self, task_id: str, moment: Moment) -> pb.GetTaskReply:
        task, events, at = await self._replica.read(lambda reads: reads.task_at(task_id, moment))
        if task is None:
            message = f"Task {task_id} was not there at index {at.index}."
            raise Fault(Code.NOT_FOUND, message, f"Look at its events with `cortex events --task {task_id}`.")
        age_us = self._past_age_us(at)
        return pb.GetTaskReply(task=task, events=events, index=at.index, age_us=age_us, at=shown(at))

    async def list_tasks(self, request: pb.ListTasksRequest, caller: Caller) -> pb.ListTasksReply:
        await self._fresh(request.freshness, saved=True)
        moment = await self._moment(request.at)
        query = self._task_query(request)
        cause = self._cause(request, query, moment)
        while True:
            page, at = await self._task_page(query, moment, cause)
            tasks, told = [without_output(task) for task in page.tasks], list[TaskProgress]()
            if at is None:
                tasks, told = await self._as_led(tasks, caller)
            reply = pb.ListTasksReply(
                tasks=tasks,
                progress=told,
                total=page.total,
                next_cursor=page.next_cursor,
                index=page.index,
                age_us=self._age_us() if at is None else self._past_age_us(at),
                at=None if at is None else shown(at),
            )
            # Rows with large specifications: a shorter page is a page too.
            if reply.ByteSize() <= _PAGE_BYTES or len(page.tasks) <= 1:
                return reply
            query = replace(query, limit=len(page.tasks) // 2)

    def _cause(self, request: pb.ListTasksRequest, query: TaskQuery, moment: Moment | None) -> str:
        """Cause of the dead letters that are asked for, of past ones as written; empty when other tasks are."""
        if not request.fingerprint:
            return ""
        other = query.node or query.workflow or query.operation or query.text
        if other or not set(query.states) <= {DEAD_LETTER}:
            message = "Letters of one cause are listed by nothing else."
            raise Fault(Code.INVALID, message, "Leave the other filters out.")
        return self._lookup.cause(request.fingerprint) if moment is None else request.fingerprint

    def _task_query(self, request: pb.ListTasksRequest) -> TaskQuery:
        states: tuple[int, ...] = tuple(request.states)
        if request.live:
            states = tuple(sorted(LIVE.intersection(states) if states else LIVE)) or (0,)
        return TaskQuery(
            states=states,
            node=self._lookup.node_id(request.node) if request.node else "",
            workflow=self._lookup.workflow(request.workflow).id if request.workflow else "",
            operation=self._lookup.operation(request.operation).id if request.operation else "",
            text=request.text,
            limit=page_limit(request.limit),
            cursor=request.cursor,
        )

    async def _task_page(self, query: TaskQuery, moment: Moment | None, cause: str) -> tuple[TaskPage, At | None]:
        """A page that walks an index is read at once; a text is looked for, and the past, elsewhere."""
        if cause and moment is not None:
            return await self._replica.read(lambda reads: reads.list_letters_at(cause, query, moment))
        if cause:
            return self._replica.store.list_letters(cause, query.limit, query.cursor), None
        if moment is not None:
            return await self._replica.read(lambda reads: reads.list_tasks_at(query, moment))
        if query.text:
            return await self._replica.read(lambda reads: reads.list_tasks(query)), None
        return self._replica.store.list_tasks(query), None

    async def list_events(self, request: pb.ListEventsRequest, caller: Caller) -> pb.ListEventsReply:
        await self._fresh(request.freshness, saved=True)
        moment = await self._moment(request.at)
        query = EventQuery(
            task=self._task_of_events(request.task) if request.task else "",
            node=self._lookup.node_id(request.node) if request.node else "",
            workflow=self._lookup.workflow(request.workflow).id if request.workflow else "",
            operation=request.operation,
            actor=request.actor,
            audit=request.audit,
            types=tuple(request.types),
            since_us=request.since_us,
            newest_first=request.newest_first,
            limit=page_limit(request.limit),
            cursor=request.cursor,
        )
        at: At | None = None
        if moment is not None:
            page, at = await self._replica.read(lambda reads: reads.list_events_at(query, moment))
        elif query.quick:
            page = self._replica.store.list_events(query)
        else:
            page = await self._replica.read(lambda reads: reads.list_events(query))
        return pb.ListEventsReply(
            events=page.events,
            next_cursor=page.next_cursor,
            index=page.index,
            age_us=self._age_us() if at is None else self._past_age_us(at),
            at=None if at is None else shown(at),
        )

    def _task_of_events(self, text: str) -> str:
        """The task that is meant; by its whole id one that was trimmed, too, as long as its events are kept."""
        try:
            return self._lookup.task(text).id
        except Fault as fault:
            known = self._replica.store.list_events(EventQuery(task=text, limit=1)).events
            if fault.code != Code.NOT_FOUND or not known:
                raise
            return text

    async def diff(self, request: pb.DiffRequest, caller: Caller) -> pb.DiffReply:
        begin = await self._moment(getattr(request, "from"))
        if begin is None:
            raise Fault(Code.INVALID, "The first moment is missing.", "Say in --from since when.")
        # Nothing said: up to what is applied here.
        end = await self._moment(request.to if request.HasField("to") and any_of(request.to) else self._now())

        def work(reads: SlowReads) -> pb.DiffReply:
            assert begin is not None
            assert end is not None
            found = reads.diff(begin, end, request.limit)
            return pb.DiffReply(
                rows=[_row(row) for row in found.rows],
                truncated=found.truncated,
                from_index=found.begin.index,
                to_index=found.end.index,
                from_us=found.begin.at_us,
                to_us=found.end.at_us,
            )

        reply = await self._replica.read(work)
        while reply.ByteSize() > _PAGE_BYTES:
            del reply.rows[len(reply.rows) // 2 :]
            reply.truncated = True
        return reply

    def _now(self) -> pb.Moment:
        return pb.Moment(index=self._state.index)

    async def list_double_runs(self, request: pb.ListDoubleRunsRequest, caller: Caller) -> pb.ListDoubleRunsReply:
        await self._fresh(request.freshness, saved=True)
        moment = await self._moment(request.at)
        task_id = self._lookup.task(request.task).id if request.task else ""
        limit, cursor = page_limit(request.limit), request.cursor
        at: At | None = None
        if moment is not None:
            page, at = await self._replica.read(
                lambda reads: reads.list_double_runs_at(task_id, limit, cursor, moment)
            )
        else:
            page = self._replica.store.list_double_runs(task_id, limit, cursor)
        return pb.ListDoubleRunsReply(
            double_runs=page.double_runs,
            next_cursor=page.next_cursor,
            index=page.index if at is None else at.index,
            age_us=self._age_us() if at is None else self._past_age_us(at),
            at=None if at is None else shown(at),
        )


def shown(at: At) -> pb.Moment:
    """A moment, as a reply names it."""
    return pb.Moment(index=at.index, at_us=at.at_us)


def any_of(moment: pb.Moment) -> bool:
    """Whether it names a moment at all."""
    return bool(moment.index or moment.at_us)


def _row(row: RowDiff) -> pb.RowDiff:
    fields = [pb.FieldDiff(field=name, before=before, after=after) for name, before, after in row.fields]
    return pb.RowDiff(table=row.table, id=row.id, name=row.name, fields=fields)
